"""Materials and textures of an exported avatar."""

from pathlib import Path

from fitme.avatar import Avatar
from fitme.export.gltf.glasses import GLASSES_NODE, glasses_codes, glasses_materials
from fitme.export.gltf.glb import GlbBuilder, Json
from fitme.export.gltf.hair import HAIR_NODE, RELIEF_IMAGE, hair_codes, hair_material, relief_codes
from fitme.export.lids import maps_with_lids
from fitme.export.observed import OBSERVED_NAME, observed_codes
from fitme.export.textures import alpha_codes, png, texture_codes
from fitme.glasses.glasses import Glasses
from fitme.hair.hair import Hair
from fitme.parts.drawn_head import DrawnHead
from fitme.parts.head_parts import Material as MaterialKind
from fitme.parts.head_parts import Texture
from fitme.parts.textures import ENAMEL_SPECULAR, GUM_SPECULAR, SKIN_SPECULAR, part_codes
from fitme.reflectance.modality import MODALITIES, Modality
from fitme.render.materials import REGION_SHININESS
from fitme.render.reflection import DEFAULT_SHININESS
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

WET_SPECULAR = 0.625
"""Specular factor of the tear film and of saliva: F0 = 0.025 (index of refraction 1.376, the cornea's)."""
EYE_ROUGHNESS = 0.08
"""Roughness of the cornea, smoother than the renderer's highlights can be: engines light it by an environment."""

TEETH_ROUGHNESS, GUMS_ROUGHNESS, BUST_ROUGHNESS, LASHES_ROUGHNESS = 0.3, 0.4, 0.53, 0.7
PART_MATERIALS = (
    (Texture.TEETH, MaterialKind.TEETH, "enamel", TEETH_ROUGHNESS, ENAMEL_SPECULAR),
    (Texture.TEETH, MaterialKind.MOUTH, "gums", GUMS_ROUGHNESS, GUM_SPECULAR),
    (Texture.LEFT_EYE, MaterialKind.EYE, "leftEye", EYE_ROUGHNESS, WET_SPECULAR),
    (Texture.RIGHT_EYE, MaterialKind.EYE, "rightEye", EYE_ROUGHNESS, WET_SPECULAR),
    (Texture.BUST, MaterialKind.SKIN, "bust", BUST_ROUGHNESS, SKIN_SPECULAR),
    (Texture.LASHES, MaterialKind.LASHES, "lashes", LASHES_ROUGHNESS, 0.0),
)
"""Texture, kind, name, roughness and specular factor of the parts' materials."""

_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071


SAMPLER: Json = {
    "magFilter": _LINEAR,
    "minFilter": _LINEAR_MIPMAP_LINEAR,
    "wrapS": _CLAMP_TO_EDGE,
    "wrapT": _CLAMP_TO_EDGE,
}
"""The one sampler of all textures."""


def roughness_of_shininess(shininess: float) -> float:
    """glTF's perceptual roughness that matches a Blinn-Phong exponent."""
    return float((2.0 / (shininess + 2.0)) ** 0.25)


def _roughness_of(region: Region) -> float:
    return roughness_of_shininess(REGION_SHININESS[region])


class Textures:
    """The file's textures and materials; `skin`, `mouth`, `teeth`, `eye`, `glasses`, `hair`: indices of materials."""

    def __init__(
        self,
        builder: GlbBuilder,
        avatar: Avatar,
        model: MorphableModel,
        drawn: DrawnHead,
        *,
        with_bust: bool = True,
    ) -> None:
        maps = maps_with_lids(avatar, model)
        self.textures: list[Json] = []
        self.materials: list[Json] = []
        skin = plain_material("skin", roughness_of_shininess(DEFAULT_SHININESS), 1.0)
        for index, modality in enumerate(MODALITIES):
            codes = texture_codes(modality, maps)
            image = png(alpha_codes(codes) if modality.gltf_slot == "specularTexture" else codes)
            self.textures.append({"sampler": 0, "source": builder.png_image(Path(modality.file).stem, image)})
            _fill_slot(skin, modality, {"index": index})
        if avatar.observed is not None:
            image = png(observed_codes(avatar.observed.numpy()))
            index = self.add_image(builder, OBSERVED_NAME, image)
            skin.setdefault("extras", {}).setdefault("textures", {})[OBSERVED_NAME] = {"index": index}
        self.skin = self.add(skin)
        self.mouth = self.add(
            plain_material("mouth", _roughness_of(Region.MOUTH_INTERIOR), WET_SPECULAR) | {"doubleSided": True}
        )
        if drawn.parts is None:
            self.teeth = self.add(plain_material("teeth", _roughness_of(Region.TEETH), WET_SPECULAR))
            self.eye = self.add(plain_material("eye", EYE_ROUGHNESS, WET_SPECULAR))
        else:
            self.teeth = self.eye = -1
        self.by_part: dict[tuple[MaterialKind, Texture], int] = {}
        images = part_codes(avatar.maps, drawn)
        if not with_bust:
            images.pop(Texture.BUST, None)
        for texture, codes in images.items():
            self.textures.append({"sampler": 0, "source": builder.png_image(texture.value, png(codes))})
        for texture, kind, name, roughness, specular in PART_MATERIALS:
            if texture in images:
                index = len(self.textures) - len(images) + list(images).index(texture)
                material = plain_material(name, roughness, specular, index)
                layer = {"alphaMode": "BLEND", "doubleSided": True} if kind is MaterialKind.LASHES else {}
                self.by_part[kind, texture] = self.add(material | layer)
        self.glasses = -1 if avatar.glasses is None else self._add_glasses(builder, avatar.glasses)
        self.hair = -1 if avatar.hair is None else self.add(self._hair_material(builder, avatar.hair))

    def add_image(self, builder: GlbBuilder, name: str, content: bytes) -> int:
        """Index of a texture of a PNG file, which is added."""
        self.textures.append({"sampler": 0, "source": builder.png_image(name, content)})
        return len(self.textures) - 1

    def _add_glasses(self, builder: GlbBuilder, glasses: Glasses) -> int:
        """Index of the first of the materials of the glasses."""
        texture = {"index": self.add_image(builder, GLASSES_NODE, png(glasses_codes(glasses)))}
        return min([self.add(made) for made in glasses_materials(glasses, texture)])

    def _hair_material(self, builder: GlbBuilder, hair: Hair) -> Json:
        texture = {"index": self.add_image(builder, HAIR_NODE, png(hair_codes(hair.texture)))}
        return hair_material(texture, {"index": self.add_image(builder, RELIEF_IMAGE, png(relief_codes()))})

    def add(self, material: Json) -> int:
        """Index of a material, which is added."""
        self.materials.append(material)
        return len(self.materials) - 1


def _fill_slot(material: Json, modality: Modality, texture: Json) -> None:
    """Put a modality's texture where its row of the table says."""
    if modality.gltf_slot is None:
        material.setdefault("extras", {}).setdefault("textures", {})[modality.name] = texture
    elif modality.gltf_slot == "specularTexture":
        material["extensions"]["KHR_materials_specular"][modality.gltf_slot] = texture
    elif modality.gltf_slot == "baseColorTexture":
        material["pbrMetallicRoughness"][modality.gltf_slot] = texture
    else:
        material[modality.gltf_slot] = texture


def plain_material(name: str, roughness: float, specular: float, texture: int = 0) -> Json:
    """Material coloured by a texture, by default the diffuse map, with a specular factor."""
    return {
        "name": name,
        "pbrMetallicRoughness": {
            "baseColorTexture": {"index": texture},
            "metallicFactor": 0.0,
            "roughnessFactor": roughness,
        },
        "extensions": {"KHR_materials_specular": {"specularFactor": specular}},
    }

"""An avatar as one binary glTF file that any engine opens: mesh, reflectance maps, 52 blendshapes, eyes that turn.

Nodes: `avatar` holds `head`, `eyeLeft` and `eyeRight` (the person's left and right), and the other parts of
`fitme.parts.head_parts` by their names: teeth, gums, lashes, bust. The head's mesh has one primitive a material and the
52 ARKit blendshapes, named in `mesh.extras.targetNames`; a part has those that move it. Lashes have coverage in the
alpha channel of their texture (`alphaMode` BLEND). Each eye's node lies at the centre of its eyeball, so that an engine
can turn the eye by rotating the node; for players of blendshapes alone, the eyes also carry the four `eyeLook*` targets
of their side. Use one or the other. `eyeBlink*` presses the lids on the cornea.

Specular reflection: a specular albedo A_S is glTF's specular factor (`KHR_materials_specular`), F0 = 0.04 A_S, as in
`fitme.render.shading`; it lies in the alpha channel of the `specular` texture. Roughness follows from the renderer's
Blinn-Phong exponent s: alpha^2 = 2 / (s + 2) and roughness = sqrt(alpha) (Walter et al., EGSR 2007).

Modalities that glTF's materials have no slot for are textures too, named in the `skin` material's extras:
`"textures": {NAME: {"index": ...}}`; their encodings are those of `fitme.export.textures`.

Where the avatar has hair, the node `hair` holds its envelope, with coverage in the alpha channel of its texture
(`alphaMode` MASK). It has no blendshapes, since the scalp does not move. Where it has glasses, the node `glasses` holds
their frame, and tinted lenses (`alphaMode` BLEND).

Vertex colours (`COLOR_0`) carry the ambient occlusion that the albedo was found under; they darken mouth and nostrils.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fitme.arrays import Float32Array
from fitme.avatar import Avatar
from fitme.export.glasses import GLASSES_NODE, glasses_codes, glasses_materials, glasses_primitives
from fitme.export.glb import GlbBuilder, Json
from fitme.export.hair import HAIR_NODE, hair_codes, hair_material, hair_primitive
from fitme.export.parts import Part, part_of_triangles, tangents
from fitme.export.textures import alpha_codes, png, texture_codes
from fitme.glasses.glasses import Glasses
from fitme.hair.hair import Hair
from fitme.parts.drawn_head import DrawnHead, DrawnPart, drawn_head
from fitme.parts.head_parts import REFINED_HEAD, Texture
from fitme.parts.head_parts import Material as MaterialKind
from fitme.parts.textures import ENAMEL_SPECULAR, GUM_SPECULAR, SKIN_SPECULAR, part_codes
from fitme.reflectance.modality import MODALITIES, Modality
from fitme.render.materials import REGION_SHININESS
from fitme.render.reflection import DEFAULT_SHININESS
from fitme.render.tangents import vertex_tangents
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.shape.regions import Region

WET_SPECULAR = 0.625
"""Specular factor of the tear film and of saliva: F0 = 0.025 (index of refraction 1.376, the cornea's)."""
EYE_ROUGHNESS = 0.08
"""Roughness of the cornea, smoother than the renderer's highlights can be: engines light it by an environment."""

MOVED_M = 1e-4
"""Vertices that a blendshape displaces by less than this are left out of it."""
TURNED = 1e-2
"""Normals that a blendshape changes by less than this are left out of it."""

SKIN_REGIONS = (Region.SKIN, Region.LIPS, Region.EARS, Region.SCALP, Region.NECK, Region.LASHES)
MOUTH_REGIONS = (Region.MOUTH_INTERIOR,)
TEETH_REGIONS = (Region.TEETH,)

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

EYE_NODES = ("eyeLeft", "eyeRight")
_ON_EYES = ("eyeBlink", "eyeLook")
"""Expressions that move eyes: lids press on the cornea."""
_LINEAR, _LINEAR_MIPMAP_LINEAR, _CLAMP_TO_EDGE = 9729, 9987, 33071


@dataclass(frozen=True)
class _Surface:
    """The person's neutral head and its blendshapes."""

    positions: Float32Array
    """(V, 3) metres, model frame, which is glTF's."""
    normals: Float32Array
    """(V, 3)."""
    along_u: Float32Array
    """(T, 4) tangents of the texture vertices."""
    occlusion: Float32Array
    """(V,) share of the surroundings' light that arrives, [0, 1]."""
    position_offsets: Float32Array
    """(52, V, 3) displacement at full activation."""
    normal_offsets: Float32Array
    """(52, V, 3)."""


def write_glb(avatar: Avatar, model: MorphableModel, path: Path) -> None:
    """Write the avatar as a binary glTF file; see the module for what is in it."""
    path.write_bytes(glb_bytes(avatar, model))


def glb_bytes(avatar: Avatar, model: MorphableModel) -> bytes:
    """The avatar as a binary glTF file; see the module for what is in it."""
    drawn = drawn_head(model)
    surface = _surface(avatar, model, drawn)
    builder = GlbBuilder()
    textures = _Textures(builder, avatar, drawn)
    everything = range(len(EXPRESSION_NAMES))
    head = [
        _primitive(builder, textures, part, material, surface, everything)
        for part, material in _head_parts(model, drawn, textures)
    ]
    meshes: list[Json] = [_mesh("head", head, everything)]
    nodes: list[Json] = [{"name": "avatar", "extras": {"stage": avatar.stage}}, {"name": "head", "mesh": 0}]
    for node, vertices, side in zip(EYE_NODES, model.eyeball_vertices, ("Left", "Right"), strict=True):
        looks = [i for i, name in enumerate(EXPRESSION_NAMES) if name.startswith(_ON_EYES) and name.endswith(side)]
        if not len(vertices):
            continue
        center = surface.positions[vertices.numpy()].mean(0)
        part, material = _eye_part(model, drawn, vertices.numpy(), side, textures)
        nodes.append({"name": node, "mesh": len(meshes), "translation": center.astype(float).tolist()})
        meshes.append(_mesh(node, [_primitive(builder, textures, part, material, surface, looks, center)], looks))
    for name, part, layer, material in _other_parts(avatar, model, drawn, surface, textures):
        moving = [i for i in everything if np.abs(layer.position_offsets[i, part.source]).max() > MOVED_M]
        nodes.append({"name": name, "mesh": len(meshes)})
        meshes.append(_mesh(name, [_primitive(builder, textures, part, material, layer, moving)], moving))
    if avatar.hair is not None:
        nodes.append({"name": HAIR_NODE, "mesh": len(meshes)})
        meshes.append({"name": HAIR_NODE, "primitives": [hair_primitive(builder, avatar, model, textures.hair)]})
    if avatar.glasses is not None:
        nodes.append({"name": GLASSES_NODE, "mesh": len(meshes)})
        primitives = glasses_primitives(builder, avatar.glasses, textures.glasses)
        meshes.append({"name": GLASSES_NODE, "primitives": primitives})
    nodes[0]["children"] = list(range(1, len(nodes)))
    return builder.to_bytes(
        {
            "asset": {"version": "2.0", "generator": "FitMe"},
            "extensionsUsed": ["KHR_materials_specular"],
            "scene": 0,
            "scenes": [{"name": avatar.name, "nodes": [0]}],
            "nodes": nodes,
            "meshes": meshes,
            "materials": textures.materials,
            "textures": textures.textures,
            "samplers": [
                {
                    "magFilter": _LINEAR,
                    "minFilter": _LINEAR_MIPMAP_LINEAR,
                    "wrapS": _CLAMP_TO_EDGE,
                    "wrapT": _CLAMP_TO_EDGE,
                }
            ],
        }
    )


def roughness_of_shininess(shininess: float) -> float:
    """glTF's perceptual roughness that matches a Blinn-Phong exponent."""
    return float((2.0 / (shininess + 2.0)) ** 0.25)


def _roughness_of(region: Region) -> float:
    return roughness_of_shininess(REGION_SHININESS[region])


class _Textures:
    """The file's textures and materials; `skin`, `mouth`, `teeth` and `eye` are indices of materials."""

    def __init__(self, builder: GlbBuilder, avatar: Avatar, drawn: DrawnHead) -> None:
        self.textures: list[Json] = []
        self.materials: list[Json] = []
        skin = _material("skin", roughness_of_shininess(DEFAULT_SHININESS), 1.0)
        for index, modality in enumerate(MODALITIES):
            codes = texture_codes(modality, avatar.maps)
            image = png(alpha_codes(codes) if modality.gltf_slot == "specularTexture" else codes)
            self.textures.append({"sampler": 0, "source": builder.png_image(Path(modality.file).stem, image)})
            _fill_slot(skin, modality, {"index": index})
        self.skin = self._add(skin)
        self.mouth = self._add(
            _material("mouth", _roughness_of(Region.MOUTH_INTERIOR), WET_SPECULAR) | {"doubleSided": True}
        )
        if drawn.parts is None:
            self.teeth = self._add(_material("teeth", _roughness_of(Region.TEETH), WET_SPECULAR))
            self.eye = self._add(_material("eye", EYE_ROUGHNESS, WET_SPECULAR))
        else:
            self.teeth = self.eye = -1
        self.by_part: dict[tuple[MaterialKind, Texture], int] = {}
        images = part_codes(avatar.maps, drawn)
        for texture, codes in images.items():
            self.textures.append({"sampler": 0, "source": builder.png_image(texture.value, png(codes))})
        for texture, kind, name, roughness, specular in PART_MATERIALS:
            if texture in images:
                index = len(self.textures) - len(images) + list(images).index(texture)
                material = _material(name, roughness, specular, index)
                layer = {"alphaMode": "BLEND", "doubleSided": True} if kind is MaterialKind.LASHES else {}
                self.by_part[kind, texture] = self._add(material | layer)
        self.hair = -1 if avatar.hair is None else self._add(self._hair_material(builder, avatar.hair))
        self.glasses = -1 if avatar.glasses is None else self._add_glasses(builder, avatar.glasses)

    def _add_glasses(self, builder: GlbBuilder, glasses: Glasses) -> int:
        """Index of the first of the materials of the glasses."""
        image = builder.png_image(GLASSES_NODE, png(glasses_codes(glasses)))
        self.textures.append({"sampler": 0, "source": image})
        materials = glasses_materials(glasses, {"index": len(self.textures) - 1})
        return min(self._add(made) for made in materials)

    def _hair_material(self, builder: GlbBuilder, hair: Hair) -> Json:
        image = builder.png_image(HAIR_NODE, png(hair_codes(hair.texture)))
        self.textures.append({"sampler": 0, "source": image})
        return hair_material({"index": len(self.textures) - 1})

    def _add(self, material: Json) -> int:
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


def _material(name: str, roughness: float, specular: float, texture: int = 0) -> Json:
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


def _head_parts(model: MorphableModel, drawn: DrawnHead, textures: "_Textures") -> list[tuple[Part, int]]:
    """Primitives of the head's own mesh, each with its material."""
    hidden = np.zeros(len(model.triangles), bool) if drawn.parts is None else drawn.parts.hidden
    regions = model.triangle_region.numpy()
    chosen = (
        (SKIN_REGIONS, textures.skin), (MOUTH_REGIONS, textures.mouth), (TEETH_REGIONS, textures.teeth)
    )  # fmt: skip
    found = []
    for of_part, material in chosen:
        faces = np.flatnonzero(np.isin(regions, of_part) & ~hidden)
        if len(faces):
            found.append((_own_part(model, faces, drawn if of_part is SKIN_REGIONS else None), material))
    return found


def _own_part(model: MorphableModel, faces: npt.NDArray[np.intp], refined: DrawnHead | None = None) -> Part:
    """Part of the model's own triangles, with finer ones of a drawn head in place of its coarse ones."""
    triangles, uv_triangles = [model.triangles.numpy()[faces]], [model.uv_triangles.numpy()[faces]]
    uv, first = [model.uv.numpy()], 0
    if refined is not None:
        for found in refined.opaque:
            if found.part.name == REFINED_HEAD:
                triangles.append(refined.triangles.numpy()[found.faces])
                uv_triangles.append(found.part.uv_triangles + np.int32(len(uv[0])))
                uv.append(found.part.uv)
                first = found.uv_first
    part = part_of_triangles(np.concatenate(triangles), np.concatenate(uv_triangles), np.concatenate(uv))
    own = part.uv_source < len(uv[0])
    return replace(part, uv_source=np.where(own, part.uv_source, part.uv_source - len(uv[0]) + first))


def _eye_part(
    model: MorphableModel, drawn: DrawnHead, ball: npt.NDArray[np.int64], side: str, textures: "_Textures"
) -> tuple[Part, int]:
    """The part of an eye and its material, or the model's own eyeball where it has no parts."""
    for found in drawn.opaque:
        if found.eye is not None and found.part.name.startswith(side.lower()):
            return _drawn_part(drawn, found), textures.by_part[found.part.material, found.part.texture]
    return _own_part(model, np.flatnonzero(np.isin(model.triangles.numpy(), ball).all(1))), textures.eye


def _drawn_part(drawn: DrawnHead, found: DrawnPart) -> Part:
    triangles = drawn.triangles.numpy()[found.faces]
    part = part_of_triangles(triangles, found.part.uv_triangles, found.part.uv)
    return replace(part, uv_source=part.uv_source + found.uv_first)


def _other_parts(
    avatar: Avatar, model: MorphableModel, drawn: DrawnHead, surface: _Surface, textures: "_Textures"
) -> list[tuple[str, Part, _Surface, int]]:
    """Name, primitive, surface and material of all parts that are no eyes."""
    others = [
        (found.part.name, _drawn_part(drawn, found), surface, textures.by_part[found.part.material, found.part.texture])
        for found in drawn.opaque
        if found.eye is None and found.part.name != REFINED_HEAD
    ]
    for part in () if drawn.parts is None else drawn.parts.layers:
        uv = torch.from_numpy(part.uv)
        bound = _surface_of(
            *_heads(avatar, model, part.binding.apply), torch.from_numpy(part.triangles), uv,
            torch.from_numpy(part.uv_triangles), part.occlusion,
        )  # fmt: skip
        primitive = part_of_triangles(part.triangles, part.uv_triangles, part.uv)
        others.append((part.name, primitive, bound, textures.by_part[part.material, part.texture]))
    return others


def _surface(avatar: Avatar, model: MorphableModel, drawn: DrawnHead) -> _Surface:
    neutral, active = _heads(avatar, model, lambda head: drawn.posed(head)[0])
    return _surface_of(neutral, active, drawn.triangles, drawn.uv, drawn.uv_triangles, drawn.occlusion.numpy())


def _heads(
    avatar: Avatar, model: MorphableModel, bound: Callable[[Float32Array], Float32Array]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Vertices (1, N, 3) that are bound to the avatar's head (V, 3), neutral, and (52, N, 3) of each expression."""
    count = len(EXPRESSION_NAMES)
    with torch.no_grad():
        identity = avatar.identity[None]
        heads = model.vertices(identity.expand(count + 1, -1), torch.cat([torch.zeros(1, count), torch.eye(count)]))
    vertices = torch.from_numpy(np.stack([bound(head) for head in heads.numpy()]))
    return vertices[:1], vertices[1:]


def _surface_of(
    neutral: torch.Tensor,  # (1, N, 3)
    active: torch.Tensor,  # (52, N, 3)
    triangles: torch.Tensor,  # (F, 3)
    uv: torch.Tensor,  # (T, 2)
    uv_triangles: torch.Tensor,  # (F, 3)
    occlusion: Float32Array,  # (N,)
) -> _Surface:
    normals, active_normals = vertex_normals(neutral, triangles), vertex_normals(active, triangles)
    return _Surface(
        neutral[0].numpy(),
        normals[0].numpy(),
        vertex_tangents(neutral, triangles, uv, uv_triangles)[0].numpy(),
        occlusion.clip(0.0, 1.0),
        (active - neutral).numpy(),
        (active_normals - normals).numpy(),
    )


def _primitive(
    builder: GlbBuilder,
    textures: "_Textures",
    part: Part,
    material: int,
    surface: _Surface,
    expressions: Sequence[int],
    pivot: npt.ArrayLike = (0.0, 0.0, 0.0),
) -> Json:
    """A glTF primitive with a morph target for each of `expressions`; positions are relative to `pivot` (3,)."""
    positions = (surface.positions[part.source] - np.asarray(pivot)).astype(np.float32)
    normals = surface.normals[part.source]
    targets = []
    for expression in expressions:
        offsets = surface.position_offsets[expression, part.source]
        turns = surface.normal_offsets[expression, part.source]
        moved = np.linalg.norm(offsets, axis=1) > MOVED_M
        turned = np.linalg.norm(turns, axis=1) > TURNED
        targets.append(
            {
                "POSITION": builder.morph_attribute(offsets, moved, bounds=True),
                "NORMAL": builder.morph_attribute(turns, turned),
            }
        )
    attributes: dict[str, Any] = {
        "POSITION": builder.vertex_attribute(positions, bounds=True),
        "NORMAL": builder.vertex_attribute(normals),
        "COLOR_0": builder.vertex_attribute(np.repeat(surface.occlusion[part.source, None], 3, 1)),
        "TEXCOORD_0": builder.vertex_attribute(part.uv),
    }
    if material == textures.skin:  # The only one with a normal map.
        attributes["TANGENT"] = builder.vertex_attribute(tangents(part, surface.along_u, normals))
    indices = builder.triangle_indices(part.triangles, len(part.source))
    primitive: Json = {"attributes": attributes, "indices": indices, "material": material}
    return primitive | ({"targets": targets} if targets else {})


def _mesh(name: str, primitives: list[Json], expressions: Sequence[int]) -> Json:
    mesh: Json = {"name": name, "primitives": primitives}
    if not len(expressions):
        return mesh
    return mesh | {
        "weights": [0.0] * len(expressions),
        "extras": {"targetNames": [EXPRESSION_NAMES[i] for i in expressions]},
    }

"""An avatar as one binary glTF file that any engine opens: mesh, maps, skeleton, blendshapes, on demand a body.

Nodes: `Armature` holds the joints (`fitme.export.gltf.skeleton`); the skinned meshes are `head`, `eyeLeft` and
`eyeRight` (the person's left and right), and the other parts of `fitme.parts.head_parts` by their names: teeth, gums,
lashes, bust. The head's mesh has one primitive a material and ARKit's 52 blendshapes with Oculus' 15 visemes after
them, named in `mesh.extras.targetNames`; a part has those that move it. Lashes have coverage in the alpha channel of
their texture (`alphaMode` BLEND). The joints `LeftEye` and `RightEye` turn the eyes; for players of blendshapes
alone, the eyes also carry the four `eyeLook*` targets of their side. Use one or the other. `eyeBlink*` presses the
lids on the cornea.

With a body (`ExportOptions.body`) the pieces of `fitme.rig.body` replace the bust, the skeleton has all of its joints,
all meshes lie under `Armature`, the ground is at y = 0, and the file is a VRM 1.0 (`fitme.export.gltf.vrm`).

A model with another mesh than the default one has no rig: its file has neither skeleton nor visemes, and each eye's
node lies at the centre of its eyeball, so that an engine can turn it by that node.

Specular reflection: a specular albedo A_S is glTF's specular factor (`KHR_materials_specular`), F0 = 0.04 A_S, as in
`fitme.render.shading`; it lies in the alpha channel of the `specular` texture. Roughness follows from the renderer's
Blinn-Phong exponent s: alpha^2 = 2 / (s + 2) and roughness = sqrt(alpha) (Walter et al., EGSR 2007).

Modalities that glTF's materials have no slot for are textures too, named in the `skin` material's extras:
`"textures": {NAME: {"index": ...}}`; their encodings are those of `fitme.export.textures`.

The texture `observed`, named there as well, is white where images alone decide on the diffuse map, black where it was
guessed; the scene's extras have its share of the face.

Where the avatar has hair, the node `hair` holds its envelope, with coverage in the alpha channel of its texture
(`alphaMode` MASK). It has no blendshapes, since the scalp does not move. Where it has glasses, the node `glasses` holds
their frame, and tinted lenses (`alphaMode` BLEND).

Vertex colours (`COLOR_0`) carry the ambient occlusion that the albedo was found under; they darken mouth and nostrils.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from fitme.arrays import Float32Array
from fitme.avatar import Avatar
from fitme.errors import InputError
from fitme.export.gltf.animation import take_animation
from fitme.export.gltf.body import body_pieces, lowest_point
from fitme.export.gltf.glasses import GLASSES_NODE, glasses_primitives
from fitme.export.gltf.glb import GlbBuilder, Json
from fitme.export.gltf.hair import HAIR_NODE, hair_primitive, without_bare_hair
from fitme.export.gltf.materials import SAMPLER, Textures, roughness_of_shininess
from fitme.export.gltf.primitives import (
    Primitive,
    drawn_part,
    gltf_mesh,
    gltf_primitive,
    moving_blendshapes,
    own_part,
)
from fitme.export.gltf.skeleton import ARMATURE_NODE, Skeleton, skeleton_of, skin_attributes
from fitme.export.gltf.vrm import EXTENSION, VrmMeta, vrm_extension
from fitme.export.observed import observed_share
from fitme.export.parts import Part, part_of_triangles
from fitme.export.surface import bound_vertices, head_surface, posed_heads, surface_of
from fitme.motion.take import Take
from fitme.parts.drawn_head import DrawnHead, drawn_head
from fitme.parts.head_parts import REFINED_HEAD, Texture
from fitme.rig.rig import HEAD, load_rig
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

SKIN_REGIONS = (Region.SKIN, Region.LIPS, Region.EARS, Region.SCALP, Region.NECK, Region.LASHES)
MOUTH_REGIONS = (Region.MOUTH_INTERIOR,)
TEETH_REGIONS = (Region.TEETH,)

EYE_NODES = ("eyeLeft", "eyeRight")
_ON_EYES = ("eyeBlink", "eyeLook")
"""Expressions that move eyes: lids press on the cornea."""

__all__ = ["EYE_NODES", "ExportOptions", "glb_bytes", "roughness_of_shininess", "write_glb"]


@dataclass(frozen=True)
class ExportOptions:
    """What a file has beside the head."""

    body: bool = False
    """A body in T-pose, and the extension that makes a VRM of the file."""
    vrm: VrmMeta | None = None
    """Author and licence of the VRM; None: the avatar's name, for its author alone."""
    take: Take | None = None
    """Motion that becomes the file's animation."""


def write_glb(avatar: Avatar, model: MorphableModel, path: Path, options: ExportOptions | None = None) -> None:
    """Write the avatar as a binary glTF file; see the module for what is in it."""
    path.write_bytes(glb_bytes(avatar, model, options))


def glb_bytes(avatar: Avatar, model: MorphableModel, options: ExportOptions | None = None) -> bytes:
    """The avatar as a binary glTF file; see the module for what is in it.

    :raises InputError: if the options need a rig and the model, with another mesh than the default one, has none.
    """
    scene = _Scene(without_bare_hair(avatar), model, options or ExportOptions())
    scene.add_head()
    scene.add_eyes()
    scene.add_parts()
    scene.add_hair()
    scene.add_glasses()
    if scene.options.body:
        scene.add_body()
    return scene.to_bytes()


class _Scene:
    """The file under construction: its nodes and meshes."""

    def __init__(self, avatar: Avatar, model: MorphableModel, options: ExportOptions) -> None:
        rig = load_rig(model)
        if rig is None and (options.body or options.take is not None):
            raise InputError(
                "only the default model's mesh has a skeleton: with another model, export the head without a body and "
                "without a take"
            )
        self.avatar, self.model, self.options = avatar, model, options
        self.drawn = drawn_head(model)
        self.heads = posed_heads(avatar, model, rig)
        self.surface = head_surface(self.heads, self.drawn)
        self.skeleton: Skeleton | None = None
        ground = 0.0
        if rig is not None:
            self.build = rig.build_of(avatar.identity)
            self.skeleton = skeleton_of(rig, model, self.head, self.build, with_body=options.body)
            if options.body:
                ground = lowest_point(self.head, self.skeleton, self.build)
        self.offset = (0.0, -ground, 0.0)
        self.builder = GlbBuilder(self.offset)
        self.textures = Textures(self.builder, avatar, model, self.drawn, with_bust=not options.body)
        self.weights = None if self.skeleton is None else drawn_weights(self.skeleton, self.drawn)
        self.nodes: list[Json] = []
        self.meshes: list[Json] = []
        self.blendshapes: dict[int, Sequence[str]] = {}
        self.armature = self.first_joint = -1
        if self.skeleton is not None:
            self.armature, self.first_joint = 0, 1
            self.nodes = [{"name": ARMATURE_NODE, "children": [1]}, *self.skeleton.nodes(1, self.offset)]

    @property
    def head(self) -> Float32Array:
        """(V, 3) the model's vertices of the neutral head."""
        return np.asarray(self.heads.vertices[0])

    def add_mesh(
        self,
        name: str,
        primitives: Sequence[Primitive],
        blendshapes: Sequence[int],
        translation: Float32Array | None = None,
    ) -> None:
        """Add a node with a mesh that has the given blendshapes."""
        names = [self.heads.names[index] for index in blendshapes]
        described = [gltf_primitive(self.builder, primitive, blendshapes) for primitive in primitives]
        self.add_node(name, gltf_mesh(name, described, names), names, translation)

    def add_node(
        self, name: str, mesh: Json, names: Sequence[str] = (), translation: Float32Array | None = None
    ) -> None:
        """Add a node with a finished mesh, whose blendshapes have `names`."""
        node: Json = {"name": name, "mesh": len(self.meshes)}
        if translation is not None:
            node["translation"] = translation.astype(float).tolist()
        if self.skeleton is not None:
            node["skin"] = 0
        if names:
            self.blendshapes[len(self.nodes)] = names
        self.nodes.append(node)
        self.meshes.append(mesh)

    def add_head(self) -> None:
        """Add the model's own mesh, but for what parts replace."""
        primitives = [
            Primitive(part, material, self.surface, self.weights, with_tangents=material == self.textures.skin)
            for part, material in _head_parts(self.model, self.drawn, self.textures)
        ]
        self.add_mesh("head", primitives, range(len(self.heads.names)))

    def add_eyes(self) -> None:
        """Add the eyes; without a skeleton each at the centre of its eyeball."""
        for node, vertices, side in zip(EYE_NODES, self.model.eyeball_vertices, ("Left", "Right"), strict=True):
            if not len(vertices):
                continue
            names = enumerate(self.heads.names)
            looks = [i for i, name in names if name.startswith(_ON_EYES) and name.endswith(side)]
            part, material = _eye_part(self.model, self.drawn, vertices.numpy(), side, self.textures)
            center = self.surface.positions[vertices.numpy()].mean(0)
            if self.skeleton is None:
                primitive = Primitive(part, material, self.surface, None, pivot=center)
                self.add_mesh(node, [primitive], looks, center)
            else:
                self.add_mesh(node, [Primitive(part, material, self.surface, self.weights)], looks)

    def add_parts(self) -> None:
        """Add all other parts; the bust only without a body."""
        for found in self.drawn.opaque:
            replaced = found.part.texture is Texture.BUST and self.options.body
            if found.eye is not None or found.part.name == REFINED_HEAD or replaced:
                continue
            material = self.textures.by_part[found.part.material, found.part.texture]
            primitive = Primitive(drawn_part(self.drawn, found), material, self.surface, self.weights)
            self.add_mesh(found.part.name, [primitive], moving_blendshapes(primitive))
        for part in () if self.drawn.parts is None else self.drawn.parts.layers:
            surface = surface_of(
                *bound_vertices(self.heads, part.binding.apply), torch.from_numpy(part.triangles),
                torch.from_numpy(part.uv), torch.from_numpy(part.uv_triangles), part.occlusion,
            )  # fmt: skip
            weights = None if self.skeleton is None else self.skeleton.part_weights(part)
            own = part_of_triangles(part.triangles, part.uv_triangles, part.uv)
            primitive = Primitive(own, self.textures.by_part[part.material, part.texture], surface, weights)
            self.add_mesh(part.name, [primitive], moving_blendshapes(primitive))

    def add_hair(self) -> None:
        """Add the hair, if there is some."""
        if self.avatar.hair is not None:
            primitive = hair_primitive(self.builder, self.avatar, self.model, self.textures.hair)
            self.add_rigid(HAIR_NODE, [primitive])

    def add_glasses(self) -> None:
        """Add the glasses, if there are some."""
        if self.avatar.glasses is not None:
            self.add_rigid(GLASSES_NODE, glasses_primitives(self.builder, self.avatar.glasses, self.textures.glasses))

    def add_rigid(self, name: str, primitives: Sequence[Json]) -> None:
        """Add a node of finished primitives that move with the head alone."""
        for primitive in primitives if self.skeleton is not None else ():
            assert self.skeleton is not None
            count = self.builder.count(primitive["attributes"]["POSITION"])
            primitive["attributes"] |= skin_attributes(self.builder, self.skeleton.rigid(HEAD, count))
        self.add_node(name, gltf_mesh(name, list(primitives), ()))

    def add_body(self) -> None:
        """Add the pieces of the body."""
        assert self.skeleton is not None
        normals = self.surface.normals
        for piece in body_pieces(self.avatar, self.head, normals, self.drawn, self.skeleton, self.build):
            material = self.textures.add(piece.material)
            self.add_mesh(piece.name, [replace(piece.primitive, material=material)], ())

    def to_bytes(self) -> bytes:
        """The finished file."""
        roots = [index for index in range(len(self.nodes)) if index == self.armature or "mesh" in self.nodes[index]]
        if self.options.body:
            self.nodes[self.armature]["children"] += [index for index in roots if index != self.armature]
            roots = [self.armature]
        used = ["KHR_materials_specular"]
        document: Json = {
            "asset": {"version": "2.0", "generator": "FitMe"},
            "extensionsUsed": used,
            "scene": 0,
            "scenes": [{"name": self.avatar.name, "nodes": roots, "extras": self._extras()}],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "materials": self.textures.materials,
            "textures": self.textures.textures,
            "samplers": [SAMPLER],
        }
        if self.skeleton is not None:
            document["skins"] = [self.skeleton.skin(self.builder, self.first_joint, self.offset)]
            if self.options.take is not None:
                document["animations"] = [self._animation(self.skeleton, self.options.take)]
            if self.options.body:
                used.append(EXTENSION)
                document["extensions"] = {EXTENSION: self._vrm(self.skeleton)}
        return self.builder.to_bytes(document)

    def _extras(self) -> Json:
        share = observed_share(self.avatar, self.model)
        return {"stage": self.avatar.stage} | ({} if share is None else {"observedShareOfFace": round(share, 4)})

    def _animation(self, skeleton: Skeleton, take: Take) -> Json:
        names = {
            node: [
                "" if self.nodes[node]["name"] in EYE_NODES and name.startswith("eyeLook") else name for name in found
            ]
            for node, found in self.blendshapes.items()
        }
        return take_animation(self.builder, take, skeleton, self.first_joint, names, moves=not self.options.body)

    def _vrm(self, skeleton: Skeleton) -> Json:
        joints = {name: self.first_joint + number for number, name in enumerate(skeleton.names)}
        meta = self.options.vrm or VrmMeta(self.avatar.name)
        return vrm_extension(meta, joints, self.blendshapes, skeleton.in_joint(HEAD, np.zeros(3)))


def drawn_weights(skeleton: Skeleton, drawn: DrawnHead) -> Float32Array:
    """(V + N, J) skinning weights of the drawn mesh's vertices."""
    weights = np.zeros((len(drawn.occlusion), skeleton.head_weights.shape[1]), np.float32)
    weights[: len(skeleton.head_weights)] = skeleton.head_weights
    for found in drawn.opaque:
        weights[found.place] = skeleton.part_weights(found.part)
    return weights


def _head_parts(model: MorphableModel, drawn: DrawnHead, textures: Textures) -> list[tuple[Part, int]]:
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
            found.append((own_part(model, faces, drawn if of_part is SKIN_REGIONS else None), material))
    return found


def _eye_part(
    model: MorphableModel, drawn: DrawnHead, ball: npt.NDArray[np.int64], side: str, textures: Textures
) -> tuple[Part, int]:
    """The part of an eye and its material, or the model's own eyeball where it has no parts."""
    for found in drawn.opaque:
        if found.eye is not None and found.part.name.startswith(side.lower()):
            return drawn_part(drawn, found), textures.by_part[found.part.material, found.part.texture]
    return own_part(model, np.flatnonzero(np.isin(model.triangles.numpy(), ball).all(1))), textures.eye

"""The mesh that renderers draw: the model's head with its parts, as one mesh with one map.

Vertices 0 to V - 1 are the model's, so that its landmarks and masks hold; the parts' follow. The parts' own maps lie
below the head's in one map: a strip that is `STRIP_SHARE` as high as the head's maps. Texture coordinates of the head
are those of the model with v scaled accordingly.
"""

import functools
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import BoolArray, Float32Array
from fitme.parts.eye_surroundings import EyeSurroundings, eye_surroundings
from fitme.parts.head_parts import HeadPart, HeadParts, Material, Texture, load_head_parts
from fitme.parts.teeth_layout import TeethLayout, teeth_layout
from fitme.render.materials import head_shininess
from fitme.render.occlusion import MouthOcclusion, head_occlusion, mouth_occlusion
from fitme.shape.morphable_model import MorphableModel

STRIP_SHARE = 0.5
"""Height of the strip over that of the head's maps."""
STRIP_PLACES: dict[Texture, tuple[float, float, float, float]] = {
    Texture.TEETH: (0.0, 0.0, 0.5, 1.0),
    Texture.BUST: (0.5, 0.0, 1.0, 0.5),
    Texture.LEFT_EYE: (0.5, 0.5, 0.75, 1.0),
    Texture.RIGHT_EYE: (0.75, 0.5, 1.0, 1.0),
}
"""Left, top, right and bottom of each map in the strip, whose width and height are 1."""
BORDER = 0.02
"""Margin of a map that is not sampled: bilinear samples would mix with the map beside it."""
MATERIAL_SHININESS = {Material.TEETH: 140.0, Material.MOUTH: 50.0, Material.EYE: 300.0, Material.SKIN: 24.0}
"""Blinn-Phong exponents."""
EYES = {"leftEye": 0, "rightEye": 1}
"""Parts that lie under lids, by name."""


@dataclass(frozen=True, eq=False)
class DrawnPart:
    """A part in the drawn mesh."""

    part: HeadPart
    """The part."""
    place: slice
    """Its vertices among those of the drawn mesh."""
    faces: slice
    """Its triangles."""
    uv_first: int
    """Place of its first texture vertex among those of the drawn mesh."""
    eye: int | None
    """0 of the left eye, 1 of the right one."""


@dataclass(frozen=True, eq=False)
class DrawnHead:
    """Topology of the head with its parts, as `fitme.render.renderer.TexturedMesh`, and how its vertices are found."""

    triangles: Tensor
    """(F, 3) int32."""
    uv: Tensor
    """(T, 2) float32 in the map with the strip."""
    uv_triangles: Tensor
    """(F, 3) int32."""
    shininess: Tensor
    """(F,) Blinn-Phong exponents."""
    occlusion: Tensor
    """(V + N,) as `fitme.render.occlusion.head_occlusion`."""
    mouth: MouthOcclusion
    """Of all vertices behind the lips."""
    parts: HeadParts | None
    """What it was made of; None if the model has no parts."""
    opaque: tuple[DrawnPart, ...]
    """The parts that are drawn with the head."""
    casting: BoolArray
    """(F,) triangles that cast shadows: what lies behind lids and lips has its own occlusion."""
    eyes: tuple[EyeSurroundings, EyeSurroundings]
    """Lids of the left and the right eye."""
    neck_uv: Float32Array
    """(L, 2) places in the head's map above the bust's first ring, in its order; empty without a bust."""
    teeth: TeethLayout | None
    """Rows of teeth in the head's map; None without parts."""

    def bound(self, head: Float32Array) -> Float32Array:
        """Vertices (V + N, 3) on the model's (V, 3), metres, without the lids' pressure on the eyes."""
        return np.concatenate([head, *(drawn.part.binding.apply(head) for drawn in self.opaque)])

    def displacements(self, head: Float32Array) -> Float32Array:
        """Displacements (V + N, 3) by those of the model's vertices (V, 3), metres."""
        return np.concatenate([head, *(drawn.part.binding.displacements(head) for drawn in self.opaque)])

    def posed(self, head: Float32Array) -> tuple[Float32Array, Float32Array]:
        """Vertices (V + N, 3) on the model's posed ones (V, 3), metres, and the light (V + N,) that reaches them."""
        vertices = np.empty((len(self.occlusion), 3), np.float32)
        light = self.occlusion.numpy().copy()
        vertices[: len(head)] = head
        for drawn in self.opaque:
            vertices[drawn.place] = drawn.part.binding.apply(head)
            if drawn.eye is not None:
                vertices[drawn.place], light[drawn.place] = self.eyes[drawn.eye].applied(vertices[drawn.place], head)
        return vertices, light


@functools.lru_cache(maxsize=4)
def drawn_head(model: MorphableModel, with_parts: bool = True) -> DrawnHead:
    """Drawn mesh of a model; of one that has no parts, or without them, its own mesh alone."""
    parts = load_head_parts(model) if with_parts else None
    hidden = np.zeros(len(model.triangles), bool) if parts is None else parts.hidden
    shown = np.flatnonzero(~hidden)
    triangles, uv_triangles = [model.triangles.numpy()[shown]], [model.uv_triangles.numpy()[shown]]
    uv, shininess = [_in_map(model.uv.numpy(), Texture.HEAD)], [head_shininess(model).numpy()[shown]]
    mouth, occlusion = mouth_occlusion(model, sides=parts is not None), [head_occlusion(model).numpy()]
    inside, open_share = [mouth.inside.numpy()], [mouth.open_share.numpy()]
    opaque = []
    vertex_count, uv_count, face_count = model.vertex_count, len(uv[0]), len(shown)
    for part in () if parts is None else parts.opaque:
        count = len(part.binding)
        # Vertices that lie on one of the head are that vertex: no edge shows between head and part.
        number = np.where(part.binding.is_copy, part.binding.first_vertex, np.arange(count) + vertex_count)
        triangles.append(number[part.triangles].astype(np.int32))
        uv_triangles.append(part.uv_triangles + np.int32(uv_count))
        uv.append(_in_map(part.uv, part.texture))
        shininess.append(np.full(len(part.triangles), MATERIAL_SHININESS[part.material], np.float32))
        occlusion.append(part.occlusion)
        inside.append(np.full(count, part.behind_lips))
        open_share.append(np.ones(count, np.float32))  # The parts' occlusion is without the lips'.
        opaque.append(
            DrawnPart(
                part, slice(vertex_count, vertex_count + count), slice(face_count, face_count + len(part.triangles)),
                uv_count, EYES.get(part.name),
            )
        )  # fmt: skip
        vertex_count, uv_count = vertex_count + count, uv_count + len(part.uv)
        face_count += len(part.triangles)
    return DrawnHead(
        triangles=torch.from_numpy(np.concatenate(triangles)),
        uv=torch.from_numpy(np.concatenate(uv)),
        uv_triangles=torch.from_numpy(np.concatenate(uv_triangles)),
        shininess=torch.from_numpy(np.concatenate(shininess)),
        occlusion=torch.from_numpy(np.concatenate(occlusion)),
        mouth=replace(
            mouth,
            inside=torch.from_numpy(np.concatenate(inside)),
            open_share=torch.from_numpy(np.concatenate(open_share)),
            lining=np.flatnonzero(np.isin(shown, mouth.lining)),
        ),
        parts=parts,
        opaque=tuple(opaque),
        casting=np.concatenate([np.full(len(shown), True), *(_casts(found) for found in opaque)]),
        eyes=eye_surroundings(model),
        neck_uv=_neck_uv(model, opaque),
        teeth=None if parts is None else teeth_layout(model, parts),
    )


def _casts(drawn: DrawnPart) -> BoolArray:
    outside = not drawn.part.behind_lips and drawn.eye is None
    return np.full(len(drawn.part.triangles), outside)


def _neck_uv(model: MorphableModel, opaque: list[DrawnPart]) -> Float32Array:
    bust = [drawn.part.binding for drawn in opaque if drawn.part.texture is Texture.BUST]
    if not bust:
        return np.zeros((0, 2), np.float32)
    place = np.zeros((model.vertex_count, 2), np.float32)
    place[model.triangles.numpy().ravel()] = model.uv.numpy()[model.uv_triangles.numpy().ravel()]
    return np.asarray(place[bust[0].first_vertex[bust[0].is_copy]])


def _in_map(uv: Float32Array, texture: Texture) -> Float32Array:
    """Texture coordinates (T, 2) of a map, in the map with the strip."""
    whole = 1.0 + STRIP_SHARE
    if texture is Texture.HEAD:
        return np.asarray(uv * (1.0, 1.0 / whole), np.float32)
    left, top, right, bottom = STRIP_PLACES[texture]
    if texture is not Texture.TEETH:
        uv = np.clip(uv, BORDER, 1.0 - BORDER)
    inside = uv * (right - left, STRIP_SHARE * (bottom - top)) + (left, 1.0 + STRIP_SHARE * top)
    return np.asarray(inside * (1.0, 1.0 / whole), np.float32)

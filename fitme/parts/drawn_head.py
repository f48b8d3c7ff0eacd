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

from fitme.arrays import BoolArray, Float32Array, Int32Array
from fitme.parts.head_parts import HeadPart, HeadParts, Material, Texture, load_head_parts
from fitme.render.materials import head_shininess
from fitme.render.occlusion import MouthOcclusion, head_occlusion, mouth_occlusion
from fitme.shape.morphable_model import MorphableModel

STRIP_SHARE = 0.5
"""Height of the strip over that of the head's maps."""
STRIP_PLACES: dict[Texture, tuple[float, float, float, float]] = {
    Texture.TEETH: (0.0, 0.0, 0.5, 1.0),
    Texture.BUST: (0.5, 0.0, 1.0, 0.5),
}
"""Left, top, right and bottom of each map in the strip, whose width and height are 1."""
MATERIAL_SHININESS = {Material.TEETH: 140.0, Material.MOUTH: 50.0, Material.EYE: 300.0, Material.SKIN: 24.0}
"""Blinn-Phong exponents."""
OPAQUE = tuple(MATERIAL_SHININESS)
"""Materials that are drawn with the head; others are layers over it."""


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
    parts: tuple[HeadPart, ...]
    """The parts, in the order of their vertices."""
    source: Int32Array
    """(F,) triangle of the model, or -1 of a part."""

    def vertices(self, head: Float32Array) -> Float32Array:
        """Vertices (V + N, 3) on the model's posed vertices (V, 3), metres."""
        return np.concatenate([head, *(part.binding.apply(head) for part in self.parts)])


@functools.lru_cache(maxsize=2)
def drawn_head(model: MorphableModel) -> DrawnHead:
    """Drawn mesh of a model; of one that has no parts, its own mesh alone."""
    parts = load_head_parts(model)
    none = np.zeros(len(model.triangles), bool)
    return _joined(model, none if parts is None else parts.hidden, () if parts is None else _opaque(parts))


def _opaque(parts: HeadParts) -> tuple[HeadPart, ...]:
    return tuple(part for part in parts.parts if part.material in OPAQUE)


def _joined(model: MorphableModel, hidden: BoolArray, parts: tuple[HeadPart, ...]) -> DrawnHead:
    shown = np.flatnonzero(~hidden)
    triangles, uv_triangles = [model.triangles.numpy()[shown]], [model.uv_triangles.numpy()[shown]]
    uv = [_in_map(model.uv.numpy(), Texture.HEAD)]
    shininess = [head_shininess(model).numpy()[shown]]
    occlusion = [head_occlusion(model).numpy()]
    mouth = mouth_occlusion(model)
    inside = [mouth.inside.numpy()]
    vertex_count, uv_count = model.vertex_count, len(uv[0])
    for part in parts:
        triangles.append(part.triangles + np.int32(vertex_count))
        uv_triangles.append(part.uv_triangles + np.int32(uv_count))
        uv.append(_in_map(part.uv, part.texture))
        shininess.append(np.full(len(part.triangles), MATERIAL_SHININESS[part.material], np.float32))
        occlusion.append(part.occlusion)
        inside.append(np.full(len(part.occlusion), part.behind_lips))
        vertex_count, uv_count = vertex_count + len(part.binding), uv_count + len(part.uv)
    source = np.concatenate([shown, np.full(sum(len(part.triangles) for part in parts), -1)]).astype(np.int32)
    lining = np.flatnonzero(np.isin(shown, mouth.lining))
    return DrawnHead(
        triangles=torch.from_numpy(np.concatenate(triangles)),
        uv=torch.from_numpy(np.concatenate(uv)),
        uv_triangles=torch.from_numpy(np.concatenate(uv_triangles)),
        shininess=torch.from_numpy(np.concatenate(shininess)),
        occlusion=torch.from_numpy(np.concatenate(occlusion)),
        mouth=replace(mouth, inside=torch.from_numpy(np.concatenate(inside)), lining=lining),
        parts=parts,
        source=source,
    )


def _in_map(uv: Float32Array, texture: Texture) -> Float32Array:
    """Texture coordinates (T, 2) of a map, in the map with the strip."""
    whole = 1.0 + STRIP_SHARE
    if texture is Texture.HEAD:
        return np.asarray(uv * (1.0, 1.0 / whole), np.float32)
    left, top, right, bottom = STRIP_PLACES[texture]
    inside = uv * (right - left, STRIP_SHARE * (bottom - top)) + (left, 1.0 + STRIP_SHARE * top)
    return np.asarray(inside * (1.0, 1.0 / whole), np.float32)

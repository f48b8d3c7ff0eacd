"""The head cut into the parts that become glTF primitives: one vertex for each texture coordinate it is used with."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Int64Array
from fitme.shape.morphable_model import MorphableModel

_DEGENERATE = 1e-3
"""Length below which the projection of a unit tangent says nothing."""
_STEEP = 0.9
"""Share of the x axis in a normal from which another axis is used to find a perpendicular."""


@dataclass(frozen=True)
class Part:
    """Some triangles of the model with a vertex buffer of their own."""

    source: Int64Array
    """(N,) vertex of the model that each vertex of the part is a copy of."""
    uv_source: Int64Array
    """(N,) its texture vertex in the model."""
    uv: Float32Array
    """(N, 2) texture coordinates, (0, 0) at the top left."""
    triangles: Int64Array
    """(F, 3) corners as vertices of the part."""


def part_of_regions(model: MorphableModel, regions: Collection[int]) -> Part:
    """The triangles whose region is among `regions`."""
    chosen = np.isin(model.triangle_region.numpy(), list(regions))
    return _part(model, chosen)


def part_of_vertices(model: MorphableModel, vertices: Int64Array) -> Part:
    """The triangles all of whose corners are among `vertices`."""
    member = np.zeros(len(model.mean), bool)
    member[vertices] = True
    return _part(model, member[model.triangles.numpy()].all(1))


def _part(model: MorphableModel, chosen: BoolArray) -> Part:
    corners = np.stack([model.triangles.numpy()[chosen], model.uv_triangles.numpy()[chosen]], -1).astype(np.int64)
    pairs, inverse = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    uv = model.uv.numpy()[pairs[:, 1]].astype(np.float32)
    return Part(pairs[:, 0], pairs[:, 1], uv, inverse.reshape(-1, 3).astype(np.int64))


def tangents(part: Part, along_u: Float32Array, normals: Float32Array) -> Float32Array:
    """(N, 4) tangents of a part as glTF has them: perpendicular to the normals, and the sign of the bitangent.

    `along_u` (T, 4) are `fitme.render.tangents.vertex_tangents` of the model, `normals` (N, 3) the part's. Where the
    texture coordinates are degenerate the tangent is any perpendicular of the normal.
    """
    raw = along_u[part.uv_source]
    tangent = raw[:, :3] - normals * (raw[:, :3] * normals).sum(1, keepdims=True)
    length = np.linalg.norm(tangent, axis=1, keepdims=True)
    steep = np.abs(normals[:, :1]) > _STEEP
    axes = np.eye(3, dtype=np.float32)
    fallback = np.cross(normals, np.where(steep, axes[1], axes[0]))
    tangent = np.where(length > _DEGENERATE, tangent, fallback)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    signed: Float32Array = np.concatenate([tangent, raw[:, 3:]], 1).astype(np.float32)
    return signed

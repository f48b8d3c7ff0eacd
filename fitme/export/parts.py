"""Parts of the head that become glTF primitives: one vertex for each pair of model vertex and texture coordinate."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Int64Array
from fitme.shape.morphable_model import MorphableModel

_DEGENERATE = 1e-3
"""Length below which the projection of a unit tangent has no usable direction."""
_STEEP = 0.9
"""Absolute x component of a unit normal from which the y axis replaces the x axis in the cross product."""


@dataclass(frozen=True)
class Part:
    """Subset of the model's triangles with its own vertex buffer."""

    source: Int64Array
    """(N,) index of the model's vertex that each vertex of the part copies."""
    uv_source: Int64Array
    """(N,) index of its texture vertex in the model."""
    uv: Float32Array
    """(N, 2) texture coordinates, (0, 0) at the top left."""
    triangles: Int64Array
    """(F, 3) corners as indices into the part's vertices."""


def part_of_regions(model: MorphableModel, regions: Collection[int]) -> Part:
    """Part made of the triangles whose region is among `regions`."""
    chosen = np.isin(model.triangle_region.numpy(), list(regions))
    return _part(model, chosen)


def part_of_vertices(model: MorphableModel, vertices: Int64Array) -> Part:
    """Part made of the triangles whose three corners are all among `vertices`."""
    member = np.zeros(len(model.mean), bool)
    member[vertices] = True
    return _part(model, member[model.triangles.numpy()].all(1))


def _part(model: MorphableModel, chosen: BoolArray) -> Part:
    corners = np.stack([model.triangles.numpy()[chosen], model.uv_triangles.numpy()[chosen]], -1).astype(np.int64)
    pairs, inverse = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    uv = model.uv.numpy()[pairs[:, 1]].astype(np.float32)
    return Part(pairs[:, 0], pairs[:, 1], uv, inverse.reshape(-1, 3).astype(np.int64))


def tangents(part: Part, along_u: Float32Array, normals: Float32Array) -> Float32Array:
    """Tangents (N, 4) of a part in glTF's convention: unit, perpendicular to the normals, and the bitangent's sign.

    Where the texture coordinates are degenerate, an arbitrary perpendicular of the normal replaces the tangent.

    :param along_u: (T, 4) `fitme.render.tangents.vertex_tangents` of the model.
    :param normals: (N, 3) unit normals of the part.
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

"""Pieces of the head that become glTF primitives: one vertex for each pair of vertex and texture coordinate."""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array, Int32Array, Int64Array

_DEGENERATE = 1e-3
"""Length below which the projection of a unit tangent has no usable direction."""
_STEEP = 0.9
"""Absolute x component of a unit normal from which the y axis replaces the x axis in the cross product."""


@dataclass(frozen=True)
class Part:
    """Triangles of a mesh with their own vertex buffer."""

    source: Int64Array
    """(N,) index of the mesh's vertex that each vertex of the part copies."""
    uv_source: Int64Array
    """(N,) index of its texture vertex in the mesh."""
    uv: Float32Array
    """(N, 2) texture coordinates, (0, 0) at the top left."""
    triangles: Int64Array
    """(F, 3) corners as indices into the part's vertices."""


def part_of_triangles(triangles: Int32Array, uv_triangles: Int32Array, uv: Float32Array) -> Part:
    """Part of the given triangles (F, 3) of a mesh with texture vertices (T, 2) and their triangles (F, 3)."""
    corners = np.stack([triangles, uv_triangles], -1).astype(np.int64)
    pairs, inverse = np.unique(corners.reshape(-1, 2), axis=0, return_inverse=True)
    places = uv[pairs[:, 1]].astype(np.float32)
    return Part(pairs[:, 0], pairs[:, 1], places, inverse.reshape(-1, 3).astype(np.int64))


def tangents(part: Part, along_u: Float32Array, normals: Float32Array) -> Float32Array:
    """Tangents (N, 4) of a part in glTF's convention: unit, perpendicular to the normals, and the bitangent's sign.

    Where the texture coordinates are degenerate, an arbitrary perpendicular of the normal replaces the tangent.

    :param along_u: (T, 4) `fitme.render.tangents.vertex_tangents` of the mesh.
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

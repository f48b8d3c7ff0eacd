"""Per-render geometry of the forward renderer: vertex normals and tangents without autograd."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from fitme.arrays import Float32Array, Int32Array
from fitme.render.cpu.kernel import relaxed_kernel

_SMALLEST = 1e-20


@dataclass(frozen=True)
class TangentWeights:
    """Part of `fitme.render.tangents.vertex_tangents` that depends on the UV layout alone, precomputed."""

    weights: Float32Array
    """(F, 2): along_u of a triangle = edge1 * weights[0] - edge2 * weights[1]."""
    handedness: Float32Array
    """(T,) +1 or -1."""


def tangent_weights(uv: Tensor, uv_triangles: Tensor) -> TangentWeights:
    """Tangent weights of texture vertices (T, 2) and their triangles (F, 3)."""
    points, corners = uv.double().cpu().numpy(), uv_triangles.long().cpu().numpy()
    across1 = points[corners[:, 1]] - points[corners[:, 0]]
    across2 = points[corners[:, 2]] - points[corners[:, 0]]
    orientation = across1[:, 0] * across2[:, 1] - across2[:, 0] * across1[:, 1]
    turn = np.zeros(len(points))
    for corner in range(3):
        np.add.at(turn, corners[:, corner], -orientation)
    weights = np.stack([across2[:, 1], across1[:, 1]], -1) * np.sign(orientation)[:, None]
    return TangentWeights(weights.astype(np.float32), np.where(turn < 0, -1.0, 1.0).astype(np.float32))


@relaxed_kernel
def _normalize(vectors: Float32Array) -> None:
    """Scale vectors (N, 3) to unit length in place; zero stays zero."""
    for index in range(vectors.shape[0]):
        x, y, z = vectors[index, 0], vectors[index, 1], vectors[index, 2]
        scale = np.float32(1.0) / np.sqrt(max(x * x + y * y + z * z, np.float32(_SMALLEST)))
        vectors[index, 0] = x * scale
        vectors[index, 1] = y * scale
        vectors[index, 2] = z * scale


@relaxed_kernel
def frame_vertices(
    view: Float32Array,
    triangles: Int32Array,
    uv_triangles: Int32Array,
    weights: Float32Array,
    normals: Float32Array,
    tangents: Float32Array,
) -> None:
    """Write unit normals and tangents of a posed mesh into `normals` and `tangents`.

    :param view: (V, 3) view-space vertices, metres.
    :param weights: (F, 2) of `TangentWeights`.
    :param normals: (V, 3) receives area-weighted vertex normals.
    :param tangents: (T, 3) receives tangents weighted by area in UV.
    """
    normals[:] = 0.0
    tangents[:] = 0.0
    for face in range(triangles.shape[0]):
        i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        # The cross product is the normal times twice the area, so its sum weights by area.
        ax, ay, az = view[i1, 0] - view[i0, 0], view[i1, 1] - view[i0, 1], view[i1, 2] - view[i0, 2]
        bx, by, bz = view[i2, 0] - view[i0, 0], view[i2, 1] - view[i0, 1], view[i2, 2] - view[i0, 2]
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        # Tangents have one sum per texture vertex, so that seams stay sharp.
        wa, wb = weights[face, 0], weights[face, 1]
        tx, ty, tz = ax * wa - bx * wb, ay * wa - by * wb, az * wa - bz * wb
        for corner in range(3):
            vertex = triangles[face, corner]
            normals[vertex, 0] += nx
            normals[vertex, 1] += ny
            normals[vertex, 2] += nz
            texture_vertex = uv_triangles[face, corner]
            tangents[texture_vertex, 0] += tx
            tangents[texture_vertex, 1] += ty
            tangents[texture_vertex, 2] += tz
    _normalize(normals)
    _normalize(tangents)

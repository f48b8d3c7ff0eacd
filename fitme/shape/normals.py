"""Vertex normals of a triangle mesh."""

from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.kernel_cache import cached_kernel

_SMALLEST_LENGTH = 1e-12


def vertex_normals(
    vertices: Tensor,  # (B, V, 3)
    triangles: Tensor,  # (F, 3) int32 or int64, counter-clockwise seen from outside
) -> Tensor:
    """Unit normals (B, V, 3): the area-weighted mean of the triangles around each vertex, differentiable.

    A vertex that no triangle uses gets the zero vector.
    """
    if vertices.dtype == torch.float32 and vertices.device.type == "cpu" and not vertices.requires_grad:
        # Fits ask for normals without gradients thousands of times: compiled, they take a thirtieth of the time.
        corners = triangles.int().contiguous().numpy()
        return torch.stack([torch.from_numpy(mesh_normals(mesh.contiguous().numpy(), corners)) for mesh in vertices])
    corner = triangles.long()
    a, b, c = (vertices[:, corner[:, k]] for k in range(3))  # (B, F, 3)
    face = torch.linalg.cross(b - a, c - a, dim=-1)  # (B, F, 3), length = twice the area
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(1, corner[:, k], face)
    length: Tensor = total.norm(dim=-1, keepdim=True).clamp(min=_SMALLEST_LENGTH)
    normals: Tensor = total / length
    return normals


def mesh_normals(
    vertices: Float32Array,  # (V, 3)
    triangles: npt.NDArray[np.integer[Any]],  # (F, 3)
) -> Float32Array:
    """(V, 3) unit normals as `vertex_normals` has them, without gradients."""
    normals = np.zeros_like(vertices)
    _add_normals(vertices, triangles, normals)
    return normals


@partial(cached_kernel, nogil=True)
def _add_normals(vertices, triangles, normals):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    """Write unit normals into zeros (V, 3)."""
    for face in range(len(triangles)):
        i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        ax, ay, az = (
            vertices[j, 0] - vertices[i, 0],
            vertices[j, 1] - vertices[i, 1],
            vertices[j, 2] - vertices[i, 2],
        )
        bx, by, bz = (
            vertices[k, 0] - vertices[i, 0],
            vertices[k, 1] - vertices[i, 1],
            vertices[k, 2] - vertices[i, 2],
        )
        # The cross product is the normal times twice the area, so its sum weights by area.
        nx, ny, nz = ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx
        for corner in range(3):
            vertex = triangles[face, corner]
            normals[vertex, 0] += nx
            normals[vertex, 1] += ny
            normals[vertex, 2] += nz
    for vertex in range(len(normals)):
        x, y, z = normals[vertex, 0], normals[vertex, 1], normals[vertex, 2]
        length = max(np.sqrt(x * x + y * y + z * z), _SMALLEST_LENGTH)
        normals[vertex, 0], normals[vertex, 1], normals[vertex, 2] = x / length, y / length, z / length

"""Vertex normals of a triangle mesh."""

import torch
from torch import Tensor

_SMALLEST_LENGTH = 1e-12


def vertex_normals(
    vertices: Tensor,  # (B, V, 3)
    triangles: Tensor,  # (F, 3) int32 or int64, counter-clockwise seen from outside
) -> Tensor:
    """Unit normals (B, V, 3): the area-weighted mean of the triangles around each vertex, differentiable.

    A vertex that no triangle uses gets the zero vector.
    """
    corner = triangles.long()
    a, b, c = (vertices[:, corner[:, k]] for k in range(3))  # (B, F, 3)
    face = torch.linalg.cross(b - a, c - a, dim=-1)  # (B, F, 3), length = twice the area
    total = torch.zeros_like(vertices)
    for k in range(3):
        total = total.index_add(1, corner[:, k], face)
    length: Tensor = total.norm(dim=-1, keepdim=True).clamp(min=_SMALLEST_LENGTH)
    normals: Tensor = total / length
    return normals

"""Meshes that the rendering tests share."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import pytest
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

Sphere: TypeAlias = Callable[[int], tuple[Tensor, Tensor]]


def make_sphere(count: int) -> tuple[Tensor, Tensor]:
    """Unit sphere of Fibonacci points: vertices (count, 3) float64, outward triangles (2 count - 4, 3) int32."""
    index = np.arange(count) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = np.pi * (1.0 + 5.0**0.5) * index
    radius = np.sqrt(1.0 - z * z)
    points = np.stack([radius * np.cos(angle), radius * np.sin(angle), z], -1)
    triangles = ConvexHull(points).simplices
    corners = points[triangles]
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    inward = (normal * corners[:, 0]).sum(-1) < 0
    triangles[inward] = triangles[inward][:, ::-1]
    return torch.from_numpy(points), torch.from_numpy(triangles.astype(np.int32))


@pytest.fixture(scope="session")
def sphere() -> Sphere:
    """Builds unit spheres of a given number of vertices."""
    return make_sphere

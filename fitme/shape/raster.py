"""Exact rasterizer of triangle indices on NumPy arrays, for baking and for the asset builders."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array, Float64Array, Int64Array
from fitme.kernel_cache import cached_kernel
from fitme.shape.morphable_model import MorphableModel

_DEGENERATE_AREA = 1e-14


@dataclass(frozen=True)
class Coverage:
    """Raster of triangle indices and barycentric coordinates."""

    triangle: Int64Array
    """(H, W) index of the covering triangle, −1 where there is none."""
    barycentric: Float32Array
    """(H, W, 3) weights of the triangle's corners at the pixel's centre; zero where there is none."""

    def interpolate(
        self,
        attributes: npt.NDArray[np.floating[Any]],  # (N, C)
        triangles: npt.NDArray[np.integer[Any]],  # (F, 3) indices into attributes
    ) -> Float32Array:
        """Attributes at every pixel (H, W, C) float32; zero where no triangle is."""
        corners = attributes[triangles[np.maximum(self.triangle, 0)]]  # (H, W, 3, C)
        return np.asarray(np.einsum("hwkc,hwk->hwc", corners, self.barycentric), np.float32)


def uv_raster(model: MorphableModel, resolution: int) -> Coverage:
    """Triangle at each texel of a square map: row = v down, column = u, texel centres at (i + 0.5) / resolution."""
    uv = model.uv.numpy().astype(np.float64) * resolution
    points = np.concatenate([uv, np.zeros((len(uv), 1))], 1)
    return rasterize(points, model.uv_triangles.numpy().astype(np.int64), resolution, resolution)


def rasterize(
    points: Float64Array,  # (N, 3): x right and y down in pixels, then nearness (the largest wins)
    triangles: Int64Array,  # (F, 3)
    height: int,
    width: int,
) -> Coverage:
    """Nearest triangle at every pixel's centre (z-buffer); the earlier triangle wins ties. Both windings are drawn."""
    triangle, barycentric = _rasterize(np.ascontiguousarray(points), np.ascontiguousarray(triangles), height, width)
    return Coverage(triangle, barycentric)


@cached_kernel
def _rasterize(points, triangles, height, width):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    nearest = np.full((height, width), -np.inf)
    index = np.full((height, width), -1, np.int64)
    weights = np.zeros((height, width, 3), np.float32)
    for t in range(len(triangles)):
        a, b, c = points[triangles[t, 0]], points[triangles[t, 1]], points[triangles[t, 2]]
        area = (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])
        if abs(area) < _DEGENERATE_AREA:
            continue
        top = max(0, int(np.ceil(min(a[1], b[1], c[1]) - 0.5)))
        bottom = min(height - 1, int(np.floor(max(a[1], b[1], c[1]) - 0.5)))
        left = max(0, int(np.ceil(min(a[0], b[0], c[0]) - 0.5)))
        right = min(width - 1, int(np.floor(max(a[0], b[0], c[0]) - 0.5)))
        for row in range(top, bottom + 1):
            y = row + 0.5
            for column in range(left, right + 1):
                x = column + 0.5
                w0 = ((b[0] - x) * (c[1] - y) - (c[0] - x) * (b[1] - y)) / area
                w1 = ((c[0] - x) * (a[1] - y) - (a[0] - x) * (c[1] - y)) / area
                w2 = 1.0 - w0 - w1
                if w0 < 0.0 or w1 < 0.0 or w2 < 0.0:
                    continue
                z = w0 * a[2] + w1 * b[2] + w2 * c[2]
                if z > nearest[row, column]:
                    nearest[row, column] = z
                    index[row, column] = t
                    weights[row, column, 0] = w0
                    weights[row, column, 1] = w1
                    weights[row, column, 2] = w2
    return index, weights

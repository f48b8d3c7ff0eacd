"""Rasterization on the CPU: nearest triangle and perspective-correct barycentrics of each pixel, with gradients.

All arithmetic is in homogeneous coordinates (Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous
Coordinates", 1997): edge functions are linear in the pixel's clip x and y, so triangles that cross the plane of the eye
need no clipping.
"""

from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fitme.arrays import Float32Array, Int32Array
from fitme.render.cpu.kernel import kernel

Floats = npt.NDArray[Any]
"""float32 or float64."""


@kernel
def pixel_range(low: float, high: float, size: int) -> tuple[int, int]:
    """First and one past the last pixel whose centre lies in the clip-space interval [low, high]."""
    begin = int(np.ceil(min(max((low + 1.0) * 0.5 * size - 0.5, 0.0), float(size))))
    end = int(np.floor(min(max((high + 1.0) * 0.5 * size - 0.5, -1.0), size - 1.0))) + 1
    return begin, end


@kernel
def rasterize_rows(positions: Floats, triangles: Int32Array, rast: Floats, row_begin: int, row_end: int) -> None:
    """Draw one mesh into rows [row_begin, row_end) of an image.

    :param positions: (V, 4) clip space.
    :param triangles: (F, 3).
    :param rast: (H, W, 4), zero in these rows; receives u, v, z/w, index + 1.
    """
    height, width = rast.shape[0], rast.shape[1]
    step_x, step_y = 2.0 / width, 2.0 / height
    for face in range(triangles.shape[0]):
        i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        x0, y0, z0, w0 = (float(positions[i0, 0]), float(positions[i0, 1]), float(positions[i0, 2]),
                          float(positions[i0, 3]))  # fmt: skip
        x1, y1, z1, w1 = (float(positions[i1, 0]), float(positions[i1, 1]), float(positions[i1, 2]),
                          float(positions[i1, 3]))  # fmt: skip
        x2, y2, z2, w2 = (float(positions[i2, 0]), float(positions[i2, 1]), float(positions[i2, 2]),
                          float(positions[i2, 3]))  # fmt: skip
        # Bounding box on the image; a triangle across the plane of the eye may cover all of it.
        if w0 > 0.0 and w1 > 0.0 and w2 > 0.0:
            left, right = x0 / w0, x0 / w0
            top, bottom = y0 / w0, y0 / w0
            left, right = min(left, x1 / w1), max(right, x1 / w1)
            top, bottom = min(top, y1 / w1), max(bottom, y1 / w1)
            left, right = min(left, x2 / w2), max(right, x2 / w2)
            top, bottom = min(top, y2 / w2), max(bottom, y2 / w2)
            column_begin, column_end = pixel_range(left, right, width)
            line_begin, line_end = pixel_range(top, bottom, height)
        elif w0 > 0.0 or w1 > 0.0 or w2 > 0.0:
            column_begin, column_end, line_begin, line_end = 0, width, 0, height
        else:
            continue
        line_begin, line_end = max(line_begin, row_begin), min(line_end, row_end)
        if line_begin >= line_end or column_begin >= column_end:
            continue
        # Edge functions e_i = c_i + X a_i + Y b_i; swapping an edge's ends negates its three numbers exactly.
        a0, b0, c0 = y1 * w2 - w1 * y2, w1 * x2 - x1 * w2, x1 * y2 - y1 * x2
        a1, b1, c1 = y2 * w0 - w2 * y0, w2 * x0 - x2 * w0, x2 * y0 - y2 * x0
        a2, b2, c2 = y0 * w1 - w0 * y1, w0 * x1 - x0 * w1, x0 * y1 - y0 * x1
        orientation = x0 * a0 + y0 * b0 + w0 * c0
        if orientation == 0.0:
            continue
        if orientation < 0.0:
            a0, b0, c0, a1, b1, c1, a2, b2, c2 = -a0, -b0, -c0, -a1, -b1, -c1, -a2, -b2, -c2
        # Scan conversion; a convex triangle is left at the first pixel outside after one inside.
        for row in range(line_begin, line_end):
            y = (row + 0.5) * step_y - 1.0
            f0, f1, f2 = c0 + y * b0, c1 + y * b1, c2 + y * b2
            entered = False
            for column in range(column_begin, column_end):
                x = (column + 0.5) * step_x - 1.0
                e0, e1, e2 = f0 + x * a0, f1 + x * a1, f2 + x * a2
                if e0 < 0.0 or e1 < 0.0 or e2 < 0.0:
                    if entered:
                        break
                    continue
                entered = True
                scaled_w = w0 * e0 + w1 * e1 + w2 * e2
                if scaled_w <= 0.0:
                    continue
                depth = (z0 * e0 + z1 * e1 + z2 * e2) / scaled_w
                if depth < -1.0 or depth > 1.0:
                    continue
                if rast[row, column, 3] != 0.0 and depth >= rast[row, column, 2]:
                    continue
                scale = 1.0 / (e0 + e1 + e2)
                rast[row, column, 0] = e0 * scale
                rast[row, column, 1] = e1 * scale
                rast[row, column, 2] = depth
                rast[row, column, 3] = face + 1


@kernel
def _rasterize_batch(positions: Floats, triangles: Int32Array, rast: Floats) -> None:
    for item in range(rast.shape[0]):
        rasterize_rows(positions[item], triangles, rast[item], 0, rast.shape[1])


@kernel
def _rasterize_backward(
    positions: Floats, triangles: Int32Array, rast: Floats, grad_rast: Floats, grad_positions: Floats
) -> None:
    """Backward pass of `rasterize`: adds the gradient of u and v to `grad_positions` (B, V, 4)."""
    batch, height, width = rast.shape[0], rast.shape[1], rast.shape[2]
    for item in range(batch):
        p = positions[item]
        g = grad_positions[item]
        for row in range(height):
            y = (row + 0.5) * 2.0 / height - 1.0
            for column in range(width):
                face = int(rast[item, row, column, 3]) - 1
                if face < 0:
                    continue
                grad_u, grad_v = float(grad_rast[item, row, column, 0]), float(grad_rast[item, row, column, 1])
                if grad_u == 0.0 and grad_v == 0.0:
                    continue
                # Edge functions at the pixel, as cross products of the corners relative to it.
                x = (column + 0.5) * 2.0 / width - 1.0
                i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
                x0, y0 = p[i0, 0] - x * p[i0, 3], p[i0, 1] - y * p[i0, 3]
                x1, y1 = p[i1, 0] - x * p[i1, 3], p[i1, 1] - y * p[i1, 3]
                x2, y2 = p[i2, 0] - x * p[i2, 3], p[i2, 1] - y * p[i2, 3]
                e0, e1, e2 = x1 * y2 - y1 * x2, x2 * y0 - y2 * x0, x0 * y1 - y0 * x1
                total = e0 + e1 + e2
                if total == 0.0:
                    continue
                # u = e0 / total and v = e1 / total, so the normalisation has a part common to all three.
                shared = (grad_u * e0 + grad_v * e1) / total
                g0, g1, g2 = (grad_u - shared) / total, (grad_v - shared) / total, -shared / total
                # Back through the cross products; w enters by x - X w and y - Y w.
                gx0, gy0 = g2 * y1 - g1 * y2, g1 * x2 - g2 * x1
                gx1, gy1 = g0 * y2 - g2 * y0, g2 * x0 - g0 * x2
                gx2, gy2 = g1 * y0 - g0 * y1, g0 * x1 - g1 * x0
                g[i0, 0] += gx0
                g[i0, 1] += gy0
                g[i0, 3] -= x * gx0 + y * gy0
                g[i1, 0] += gx1
                g[i1, 1] += gy1
                g[i1, 3] -= x * gx1 + y * gy1
                g[i2, 0] += gx2
                g[i2, 1] += gy2
                g[i2, 3] -= x * gx2 + y * gy2


class _Rasterize(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, positions: Tensor, triangles: Tensor, resolution: tuple[int, int]) -> Tensor:  # noqa: ANN401
        positions = positions.contiguous()
        rast = positions.new_zeros(positions.shape[0], *resolution, 4)
        _rasterize_batch(positions.detach().numpy(), triangles.numpy(), rast.numpy())
        ctx.save_for_backward(positions, triangles, rast)
        return rast

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:  # noqa: ANN401
        positions, triangles, rast = ctx.saved_tensors
        grad_positions = torch.zeros_like(positions)
        _rasterize_backward(
            positions.detach().numpy(),
            triangles.numpy(),
            rast.detach().numpy(),
            grads[0].contiguous().numpy(),
            grad_positions.numpy(),
        )
        return grad_positions, None, None


def rasterize(positions: Tensor, triangles: Tensor, resolution: tuple[int, int]) -> Tensor:
    """See `RasterizerBackend.rasterize`."""
    return cast(Tensor, _Rasterize.apply(positions, triangles, resolution))  # type: ignore[no-untyped-call]


def pixel_window(clip: Float32Array, width: int, height: int) -> tuple[Float32Array, tuple[int, int, int, int]] | None:
    """Window of an image that points (N, 4) in clip space span: their places (N, 2) in pixels, and its (left, top,
    right, bottom); None if it is empty, or if a point lies behind the camera."""
    if (clip[:, 3] <= 0.0).any():
        return None
    place = (clip[:, :2] / clip[:, 3:] + 1.0) * (0.5 * width, 0.5 * height)
    (left, top), (right, bottom) = np.floor(place.min(0)).astype(int), np.ceil(place.max(0)).astype(int) + 1
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        return None
    return place, (left, top, right, bottom)

"""Silhouette antialiasing on the CPU, with the gradients that make visibility differentiable.

Two neighbouring pixels that show different triangles are blended if a silhouette edge of the nearer triangle passes
between their centres: the crossing point, a smooth function of the edge's ends, sets the blend (Laine et al. 2020,
section 3.5).
"""

from typing import Any, cast

import torch
from torch import Tensor

from fitme.arrays import Int32Array, UInt8Array
from fitme.render.cpu.kernel import kernel
from fitme.render.cpu.mesh_adjacency import NO_VERTEX, cached_opposite_vertices
from fitme.render.cpu.rasterize import Floats

CROSSING_TOLERANCE_PX = 0.0625
"""Tolerance in pixels for crossings that rounding puts outside the segment between two pixel centres."""
_NO_CROSSING = -1e30


@kernel
def _same_sign(a: float, b: float) -> bool:
    return (a >= 0.0) == (b >= 0.0)


@kernel
def mark_silhouettes(positions: Floats, triangles: Int32Array, opposite: Int32Array, flags: UInt8Array) -> None:
    """Mark silhouette edges: those beyond which the surface folds back or ends.

    :param positions: (V, 4) clip space.
    :param opposite: (F, 3), see `opposite_vertices`.
    :param flags: (F,) receives three bits: bit i stands for the edge opposite to corner i.
    """
    for face in range(triangles.shape[0]):
        i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        w0, w1, w2 = float(positions[i0, 3]), float(positions[i1, 3]), float(positions[i2, 3])
        x0, y0 = positions[i0, 0] / w0, positions[i0, 1] / w0
        x1, y1 = positions[i1, 0] / w1, positions[i1, 1] / w1
        x2, y2 = positions[i2, 0] / w2, positions[i2, 1] / w2
        # Signed area on the screen: its sign is the side of each edge on which the triangle lies.
        own = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        flag = 0
        for corner in range(3):
            far = opposite[face, corner]
            if far == NO_VERTEX:
                flag |= 1 << corner
                continue
            # The neighbour on the same side of their common edge folds back behind the triangle, or in front of it.
            w = float(positions[far, 3])
            x, y = positions[far, 0] / w, positions[far, 1] / w
            if corner == 0:
                wing = (x1 - x) * (y2 - y) - (x2 - x) * (y1 - y)
            elif corner == 1:
                wing = (x2 - x) * (y0 - y) - (x0 - x) * (y2 - y)
            else:
                wing = (x0 - x) * (y1 - y) - (x1 - x) * (y0 - y)
            if _same_sign(wing, own):
                flag |= 1 << corner
        flags[face] = flag


@kernel
def _greater(n0: float, n1: float, d0: float, d1: float) -> bool:
    """Comparison n0 / d0 > n1 / d1 without division."""
    return (n0 * d1 > n1 * d0) == _same_sign(d0, d1)


@kernel
def find_crossing(
    positions: Floats,
    i0: int,
    i1: int,
    i2: int,
    flag: int,
    column: int,
    row: int,
    vertical: bool,
    forward: bool,
    width: int,
    height: int,
) -> tuple[int, float]:
    """Crossing of a triangle's silhouette edge with the segment from a pixel's centre to its neighbour's.

    :param flag: the triangle's silhouette bits.
    :param vertical: the neighbour lies in the next or previous row, not column.
    :param forward: the neighbour has the larger index.
    :returns: the corner opposite to the edge, or -1, and the distance in pixels, in [0, 1] up to the tolerance.
    """
    half_w, half_h = 0.5 * width, 0.5 * height
    fx, fy = column + 0.5 - half_w, row + 0.5 - half_h
    w0, w1, w2 = float(positions[i0, 3]), float(positions[i1, 3]), float(positions[i2, 3])
    x0, y0 = positions[i0, 0] / w0 * half_w - fx, positions[i0, 1] / w0 * half_h - fy
    x1, y1 = positions[i1, 0] / w1 * half_w - fx, positions[i1, 1] / w1 * half_h - fy
    x2, y2 = positions[i2, 0] / w2 * half_w - fx, positions[i2, 1] / w2 * half_h - fy
    if vertical:
        x0, y0, x1, y1, x2, y2 = y0, x0, y1, x1, y2, x2
    # Signed distance of each edge's crossing as a fraction d / dy; edges that do not cross the axis are excluded.
    dx0, dx1, dx2 = x2 - x1, x0 - x2, x1 - x0
    dy0, dy1, dy2 = y2 - y1, y0 - y2, y1 - y0
    side = 1.0 if forward else -1.0
    d0, d1, d2 = side * (x1 * dy0 - y1 * dx0), side * (x2 * dy1 - y2 * dx1), side * (x0 * dy2 - y0 * dx2)
    if _same_sign(y1, y2):
        d0, dy0 = _NO_CROSSING, 1.0
    if _same_sign(y2, y0):
        d1, dy1 = _NO_CROSSING, 1.0
    if _same_sign(y0, y1):
        d2, dy2 = _NO_CROSSING, 1.0
    # The farthest crossing is where the segment leaves the triangle; only a silhouette blends.
    edge = 0
    if _greater(d2, d0, dy2, dy0) and _greater(d2, d1, dy2, dy1):
        edge = 2
    elif _greater(d1, d0, dy1, dy0):
        edge = 1
    if not (flag >> edge) & 1:
        return -1, 0.0
    if edge == 0:
        dx, dy, distance = dx0, dy0, d0 / dy0
    elif edge == 1:
        dx, dy, distance = dx1, dy1, d1 / dy1
    else:
        dx, dy, distance = dx2, dy2, d2 / dy2
    if abs(dy) < abs(dx) or not -CROSSING_TOLERANCE_PX < distance < 1.0 + CROSSING_TOLERANCE_PX:
        return -1, 0.0
    return edge, distance


@kernel
def pair_crossing(
    rast: Floats,
    positions: Floats,
    triangles: Int32Array,
    flags: UInt8Array,
    row: int,
    column: int,
    vertical: bool,
) -> tuple[int, int, bool, float]:
    """Silhouette edge between a pixel and its right or next-row neighbour.

    :param rast: (H, W, 4) of one image.
    :returns: triangle or -1, corner opposite to the edge, whether the triangle is the first pixel's, distance in pixels
        of the crossing from the centre of the triangle's own pixel.
    """
    next_row, next_column = (row + 1, column) if vertical else (row, column + 1)
    first, second = int(rast[row, column, 3]) - 1, int(rast[next_row, next_column, 3]) - 1
    if first == second:
        return -1, 0, True, 0.0
    # The nearer triangle of the pair owns the silhouette; the background is behind everything.
    forward = second < 0 or (first >= 0 and rast[row, column, 2] < rast[next_row, next_column, 2])
    face = first if forward else second
    flag = flags[face]
    if flag == 0:
        return -1, 0, True, 0.0
    edge, distance = find_crossing(
        positions, triangles[face, 0], triangles[face, 1], triangles[face, 2], flag,
        column if forward else next_column, row if forward else next_row, vertical, forward,
        rast.shape[1], rast.shape[0],
    )  # fmt: skip
    if edge < 0:
        return -1, 0, True, 0.0
    return face, edge, forward, distance


@kernel
def antialias_image(
    color: Floats,
    rast: Floats,
    positions: Floats,
    triangles: Int32Array,
    flags: UInt8Array,
    out: Floats,
) -> None:
    """Blend one image (H, W, C) across silhouettes into `out`, which holds a copy of it."""
    height, width, channels = color.shape
    for row in range(height):
        for column in range(width):
            for axis in range(2):
                vertical = axis == 1
                next_row, next_column = (row + 1, column) if vertical else (row, column + 1)
                if next_row >= height or next_column >= width:
                    continue
                if rast[row, column, 3] == rast[next_row, next_column, 3]:
                    continue
                face, _, forward, distance = pair_crossing(rast, positions, triangles, flags, row, column, vertical)
                if face < 0:
                    continue
                # A crossing beyond the midpoint covers part of the other pixel, one before it uncovers part of its own.
                alpha = 0.5 - min(max(distance, 0.0), 1.0)
                if not forward:
                    alpha = -alpha
                target_row, target_column = (row, column) if alpha > 0.0 else (next_row, next_column)
                for c in range(channels):
                    out[target_row, target_column, c] += alpha * (
                        color[next_row, next_column, c] - color[row, column, c]
                    )


@kernel
def _antialias_image_backward(
    color: Floats,
    rast: Floats,
    positions: Floats,
    triangles: Int32Array,
    flags: UInt8Array,
    grad_out: Floats,
    grad_color: Floats,
    grad_positions: Floats,
) -> None:
    """Backward pass of `antialias_image`; adds to `grad_color` (H, W, C) and `grad_positions` (V, 4)."""
    height, width, channels = color.shape
    for row in range(height):
        for column in range(width):
            for axis in range(2):
                vertical = axis == 1
                next_row, next_column = (row + 1, column) if vertical else (row, column + 1)
                if next_row >= height or next_column >= width:
                    continue
                if rast[row, column, 3] == rast[next_row, next_column, 3]:
                    continue
                face, edge, forward, distance = pair_crossing(rast, positions, triangles, flags, row, column, vertical)
                if face < 0:
                    continue
                alpha = 0.5 - min(max(distance, 0.0), 1.0)
                if not forward:
                    alpha = -alpha
                target_row, target_column = (row, column) if alpha > 0.0 else (next_row, next_column)
                # Colours first: the blend is linear in both, and alpha's gradient is their weighted difference.
                grad_alpha = 0.0
                for c in range(channels):
                    g = grad_out[target_row, target_column, c]
                    if g == 0:
                        continue
                    grad_alpha += g * (color[next_row, next_column, c] - color[row, column, c])
                    grad_color[row, column, c] -= alpha * g
                    grad_color[next_row, next_column, c] += alpha * g
                if grad_alpha == 0.0 or distance < 0.0 or distance > 1.0:
                    continue
                # alpha = const - (x1 dy - y1 dx) / dy in pixels about the triangle's own pixel, along the pair's axis.
                half_x, half_y = 0.5 * width, 0.5 * height
                fx = (column if forward else next_column) + 0.5 - half_x
                fy = (row if forward else next_row) + 0.5 - half_y
                along, across = (1, 0) if vertical else (0, 1)
                if vertical:
                    half_x, half_y, fx, fy = half_y, half_x, fy, fx
                i1, i2 = triangles[face, (edge + 1) % 3], triangles[face, (edge + 2) % 3]
                w1, w2 = 1.0 / positions[i1, 3], 1.0 / positions[i2, 3]
                x1, y1 = positions[i1, along] * w1 * half_x - fx, positions[i1, across] * w1 * half_y - fy
                x2, y2 = positions[i2, along] * w2 * half_x - fx, positions[i2, across] * w2 * half_y - fy
                dx, dy = x2 - x1, y2 - y1
                if dy == 0.0:
                    continue
                crossing = x1 - y1 * dx / dy
                scale1, scale2 = -w1 * grad_alpha / dy, w2 * grad_alpha / dy
                along1, along2 = scale1 * half_x * y2, scale2 * half_x * y1
                across1, across2 = scale1 * half_y * (crossing - x2), scale2 * half_y * (crossing - x1)
                grad_positions[i1, along] += along1
                grad_positions[i1, across] += across1
                grad_positions[i1, 3] -= (positions[i1, along] * along1 + positions[i1, across] * across1) * w1
                grad_positions[i2, along] += along2
                grad_positions[i2, across] += across2
                grad_positions[i2, 3] -= (positions[i2, along] * along2 + positions[i2, across] * across2) * w2


class _Antialias(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, color: Tensor, rast: Tensor, positions: Tensor, triangles: Tensor) -> Tensor:  # noqa: ANN401
        color, rast, positions = color.contiguous(), rast.contiguous(), positions.contiguous()
        opposite = cached_opposite_vertices(triangles)
        faces = triangles.numpy()
        flags = torch.empty(color.shape[0], faces.shape[0], dtype=torch.uint8)
        out = color.clone()
        for item in range(color.shape[0]):
            corners = positions[item].detach().numpy()
            mark_silhouettes(corners, faces, opposite, flags[item].numpy())
            antialias_image(
                color[item].detach().numpy(), rast[item].detach().numpy(), corners, faces, flags[item].numpy(),
                out[item].detach().numpy(),
            )  # fmt: skip
        ctx.save_for_backward(color, rast, positions, triangles, flags)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, None]:  # noqa: ANN401
        color, rast, positions, triangles, flags = ctx.saved_tensors
        grad_out = grads[0].contiguous()
        grad_color, grad_positions = grad_out.clone(), torch.zeros_like(positions)
        for item in range(color.shape[0]):
            _antialias_image_backward(
                color[item].detach().numpy(), rast[item].detach().numpy(), positions[item].detach().numpy(),
                triangles.numpy(), flags[item].numpy(), grad_out[item].numpy(), grad_color[item].numpy(),
                grad_positions[item].numpy(),
            )  # fmt: skip
        return grad_color, None, grad_positions, None


def antialias(color: Tensor, rast: Tensor, positions: Tensor, triangles: Tensor) -> Tensor:
    """See `RasterizerBackend.antialias`."""
    return cast(Tensor, _Antialias.apply(color, rast, positions, triangles))  # type: ignore[no-untyped-call]

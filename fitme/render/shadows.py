"""Self-shadowing of a head under directional lights: nose on cheek, brow on eye, chin on neck.

One depth map per light (Williams, "Casting curved shadows on curved surfaces", SIGGRAPH 1978) with percentage-closer
filtering (Reeves et al., SIGGRAPH 1987): depth comparisons, not depths, are averaged over neighbouring texels. The
receiver plane gives the depth at each neighbour, so that a surface at grazing light does not shadow itself (Isidoro,
"Shadow mapping: GPU-based tips and techniques", GDC 2006). Penumbrae are as wide as under a small window.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from fitme.arrays import Float32Array, Float64Array, Int32Array
from fitme.render.cpu.kernel import relaxed_kernel

SHADOW_MAP_PX = 384
"""Side of a light's depth map: texels of about a millimetre."""
NORMAL_OFFSET_M = 0.001
"""Offset of a shaded point along its normal, against shadow acne from the map's depth steps."""
DEPTH_BIAS_M = 0.002
"""Distance by which an occluder must be nearer to the light than a receiver."""
SOFT_TEXELS = 2
"""Radius of the filter in texels: penumbrae are 2 `SOFT_TEXELS` + 1 texels wide."""
STEEPEST = 0.15
"""Lower bound of the cosine between light and normal in the slope of the receiver plane."""
FARTHEST_M = 1e9
"""Depth of empty texels."""

_single = cast(Callable[[float], float], np.float32)
_EDGE = _single(1e-4)
_ZERO, _ONE = _single(0.0), _single(1.0)
_SHARE_OF_ONE = _single(1.0 / (2 * SOFT_TEXELS + 1) ** 2)
_BIAS, _STEEPEST = _single(DEPTH_BIAS_M), _single(-STEEPEST)


@dataclass(frozen=True)
class ShadowMaps:
    """Depth maps of a mesh from each of L directional lights."""

    depth: Float32Array
    """(L, S, S) metres along the light of the nearest surface, `FARTHEST_M` where there is none."""
    frame: Float32Array
    """(L, 3, 4) matrices from a point (x, y, z, 1) in the mesh's space to column, row (texels) and depth (metres)."""


def shadow_maps(
    vertices: npt.NDArray[np.floating[Any]],  # (V, 3)
    triangles: Int32Array,  # (F, 3)
    directions: npt.NDArray[np.floating[Any]],  # (L, 3)
    resolution: int = SHADOW_MAP_PX,
) -> ShadowMaps:
    """Draw the depth maps of a mesh from each light.

    :param vertices: metres.
    :param triangles: counter-clockwise from outside.
    :param directions: unit vectors towards the lights.
    :param resolution: side of a map in texels.
    """
    # The bounding sphere fits into a map from every direction.
    low, high = vertices.min(0), vertices.max(0)
    center = (low + high) / 2.0
    radius = float(np.linalg.norm(vertices - center, axis=1).max())
    depth = np.full((len(directions), resolution, resolution), FARTHEST_M, np.float32)
    frame = np.empty((len(directions), 3, 4), np.float32)
    for index, direction in enumerate(directions):
        axes = _light_axes(direction)  # across, up, away from the light
        # Texels across and up, metres away from the light.
        scale = np.array([resolution / (2.0 * radius), resolution / (2.0 * radius), 1.0])[:, None] * axes
        # Texel centres lie at whole numbers.
        shift = np.array([resolution / 2.0 - 0.5, resolution / 2.0 - 0.5, 0.0]) - scale @ center
        frame[index] = np.concatenate([scale, shift[:, None]], 1)
        projected = vertices @ scale.T + shift
        _draw_depth(np.ascontiguousarray(projected, np.float32), triangles, depth[index])
    return ShadowMaps(depth, frame)


@relaxed_kernel
def _draw_depth(projected: Float32Array, triangles: Int32Array, depth: Float32Array) -> None:
    """Z-buffer a mesh into a depth map.

    :param projected: (V, 3) column, row and depth of the mesh's vertices.
    :param depth: (S, S) map to lower in place; all vertices lie inside.
    """
    for face in range(triangles.shape[0]):
        i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        x0, y0, z0 = projected[i0, 0], projected[i0, 1], projected[i0, 2]
        ax, ay, az = projected[i1, 0] - x0, projected[i1, 1] - y0, projected[i1, 2] - z0
        bx, by, bz = projected[i2, 0] - x0, projected[i2, 1] - y0, projected[i2, 2] - z0
        area = ax * by - ay * bx
        if area <= _ZERO:  # A back face: a closed mesh has a front face nearer to the light.
            continue
        # Barycentric coordinates of the second and third corner, and depth, are linear in column and row.
        ux, uy = by / area, -bx / area
        vx, vy = -ay / area, ax / area
        zx, zy = ux * az + vx * bz, uy * az + vy * bz
        first_column = max(int(np.ceil(x0 + min(_ZERO, ax, bx))), 0)
        last_column = min(int(np.floor(x0 + max(_ZERO, ax, bx))), depth.shape[1] - 1)
        first_row = max(int(np.ceil(y0 + min(_ZERO, ay, by))), 0)
        last_row = min(int(np.floor(y0 + max(_ZERO, ay, by))), depth.shape[0] - 1)
        for row in range(first_row, last_row + 1):
            down = _single(row) - y0
            for column in range(first_column, last_column + 1):
                right = _single(column) - x0
                u, v = ux * right + uy * down, vx * right + vy * down
                if u < -_EDGE or v < -_EDGE or u + v > _ONE + _EDGE:
                    continue
                depth[row, column] = min(depth[row, column], z0 + zx * right + zy * down)


@relaxed_kernel
def lit_share(
    depth: Float32Array, frame: Float32Array, x: float, y: float, z: float, nx: float, ny: float, nz: float
) -> float:
    """Share in [0, 1] of one light that reaches a point: 1 outside its map. Percentage-closer filtering.

    :param depth: (S, S) map of the light; frame: (3, 4) its matrix, see `ShadowMaps`.
    :param x, y, z: the point, metres, offset from the surface by `NORMAL_OFFSET_M`.
    :param nx, ny, nz: unit normal of the surface.
    """
    last = depth.shape[0] - 1
    column = frame[0, 0] * x + frame[0, 1] * y + frame[0, 2] * z + frame[0, 3]
    row = frame[1, 0] * x + frame[1, 1] * y + frame[1, 2] * z + frame[1, 3]
    near = frame[2, 0] * x + frame[2, 1] * y + frame[2, 2] * z + frame[2, 3] - _BIAS
    if not (SOFT_TEXELS <= column < last - SOFT_TEXELS and SOFT_TEXELS <= row < last - SOFT_TEXELS):
        return _ONE
    c, r = int(column), int(row)
    right, below = column - _single(c), row - _single(r)
    # Receiver plane: change of depth, in metres, from one texel to the next.
    area = frame[0, 0] * frame[0, 0] + frame[0, 1] * frame[0, 1] + frame[0, 2] * frame[0, 2]
    away = min(frame[2, 0] * nx + frame[2, 1] * ny + frame[2, 2] * nz, _STEEPEST) * area
    across = -(frame[0, 0] * nx + frame[0, 1] * ny + frame[0, 2] * nz) / away
    down = -(frame[1, 0] * nx + frame[1, 1] * ny + frame[1, 2] * nz) / away
    near -= right * across + below * down  # at the texel (r, c)

    # Five probes decide most points: fully lit and fully shadowed ones skip the whole filter.
    corners = 0
    for j in (-SOFT_TEXELS, SOFT_TEXELS + 1):
        for i in (-SOFT_TEXELS, SOFT_TEXELS + 1):
            corners += depth[r + j, c + i] >= near + _single(i) * across + _single(j) * down
    corners += depth[r, c] >= near
    if corners == 0:
        return _ZERO
    if corners == 5:
        return _ONE
    # Box filter whose outermost rows and columns count by their overlap with the point's own texel.
    share = _ZERO
    for j in range(-SOFT_TEXELS, SOFT_TEXELS + 2):
        height = _ONE - below if j == -SOFT_TEXELS else (below if j == SOFT_TEXELS + 1 else _ONE)
        for i in range(-SOFT_TEXELS, SOFT_TEXELS + 2):
            width = _ONE - right if i == -SOFT_TEXELS else (right if i == SOFT_TEXELS + 1 else _ONE)
            if depth[r + j, c + i] >= near + _single(i) * across + _single(j) * down:
                share += width * height
    return share * _SHARE_OF_ONE


@relaxed_kernel
def _lit_shares(
    depth: Float32Array, frame: Float32Array, points: Float32Array, normals: Float32Array, shares: Float32Array
) -> None:
    for light in range(depth.shape[0]):
        for index in range(points.shape[0]):
            shares[index, light] = lit_share(
                depth[light], frame[light], points[index, 0], points[index, 1], points[index, 2],
                normals[index, 0], normals[index, 1], normals[index, 2],
            )  # fmt: skip


def lit_shares(
    vertices: Tensor,  # (V, 3) view space
    triangles: Tensor,  # (F, 3)
    directions: Tensor,  # (L, 3)
    positions: Tensor,  # (..., 3)
    normals: Tensor,  # (..., 3)
    resolution: int = SHADOW_MAP_PX,
) -> Tensor:  # (..., L)
    """Share in [0, 1] of each directional light that reaches points on a mesh. Carries no gradient.

    :param vertices: metres.
    :param triangles: counter-clockwise from outside.
    :param directions: unit vectors towards the lights.
    :param positions: points on the surface, in the space of the vertices.
    :param normals: unit normals there.
    :param resolution: side of a depth map in texels.
    """
    faces = triangles.int().contiguous().cpu().numpy()
    maps = shadow_maps(vertices.detach().cpu().numpy(), faces, directions.detach().cpu().numpy(), resolution)
    off = (positions + NORMAL_OFFSET_M * normals).detach().reshape(-1, 3).float().contiguous().cpu().numpy()
    shares = np.empty((len(off), len(maps.depth)), np.float32)
    facing = normals.detach().reshape(-1, 3).float().contiguous().cpu().numpy()
    _lit_shares(maps.depth, maps.frame, off, facing, shares)
    return torch.from_numpy(shares).to(positions).reshape(*positions.shape[:-1], -1)


def _light_axes(direction: npt.NDArray[np.floating[Any]]) -> Float64Array:
    """Orthonormal rows (3, 3): across, up and away from a light, given the direction (3,) towards it."""
    toward = np.asarray(direction, np.float64)
    toward = toward / np.linalg.norm(toward)
    helper = np.array([1.0, 0.0, 0.0]) if abs(toward[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    across = np.cross(helper, toward)
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(toward, across), -toward])

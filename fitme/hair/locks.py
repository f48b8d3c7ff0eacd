"""Locks of hair over the envelope's texels: pointed leaves that overlap like shingles, each rooted where it begins.

Hair that no image shows is drawn by them: its light and dark, its ends, and the roughness of its surface. They are the
same for everybody; how strong each width of lock is, is the person's (`fitme.hair.texture`).
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, Int64Array
from fitme.hair.envelope import BOTTOM_M, CENTER_M, CYLINDER_ROWS, DOME_ROWS, SKULL_RADIUS_M, capsule_rays
from fitme.hair.flow import flow
from fitme.hair.texels import TEXTURE_COLUMNS, TEXTURE_ROWS, at_texels, blurred
from fitme.render.cpu.kernel import kernel

LAYERS = 2.5
"""Leaves that lie over each other at a point, on average."""
ROOT_SHARE = 0.2
"""Share of a leaf's length over which it widens from its root."""
TIP_POWER = 0.7
"""Power by which it narrows to its tip: below 1 it stays wide for long."""
LIFT = 0.6
"""Share of its height by which a leaf rises from its root to its tip."""
TONE_SHARE = 0.35
"""Amplitude of the leaves' own tones over that of their relief."""
MARGIN_TEXELS, POLAR_ROWS = 2, 8
"""Texels added around what a leaf may reach, and rows from the pole within which it may reach all columns."""
SHADOW_SHARE = 1.2
"""Standard deviation over the leaves' width of the filter against which relief is light or dark."""


@dataclass(frozen=True)
class LockShape:
    """Sizes of one kind of lock."""

    length_m: float
    width_m: float
    spread_rad: float
    """Standard deviation of the directions about the hair's flow."""
    bend: float
    """Standard deviation of the sideways displacement of a tip over the length."""
    wave: float = 0.0
    """Amplitude of a wave along a lock, over its width."""
    wave_m: float = 0.01
    """Length of that wave."""


@dataclass(frozen=True)
class Locks:
    """One kind of lock over the texels."""

    relief: Float32Array
    """(T, U) zero-mean, standard deviation 1: light where a lock stands out, dark between locks."""
    root: Float32Array
    """(T, U, 2) column and row, in texels, of the root of the lock that lies uppermost."""
    chance: Float32Array
    """(T, U) in [0, 1]: a random number of that lock."""


@lru_cache(maxsize=8)
def locks(shape: LockShape, hanging: float = 0.0) -> Locks:
    """Locks of a shape all over the head; some 0.1 s.

    :param hanging: as `fitme.hair.flow.flow`.
    """
    random = np.random.default_rng(int(shape.length_m * 1e5) + int(shape.width_m * 1e6))
    points, normals = (at_texels(cells).astype(np.float64) for cells in _capsule())
    area = _texel_areas(points)
    count = int(LAYERS * area.sum() / (0.6 * shape.length_m * shape.width_m))
    # Roots lie evenly on the head, and are laid from below up: what is rooted higher lies over it.
    chosen = np.searchsorted(np.cumsum(area), random.random(count) * area.sum())
    chosen = np.sort(chosen)[::-1]
    rows, columns = np.divmod(np.minimum(chosen, area.size - 1), TEXTURE_COLUMNS)
    order = np.argsort(points[rows, columns, 1] + random.normal(0.0, 0.5 * shape.length_m, count), kind="stable")
    rows, columns = rows[order], columns[order]
    normal = normals[rows, columns]
    along, turn = flow(normal, hanging), random.normal(0.0, shape.spread_rad, count)[:, None]
    along = np.cos(turn) * along + np.sin(turn) * np.cross(normal, along)
    sizes = np.exp(random.normal(0.0, 0.25, (count, 2))) * np.array([shape.length_m, shape.width_m])
    bends = np.stack([random.normal(0.0, shape.bend, count), random.uniform(0.0, 2.0 * np.pi, count)], -1)
    aside = np.cross(normal, along)
    boxes = _boxes(points[rows, columns], rows, columns, along, aside, sizes, bends, shape)
    height, owner = _laid(
        points.astype(np.float32), rows, columns, boxes, along, aside, sizes, bends, shape.wave * shape.width_m,
        2.0 * np.pi / shape.wave_m,
    )  # fmt: skip
    tone, chance = random.standard_normal(count), random.random(count)
    bare = owner < 0
    owner = np.maximum(owner, 0)
    step = float(np.sqrt(np.median(area)))
    above = height - blurred(height, min(SHADOW_SHARE * shape.width_m / step, 5.0))
    relief = above / above.std() + TONE_SHARE * tone[owner] * ~bare
    row, column = np.indices(height.shape)
    root = np.stack([np.where(bare, column, columns[owner]), np.where(bare, row, rows[owner])], -1)
    relief = (relief - relief.mean()) / relief.std()
    return Locks(relief.astype(np.float32), root.astype(np.float32), chance[owner].astype(np.float32))


def at_roots(values: Float32Array, lay: Locks) -> Float32Array:
    """(T, U) values (T, U) where the uppermost locks are rooted."""
    return np.asarray(cv2.remap(values, lay.root[..., 0], lay.root[..., 1], cv2.INTER_NEAREST), np.float32)


def _capsule() -> tuple[Float64Array, Float64Array]:
    """Points and outward normals (R, C, 3) of a head of mean size."""
    origins, directions = capsule_rays()
    return origins + SKULL_RADIUS_M * directions, directions


def _texel_areas(points: Float64Array) -> Float64Array:
    """(T, U) square metres of the texels at points (T, U, 3)."""
    across = np.linalg.norm(np.roll(points, -1, 1) - points, axis=-1)
    down = np.linalg.norm(np.gradient(points, axis=0), axis=-1)
    return np.asarray(across * down)


def _boxes(
    roots: Float64Array,
    rows: Int64Array,
    columns: Int64Array,
    along: Float64Array,
    aside: Float64Array,
    sizes: Float64Array,
    bends: Float64Array,
    shape: LockShape,
) -> Int64Array:
    """(N, 4) first and last row, first and last column, of texels that leaves may reach; columns may lie beyond the
    seam.

    :param roots: (N, 3) with their texels' rows and columns (N,).
    :param along, aside: (N, 3); sizes, bends: (N, 2); as `_laid`.
    """
    # Corners of each leaf and the middle of its axis, on the head's surface.
    length, half = sizes[:, :1], 0.5 * sizes[:, 1:] + 2.0 * shape.wave * shape.width_m
    place = [(0.0, 0.0), (0.5, -0.8), (0.5, 0.8), (1.0, -0.1), (1.0, 0.1)]
    corners = np.stack(
        [
            roots + down * length * along + (bends[:, :1] * length * down**2 + side * half) * aside
            for down, side in place
        ]
    )  # (5, N, 3)
    outward = corners - np.array(CENTER_M)
    radius = np.hypot(outward[..., 0], outward[..., 2])
    elevation = np.arctan2(outward[..., 1], radius)
    below = (CENTER_M[1] - corners[..., 1]) / (CENTER_M[1] - BOTTOM_M)
    cells = np.where(
        outward[..., 1] > 0.0,
        (1.0 - elevation / (0.5 * np.pi)) * (DOME_ROWS - 1),
        DOME_ROWS - 1 + below * CYLINDER_ROWS,
    )
    row = cells / (CYLINDER_ROWS + DOME_ROWS - 1) * TEXTURE_ROWS
    turns = np.arctan2(outward[..., 0], outward[..., 2]) / (2.0 * np.pi) + 0.5
    column = columns + (turns * TEXTURE_COLUMNS - columns + TEXTURE_COLUMNS / 2) % TEXTURE_COLUMNS - TEXTURE_COLUMNS / 2
    first, last = np.minimum(row.min(0), rows) - MARGIN_TEXELS, np.maximum(row.max(0), rows) + MARGIN_TEXELS
    left, right = np.minimum(column.min(0), columns) - MARGIN_TEXELS, np.maximum(column.max(0), columns) + MARGIN_TEXELS
    # At the pole all columns meet.
    polar = (first < POLAR_ROWS) | (right - left > TEXTURE_COLUMNS / 2)
    left, right = np.where(polar, 0, left), np.where(polar, TEXTURE_COLUMNS - 1, right)
    box = np.stack([np.maximum(first, 0), np.minimum(last, TEXTURE_ROWS - 1), left, right], -1)
    return np.asarray(box.round(), np.int64)


@kernel
def _laid(
    points: Float32Array,
    rows: Int64Array,
    columns: Int64Array,
    boxes: Int64Array,
    along: Float64Array,
    aside: Float64Array,
    sizes: Float64Array,
    bends: Float64Array,
    wave_m: float,
    wave_number: float,
) -> tuple[Float32Array, Int64Array]:
    """Height (T, U) and number (T, U), -1 for none, of the uppermost of N leaves, laid one after another.

    :param points: (T, U, 3) of the texels; rows, columns: (N,) of the roots; boxes: (N, 4) by `_boxes`.
    :param along, aside: (N, 3) unit; sizes: (N, 2) length and width; bends: (N, 2) bend, and phase of the wave.
    """
    height = np.zeros(points.shape[:2], np.float32)
    owner = np.full(points.shape[:2], -1)
    total_columns = points.shape[1]
    for leaf in range(rows.shape[0]):
        length, half = sizes[leaf, 0], 0.5 * sizes[leaf, 1]
        ax, ay, az = along[leaf, 0] / length, along[leaf, 1] / length, along[leaf, 2] / length
        sx, sy, sz = aside[leaf, 0], aside[leaf, 1], aside[leaf, 2]
        root = points[rows[leaf], columns[leaf]]
        x, y, z = root[0], root[1], root[2]
        start = np.sin(bends[leaf, 1])
        for row in range(boxes[leaf, 0], boxes[leaf, 1] + 1):
            for unwrapped in range(boxes[leaf, 2], boxes[leaf, 3] + 1):
                column = unwrapped % total_columns
                dx, dy, dz = points[row, column, 0] - x, points[row, column, 1] - y, points[row, column, 2] - z
                down = dx * ax + dy * ay + dz * az
                if down < 0.0 or down >= 1.0:
                    continue
                across = dx * sx + dy * sy + dz * sz - bends[leaf, 0] * length * down * down
                # Most texels of a box lie beside the leaf: what costs is left to the others.
                if abs(across) >= half + 2.0 * wave_m:
                    continue
                if wave_m > 0.0:
                    across -= wave_m * (np.sin(wave_number * down * length + bends[leaf, 1]) - start)
                if abs(across) >= half:
                    continue
                wide = half * min(down / ROOT_SHARE, 1.0) * (1.0 - down * down) ** TIP_POWER
                if abs(across) >= wide:
                    continue
                round_top = 1.0 - (across / wide) * (across / wide)
                height[row, column] = ((1.0 - LIFT) + LIFT * down) * (0.35 + 0.65 * np.sqrt(round_top))
                owner[row, column] = leaf
    return height, owner

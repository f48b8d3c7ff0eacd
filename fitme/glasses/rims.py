"""Rims of glasses in resampled images: closed curves round the eyes that differ from the skin on both their sides.

Brows, lids and folds differ from the skin along a part of such a curve; nothing but a rim does so all round both eyes.
Each rim is a path of radii over the angle round its middle, found by dynamic programming.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, Int64Array
from fitme.glasses.settings import GlassesSettings
from fitme.glasses.sheet import STEP_M, at_places
from fitme.render.cpu.kernel import kernel

MIDDLES = np.array([[0.032, -0.005], [-0.032, -0.005]])
"""Middles (2, 2) from which rims are searched, on the sheet: the left one's first."""
DIRECTIONS = 120
"""Angles round a middle; the first is +x, the others follow towards +y."""
RADII = np.arange(0.010, 0.038, STEP_M)
ASIDE = (3, 5, 8)
"""Steps of radius to either side at which the skin beside a rim is looked for: half-widths of 1 to 3.5 mm."""
OFFSET = 0.01
"""Linear colour added before logarithms."""
LARGEST_CONTRAST = 0.25
"""Contrast that counts at most: a brow is not to outweigh a rim."""
LARGEST_STEP, STEP_PENALTY = 3, 0.02
"""Change of the radius from one angle to the next, in steps, and what each costs."""
LEAST_QUANTILE = 0.15
"""Share of a rim that may be hidden by hair or mirror the room."""
MEDIAN_ANGLES, SMOOTH_ANGLES = 21, 1.0
"""Window of the median of widths, and standard deviation of the filter of radii, in angles."""
BLUR_M, LEAST_HALF_WIDTH_M = 0.0002, 0.0004
"""Half-width that resampling adds, and the lower bound."""


@dataclass(frozen=True)
class Rims:
    """Rims of both eyes, on the sheet."""

    middle: Float64Array
    """(2, DIRECTIONS, 2) middle lines, x and y in metres."""
    half_width_m: Float64Array
    """(2, DIRECTIONS)."""
    radius_m: Float64Array
    """(2, DIRECTIONS) of the middle lines round `MIDDLES`."""
    kind: int
    """Row of `contrasts` in which they were found."""


def directions() -> Float64Array:
    """(DIRECTIONS, 2) unit vectors round a middle."""
    angle = 2.0 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    return np.stack([np.cos(angle), np.sin(angle)], 1)


def find_rims(images: Sequence[Float32Array], settings: GlassesSettings) -> Rims | None:
    """Rims in resampled images (ROWS, COLUMNS, 3) of one head, linear; None if there are no glasses.

    What lies in front of the skin stays at its place in all images of nearly frontal heads, so their median is taken.
    """
    around = [_polar(image) for image in images]  # (2, R, D, 3) each
    shown = [np.moveaxis(levels_of(image), 0, 1) for image in around]  # (2, K, R, D) each
    levels = np.median(shown, 0)
    contrasts = np.median([contrasts_of(one) for one in shown], 0).astype(np.float32)
    # Evidence of a kind is its weakest stretch over both eyes, in units of what it must reach.
    paths = np.array([[_closed_path(contrasts[eye, kind]) for kind in range(contrasts.shape[1])] for eye in (0, 1)])
    along = np.take_along_axis(contrasts, paths[:, :, None], 2)[:, :, 0]  # (2, K, D)
    evidence = np.quantile(along, LEAST_QUANTILE, axis=2).min(0) / np.array(settings.least_contrast)
    kind = int(evidence.argmax())
    if evidence[kind] < 1.0:
        return None
    return _widened(levels[:, kind], paths[:, kind], kind)


def contrasts_of(levels: Float32Array) -> Float32Array:
    """(2, K, R, D) excess of levels over the higher one of both sides, the largest of some widths."""
    best = np.full(levels.shape, -np.inf, np.float32)
    for step in ASIDE:
        padded = np.pad(levels, ((0, 0), (0, 0), (step, step), (0, 0)), mode="edge")
        best = np.maximum(best, levels - np.maximum(padded[:, :, : -2 * step], padded[:, :, 2 * step :]))
    return best


def levels_of(colors: Float32Array) -> Float32Array:
    """(4, ...) how dark, bright, yellow and red linear colours (..., 3) are, natural logarithms."""
    logs = np.log(colors + OFFSET)
    brightness = logs.mean(-1)
    levels = [-brightness, brightness, logs[..., 1] - logs[..., 2], logs[..., 0] - logs[..., 1]]
    return np.asarray(np.stack(levels), np.float32)


def _polar(image: Float32Array) -> Float32Array:
    """(2, R, D, 3) an image round both middles."""
    places = MIDDLES[:, None, None] + RADII[:, None, None] * directions()
    sampled = at_places(image, places)
    return np.asarray(np.stack([cv2.GaussianBlur(eye, (3, 3), 0) for eye in sampled]), np.float32)


def _closed_path(contrast: Float32Array) -> Int64Array:
    """(D,) step of the radius at each angle: the path round the eye of the greatest sum of contrasts (R, D)."""
    # Three turns: the middle one does not depend on where the path begins and ends.
    turns = np.tile(np.minimum(contrast, np.float32(LARGEST_CONTRAST)), (1, 3))
    return np.asarray(_best_path(np.ascontiguousarray(turns.T), LARGEST_STEP, STEP_PENALTY))[
        DIRECTIONS : 2 * DIRECTIONS
    ]


def open_path(contrast: Float32Array) -> Int64Array:
    """(N,) row at each column: the path of the greatest sum of contrasts (R, N)."""
    capped = np.minimum(contrast, np.float32(LARGEST_CONTRAST))
    return np.asarray(_best_path(np.ascontiguousarray(capped.T), 1, STEP_PENALTY))


@kernel
def _best_path(gains: Float32Array, largest_step: int, penalty: float) -> Int64Array:
    """(N,) places of the path of greatest gain through (N, R), whose steps cost `penalty` each."""
    count, places = gains.shape
    total = np.zeros((count, places))
    origin = np.zeros((count, places), np.int64)
    total[0] = gains[0]
    for index in range(1, count):
        for place in range(places):
            best, chosen = -1e9, place
            for before in range(max(0, place - largest_step), min(places, place + largest_step + 1)):
                value = total[index - 1, before] - penalty * abs(place - before)
                if value > best:
                    best, chosen = value, before
            total[index, place] = best + gains[index, place]
            origin[index, place] = chosen
    path = np.zeros(count, np.int64)
    path[count - 1] = np.argmax(total[count - 1])
    for index in range(count - 1, 0, -1):
        path[index - 1] = origin[index, path[index]]
    return path


def _widened(levels: Float32Array, paths: Int64Array, kind: int) -> Rims:
    """Rims along paths (2, D) of levels (2, R, D), with their widths and moved to their middles."""
    radius, width = np.zeros(paths.shape), np.zeros(paths.shape)
    for eye in (0, 1):
        for angle, place in enumerate(paths[eye]):
            low, high = extent(levels[eye, :, angle], int(place))
            radius[eye, angle] = RADII[0] + STEP_M * 0.5 * (low + high)
            width[eye, angle] = 0.5 * STEP_M * (high - low + 1)
    radius = np.stack([_smooth(line) for line in radius])
    # A stretch over a brow or hair looks wider than it is: the median over neighbouring angles.
    wide = np.pad(width, ((0, 0), (MEDIAN_ANGLES // 2,) * 2), mode="wrap")
    width = np.median(np.lib.stride_tricks.sliding_window_view(wide, MEDIAN_ANGLES, axis=1), axis=-1)
    slope = (np.roll(radius, -1, 1) - np.roll(radius, 1, 1)) / (4.0 * np.pi / DIRECTIONS * radius)
    width = width / np.sqrt(1.0 + slope**2)
    width = np.maximum(np.stack([_smooth(line) for line in width]) - BLUR_M, LEAST_HALF_WIDTH_M)
    return Rims(MIDDLES[:, None] + radius[..., None] * directions(), width, radius, kind)


def extent(profile: Float32Array, place: int) -> tuple[int, int]:
    """First and last step of a profile (R,) round a place that is nearer to the level there than to those beside it."""
    last = len(profile) - 1
    beside = max(profile[max(place - ASIDE[-1], 0)], profile[min(place + ASIDE[-1], last)])
    inside = profile > 0.5 * (profile[place] + beside)
    low, high = place, place
    while low > 0 and inside[low - 1] and place - low < ASIDE[-1]:
        low -= 1
    while high < last and inside[high + 1] and high - place < ASIDE[-1]:
        high += 1
    return low, high


def _smooth(line: Float64Array) -> Float64Array:
    """(D,) values round an eye, low-passed."""
    tiled = cv2.GaussianBlur(np.tile(line, 3)[None], (0, 0), SMOOTH_ANGLES, borderType=cv2.BORDER_REPLICATE)[0]
    return np.asarray(tiled[len(line) : 2 * len(line)])

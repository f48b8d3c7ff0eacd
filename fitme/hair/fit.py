"""Fit of one person's hair to the frames of a fitted head."""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from fitme.arrays import Float32Array, Float64Array
from fitme.frame_pool import ONE_BY_ONE, FramePool
from fitme.hair.coverage import CellCoverage, expected_coverage
from fitme.hair.crown import rounded_crown
from fitme.hair.ears import bare_ears, ear_heights, over_ears
from fitme.hair.envelope import EnvelopeGrid, envelope_grid
from fitme.hair.frame import HairFrame, HairWindow, hair_view, hair_window
from fitme.hair.hair import Hair
from fitme.hair.outline import fit_thickness
from fitme.hair.settings import HairSettings
from fitme.hair.texels import sampled
from fitme.hair.texture import BROAD_POWER, cell_cosines, fuse_texture
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

HAIRLINE_COVERAGE = 0.5
"""Coverage from which a cell of the envelope has hair."""
HAIRLINE_M, HAIRLINE_SLOPE_M = 0.002, 0.008
"""Largest thickness at the hairline, and its rise from one cell to the next, which is some 6 mm away."""
BACK_COSINE, NAPE_SLOPE_M = -0.2, 0.005
"""Cosine to the front below which a cell is at the back, and the rise there: napes are cut to lie close."""
FRONT_COSINE = 0.2
"""Cosine to the front from which hair that hangs down rises from a hairline all the same."""
NAPE_BOTTOM_M = -0.13
"""Height of the lowest nape in the model frame."""
NAPE_HEIGHTS_M, NAPE_OVER_SIDES, NAPE_M = (-0.07, -0.02, 0.05, 0.1), (0.0, 0.5, 1.1, 3.0), 0.003
"""Heights of the skull in the model frame between which hair that does not hang down grows from the nape, and its
largest thickness there, over that at the sides, above what it has at the nape."""
SIDE_HEIGHTS_M = (0.03, 0.08)
"""Heights between which the thickness at the sides counts: above the ears."""
NAPE_SOFTNESS_CELLS = 2.0
"""Standard deviation of the filter of the thickness above napes."""
HANGING_HEIGHTS_M, SIDEWAYS, HANGING_COVERAGE = (-0.13, -0.07), 0.7, 0.25
"""Heights beside the neck where hair hangs down if it does, share of the direction that is sideways there, and the mean
coverage from which it does."""
LONG_COVERAGE = 0.03
"""Mean coverage on one side of the neck from which hair is long, though it may be tied back: a tail shows 0.08, cropped
hair at most 0.01."""
HAIRLINE_SOFTNESS_CELLS = 0.7
"""Standard deviation of the filter of the thickness."""


def fit_hair(
    model: MorphableModel,
    neutral: Float32Array,
    frames: Sequence[HairFrame],
    backend: RasterizerBackend,
    settings: HairSettings,
    before: Hair | None = None,
    pool: FramePool = ONE_BY_ONE,
) -> Hair:
    """Hair of the person whose neutral head (V, 3) and frames are given; from `before` on, if an earlier fit is known.

    The outline is fitted first, since colours need a surface to lie on.

    :param pool: of frames that are looked at.
    """
    grid = envelope_grid(model, neutral)
    windows = pool.map(lambda frame: hair_window(frame, model, backend, settings.outline), frames)
    start = None if before is None else before.thickness_m.astype(np.float64)
    outlines = [window.outline for window in windows]
    thickness = rounded_crown(fit_thickness(grid, outlines, settings.outline, start))
    cells = _cell_coverage(grid, thickness, windows)
    ears = ear_heights(grid, model, neutral)
    known, expected = cells.known(grid), expected_coverage(grid, cells) * (1.0 - bare_ears(grid, ears, cells))
    coverage = known * cells.shown + (1.0 - known) * expected
    thickness = tapered(grid, thickness, coverage)
    thickness = over_ears(thickness, ears, known * cells.shown)
    surface = grid.surface(thickness)
    views = pool.map(lambda window: hair_view(window, surface, model, backend), windows)
    texture = fuse_texture(grid, thickness, views, expected, is_long(grid, coverage))
    return Hair(thickness.astype(np.float32), texture)


def _cell_coverage(grid: EnvelopeGrid, thickness_m: Float64Array, windows: Sequence[HairWindow]) -> CellCoverage:
    """What the windows show of an envelope of thickness (R, C)."""
    surface = grid.surface(thickness_m)
    normals = grid.normals(surface)
    scalp = grid.region == int(Region.SCALP)
    shown, strands, total, best = (np.zeros(thickness_m.shape) for _ in range(4))
    for window in windows:
        cosine, pixels = cell_cosines(window.outline, surface, normals)
        probability = sampled(window.hair.probability, pixels)
        # What shows the background is beside the head, wherever the envelope lies: the scalp is no thinner for it.
        opaque = np.where(scalp, np.maximum(sampled(window.hair.opaque, pixels), probability), 1.0)
        weight = cosine**BROAD_POWER
        shown += weight * probability
        strands += weight * probability * sampled(window.hair.alike, pixels)
        total += weight * opaque
        best = np.maximum(best, weight * opaque)
    total = np.maximum(total, 1e-8)
    return CellCoverage(shown / total, strands / total, best)


def tapered(grid: EnvelopeGrid, thickness_m: Float64Array, coverage: Float64Array) -> Float64Array:
    """Thickness (R, C) that rises from the skin at the hairline, where a coverage (R, C) ends: otherwise hair would be
    a sheet before the face and off the nape."""
    columns = thickness_m.shape[1]
    back, scalp = grid.directions[..., 2] < BACK_COSINE, grid.region == int(Region.SCALP)
    hanging = hangs_down(grid, coverage)
    # Hair that hangs down has no line at the back where it would lie on skin.
    wide = np.concatenate([(coverage > HAIRLINE_COVERAGE) | (back & hanging)] * 3, 1)
    distance = distance_transform_edt(wide)[:, columns : 2 * columns]
    slope = np.where(back, NAPE_SLOPE_M, HAIRLINE_SLOPE_M)
    largest = HAIRLINE_M + slope * np.maximum(distance - 1.0, 0.0)
    if hanging:
        # What hangs lower than the scalp stands off the neck, and right behind ears.
        ends = scalp & (grid.directions[..., 2] > FRONT_COSINE)
        limited = np.where(ends, np.minimum(thickness_m, largest), thickness_m)
    else:
        # At the nape hair ends on skin.
        ends = scalp | (grid.origins[..., 1] > NAPE_BOTTOM_M) & back
        limited = np.where(ends, np.minimum(thickness_m, largest), thickness_m)
        height = grid.surface(np.zeros(columns))[..., 1]
        beside = (
            (np.abs(grid.directions[..., 0]) > SIDEWAYS) & (height > SIDE_HEIGHTS_M[0]) & (height < SIDE_HEIGHTS_M[1])
        )
        # Cropped hair is about as long at the back as beside it, where an outline shows it.
        nape = np.median(thickness_m[beside]) * np.interp(height, NAPE_HEIGHTS_M, NAPE_OVER_SIDES) + NAPE_M
        close = gaussian_filter(np.minimum(limited, nape), NAPE_SOFTNESS_CELLS, mode=("nearest", "wrap"))
        limited = np.where(back, np.minimum(close, limited), limited)
    # Cells are wide: without a filter the hairline would be as ragged as they are.
    return np.asarray(gaussian_filter(limited, HAIRLINE_SOFTNESS_CELLS, mode=("nearest", "wrap")))


def hangs_down(grid: EnvelopeGrid, coverage: Float64Array) -> bool:
    """Whether a coverage (R, C) has hair beside the neck: it is neither short nor tied up."""
    return float(np.mean(_coverage_beside_neck(grid, coverage))) > HANGING_COVERAGE


def is_long(grid: EnvelopeGrid, coverage: Float64Array) -> bool:
    """Whether a coverage (R, C) has some hair beside the neck, on one side at least: it hangs down, or is tied back."""
    return max(_coverage_beside_neck(grid, coverage)) > LONG_COVERAGE


def _coverage_beside_neck(grid: EnvelopeGrid, coverage: Float64Array) -> tuple[float, float]:
    """Mean of a coverage (R, C) on the left and on the right of the neck."""
    height, sideways, low_high = grid.origins[..., 1], grid.directions[..., 0], HANGING_HEIGHTS_M
    beside = (height > low_high[0]) & (height < low_high[1])
    return float(coverage[beside & (sideways > SIDEWAYS)].mean()), float(
        coverage[beside & (sideways < -SIDEWAYS)].mean()
    )

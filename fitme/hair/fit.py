"""Fit of one person's hair to the frames of a fitted head."""

from collections.abc import Sequence

import cv2
import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter

from fitme.arrays import Float32Array, Float64Array
from fitme.hair.envelope import EnvelopeGrid, envelope_grid
from fitme.hair.frame import HairFrame, hair_view, hair_window
from fitme.hair.hair import Hair
from fitme.hair.outline import fit_thickness
from fitme.hair.settings import HairSettings
from fitme.hair.texture import HairTexture, fuse_texture
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

SCALP_SOFTNESS_CELLS = 1.5
"""Standard deviation of the filter over the prior's edge at the hairline."""
HAIRLINE_COVERAGE = 0.5
"""Coverage from which a cell of the envelope has hair."""
HAIRLINE_M, HAIRLINE_SLOPE_M = 0.006, 0.020
"""Largest thickness at the hairline, and its rise from one cell to the next, which is some 6 mm away."""
HAIRLINE_SOFTNESS_CELLS = 0.7
"""Standard deviation of the filter of the thickness."""


def fit_hair(
    model: MorphableModel,
    neutral: Float32Array,
    frames: Sequence[HairFrame],
    backend: RasterizerBackend,
    settings: HairSettings,
    before: Hair | None = None,
) -> Hair:
    """Hair of the person whose neutral head (V, 3) and frames are given; from `before` on, if an earlier fit is known.

    The outline is fitted first, since colours need a surface to lie on.
    """
    grid = envelope_grid(model, neutral)
    windows = [hair_window(frame, model, backend, settings.outline) for frame in frames]
    start = None if before is None else before.thickness_m.astype(np.float64)
    outlines = [window.outline for window in windows]
    thickness = fit_thickness(grid, outlines, prior_thickness(grid, settings), settings.outline, start)
    surface = grid.surface(thickness)
    views = [hair_view(window, surface, model, backend) for window in windows]
    texture = fuse_texture(grid, thickness, views)
    return Hair(tapered(grid, thickness, texture).astype(np.float32), texture)


def tapered(grid: EnvelopeGrid, thickness_m: Float64Array, texture: HairTexture) -> Float64Array:
    """Thickness (R, C) that rises from the skin at the hairline: without it hair would be a sheet before the face."""
    rows, columns = thickness_m.shape
    coverage = cv2.resize(texture.coverage[..., 0], (columns, rows), interpolation=cv2.INTER_AREA)[::-1]
    wide = np.concatenate([coverage] * 3, 1) > HAIRLINE_COVERAGE
    distance = distance_transform_edt(wide)[:, columns : 2 * columns]
    largest = HAIRLINE_M + HAIRLINE_SLOPE_M * np.maximum(distance - 1.0, 0.0)
    scalp = grid.region == int(Region.SCALP)
    limited = np.where(scalp, np.minimum(thickness_m, largest), thickness_m)
    # Cells are wide: without a filter the hairline would be as ragged as they are.
    return np.asarray(gaussian_filter(limited, HAIRLINE_SOFTNESS_CELLS, mode=("nearest", "wrap")))


def prior_thickness(grid: EnvelopeGrid, settings: HairSettings) -> Float64Array:
    """(R, C) thickness that is expected before any outline was seen: some on the scalp, none elsewhere."""
    scalp = (grid.region == int(Region.SCALP)).astype(np.float64)
    softened = gaussian_filter(scalp, SCALP_SOFTNESS_CELLS, mode=("nearest", "wrap"))
    return np.asarray(settings.prior_thickness_m * softened)

"""Fit of one person's hair to the frames of a fitted head."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.ndimage import gaussian_filter

from fitme.arrays import Float32Array, Float64Array
from fitme.hair.envelope import EnvelopeGrid, envelope_grid
from fitme.hair.frame import HairFrame, hair_view, hair_window
from fitme.hair.hair import Hair
from fitme.hair.outline import OutlineSettings, fit_thickness
from fitme.hair.texture import fuse_texture
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

SCALP_SOFTNESS_CELLS = 1.5
"""Standard deviation of the filter over the prior's edge at the hairline."""


@dataclass(frozen=True)
class HairSettings:
    """How hair is fitted."""

    enabled: bool = True
    frames: int = 12
    """Frames at most that one fit looks at."""
    prior_thickness_m: float = 0.010
    """Thickness of hair on the scalp where no outline shows it."""
    outline: OutlineSettings = field(default_factory=OutlineSettings)


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
    return Hair(thickness.astype(np.float32), fuse_texture(grid, thickness, views))


def prior_thickness(grid: EnvelopeGrid, settings: HairSettings) -> Float64Array:
    """(R, C) thickness that is expected before any outline was seen: some on the scalp, none elsewhere."""
    scalp = (grid.region == int(Region.SCALP)).astype(np.float64)
    softened = gaussian_filter(scalp, SCALP_SOFTNESS_CELLS, mode=("nearest", "wrap"))
    return np.asarray(settings.prior_thickness_m * softened)

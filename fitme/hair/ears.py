"""Ears under hair: the envelope over ears that hair hides.

The envelope's skull leaves ears out, since they reach through hair that is tucked behind them. Where images show hair
in their place, they would poke through it.
"""

import numpy as np
from scipy.ndimage import grey_dilation

from fitme.arrays import Float32Array, Float64Array
from fitme.hair.coverage import CellCoverage
from fitme.hair.envelope import EnvelopeGrid, outermost_hits
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

CLEARANCE_M = 0.003
"""Height of hair over an ear that it hides."""
HIDDEN = (0.4, 0.7)
"""Coverage at which hair begins to lie over an ear, and from which it does."""
HIDDEN_EAR, LEAST_SEEN_CELLS = (0.3, 0.6), 3.0
"""Mean coverage of what was seen of an ear up to which it is bare, and from which hair hides all of it; cells of it to
be seen to tell."""
NEIGHBOURHOOD_CELLS = 3
"""Cells a side over which an ear's height counts: ears are finer than cells."""


def ear_heights(grid: EnvelopeGrid, model: MorphableModel, neutral: Float32Array) -> Float64Array:
    """(R, C) heights of the ears of a neutral head (V, 3) over the skull, metres; 0 where there is none."""
    kept = model.triangle_region.numpy() == int(Region.EARS)
    triangles = model.triangles.numpy()[kept].astype(np.int64)
    distance, hit = outermost_hits(
        grid.origins.reshape(-1, 3), grid.directions.reshape(-1, 3), neutral.astype(np.float64), triangles
    )
    shape = grid.skull_m.shape
    height = np.where(hit.reshape(shape) >= 0, distance.reshape(shape) - grid.skull_m, 0.0)
    return np.asarray(np.maximum(height, 0.0))


def bare_ears(grid: EnvelopeGrid, heights_m: Float64Array, cells: CellCoverage) -> Float64Array:
    """(R, C) share in [0, 1] to which ears of some heights (R, C) are bare: there no unseen hair falls on them."""
    bare, known = np.zeros(heights_m.shape), cells.known(grid)
    for sign in (1.0, -1.0):
        ear = (heights_m > 0.0) & (sign * grid.directions[..., 0] > 0.0)
        seen = float(known[ear].sum())
        shown = float((known * cells.shown)[ear].sum()) / seen if seen > LEAST_SEEN_CELLS else 0.0
        bare[ear] = 1.0 - np.clip((shown - HIDDEN_EAR[0]) / (HIDDEN_EAR[1] - HIDDEN_EAR[0]), 0.0, 1.0)
    return bare


def over_ears(thickness_m: Float64Array, heights_m: Float64Array, coverage: Float64Array) -> Float64Array:
    """Thickness (R, C) that lies over ears of some heights (R, C) where a coverage (R, C) hides them."""
    size = (NEIGHBOURHOOD_CELLS, NEIGHBOURHOOD_CELLS)
    widened = grey_dilation(heights_m, size, mode=("nearest", "wrap"))
    share = np.clip((coverage - HIDDEN[0]) / (HIDDEN[1] - HIDDEN[0]), 0.0, 1.0)
    wanted = np.where(widened > 0.0, widened + CLEARANCE_M, 0.0)
    return np.asarray(thickness_m + share * np.maximum(wanted - thickness_m, 0.0))

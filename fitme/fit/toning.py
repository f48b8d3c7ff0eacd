"""Tone of what was not seen: that of what was seen beside it.

A generator's face has the person's tone on the whole, not at every texel. Where its texels border on seen ones, at the
sides of a nose or on the rims of the lids, a thin line would show. What was seen differs from it by a ratio that is
spread into the gaps by pull-push (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4): from the finest scale
at which enough was seen.
"""

import cv2
import numpy as np
import numpy.typing as npt

from fitme.fit.unprojection import TexelTable
from fitme.shape.regions import Region

FloatArray = npt.NDArray[np.float32]

SURFACES = (
    (Region.SKIN, Region.LIPS, Region.EARS, Region.SCALP, Region.NECK, Region.LASHES),
    (Region.EYES,),
)
"""Regions that take their tone from each other; the layout has others' texels beside them. Behind the lips there are
bright teeth and dark depths, neither of which tells the other's tone."""
OFFSET = 0.01
"""Linear albedo added before ratios are taken, so that the dark does not decide."""
LEVELS = 5
"""Halvings of the texture that tone spreads over: beyond some 64 texels nothing is known."""
ENOUGH = 0.15
"""Share of a neighbourhood that must have been seen to tell its tone."""


def toned(table: TexelTable, expected: FloatArray, seen: FloatArray, share: FloatArray) -> FloatArray:
    """Expected albedo (N, 3) of the table's texels in the tone of what was `seen` (N, 3) beside each; `share` (N, 1) in
    [0, 1] is how far that is believed."""
    ratio = np.log((seen + OFFSET) / (expected + OFFSET))
    result = expected.copy()
    for regions in SURFACES:
        mine = np.isin(table.region, [int(region) for region in regions])
        weight = np.where(mine[:, None], share, 0.0)
        stacked = table.to_map(np.concatenate([ratio * weight, weight], 1).astype(np.float32))
        spread = table.from_map(_pull_push(stacked))[mine]
        result[mine] = (expected[mine] + OFFSET) * np.exp(spread) - OFFSET
    return np.clip(result, 0.0, 1.0).astype(np.float32)


def _pull_push(stacked: FloatArray) -> FloatArray:
    """Values (R, R, C) of weighted values (R, R, C) with their weights (R, R, 1) behind them; 0 far from all."""
    levels = [stacked]
    for _ in range(LEVELS):
        levels.append(np.asarray(cv2.pyrDown(levels[-1]), np.float32))
    values = np.zeros_like(levels[-1][..., :-1])
    for level in reversed(levels):
        weight = level[..., -1:]
        known = np.clip(weight / ENOUGH, 0.0, 1.0)
        if values.shape[:2] != level.shape[:2]:
            values = np.asarray(cv2.pyrUp(values, dstsize=(level.shape[1], level.shape[0])), np.float32)
        values = known * level[..., :-1] / np.maximum(weight, 1e-6) + (1.0 - known) * values
    return values.astype(np.float32)

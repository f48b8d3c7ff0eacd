"""Disagreement of one keyframe's colours with their prediction from all other keyframes."""

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb

LARGEST_DIFFERENCE = 0.25
"""Bound of a texel's difference, sRGB-encoded."""


LEAST_WEIGHT = 50.0
"""Summed weight of shared texels below which keyframes are not compared."""


def disagreement(
    expected: Float32Array,  # (S, 3) linear
    observed: Float32Array,  # (S, 3) linear
    weight: Float32Array,  # (S,)
) -> float:
    """Weighted mean difference of observed from expected colours, sRGB-encoded, each bounded by
    `LARGEST_DIFFERENCE`; NaN where the summed weight is below `LEAST_WEIGHT`."""
    if weight.sum() < LEAST_WEIGHT:
        return float("nan")
    encoded = [linear_to_srgb(torch.from_numpy(colors)).numpy() for colors in (expected, observed)]
    difference = np.abs(encoded[0] - encoded[1]).mean(-1)
    return float(np.average(np.minimum(difference, LARGEST_DIFFERENCE), weights=weight))

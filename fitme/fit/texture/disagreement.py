"""How much one keyframe's colours differ from what all others let expect of it."""

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.color import linear_to_srgb

LARGEST_DIFFERENCE = 0.25
"""sRGB-encoded difference beyond which a texel counts no more than this."""


LEAST_WEIGHT = 50.0
"""Summed weight of shared texels below which there is nothing to compare."""


def disagreement(
    expected: Float32Array,  # (S, 3) linear
    seen: Float32Array,  # (S, 3) linear
    weight: Float32Array,  # (S,)
) -> float:
    """Mean difference, in sRGB-encoded units and bounded for each texel, between a keyframe and what all others let
    expect of it; NaN where they share too little."""
    if weight.sum() < LEAST_WEIGHT:
        return float("nan")
    encoded = [linear_to_srgb(torch.from_numpy(colors)).numpy() for colors in (expected, seen)]
    difference = np.abs(encoded[0] - encoded[1]).mean(-1)
    return float(np.average(np.minimum(difference, LARGEST_DIFFERENCE), weights=weight))

"""Ramps between two values."""

import numpy as np

from fitme.arrays import Float32Array, Float64Array


def linear_ramp(values: Float32Array | Float64Array, ends: tuple[float, float]) -> Float32Array:
    """Values (...) over the way from the first end to the second: 0 below the first, 1 above the second."""
    return np.asarray(np.clip((values - ends[0]) / (ends[1] - ends[0]), 0.0, 1.0), np.float32)

"""Sums, means and largest values over the channels of images, plane by plane: several times as fast as numpy's
reductions over a last axis of three, with the same results."""

from functools import reduce

import numpy as np

from fitme.arrays import Float32Array


def channel_sum(image: Float32Array) -> Float32Array:
    """(...) sum over the channels of an image (..., C)."""
    return reduce(np.add, _planes(image))


def channel_mean(image: Float32Array) -> Float32Array:
    """(...) mean over the channels of an image (..., C)."""
    total = channel_sum(image)
    return np.asarray(total / total.dtype.type(image.shape[-1]))


def channel_max(image: Float32Array) -> Float32Array:
    """(...) largest value over the channels of an image (..., C)."""
    return reduce(np.maximum, _planes(image))


def _planes(image: Float32Array) -> list[Float32Array]:
    """Views (...) of the channels of an image (..., C)."""
    return [image[..., channel] for channel in range(image.shape[-1])]

"""Low-pass filters of texel values: on maps of half the side what does not need fine detail, and on whole maps."""

import cv2
import numpy as np

from fitme.arrays import Float32Array
from fitme.fit.texture.unprojection import TexelTable

COARSER = 2
"""Texels of the table per texel a side of the maps."""
TINY = 1e-6
"""Lower bound of summed weights in denominators."""


def weighted_map(table: TexelTable, values: Float32Array, weight: Float32Array) -> Float32Array:
    """Values (N, C) times weights (N, 1) of the table's texels, stacked with the weights, as a map
    (R / 2, R / 2, C + 1)."""
    full = table.to_map(np.concatenate([values * weight, weight], 1).astype(np.float32))
    side = (table.resolution // COARSER,) * 2
    return np.asarray(cv2.resize(full, side, interpolation=cv2.INTER_AREA), np.float32)


def at_texels(table: TexelTable, coarse: Float32Array) -> Float32Array:
    """Values (N, C) at the table's texels of a map (R / 2, R / 2, C), by bilinear interpolation."""
    full = np.asarray(cv2.resize(coarse, (table.resolution,) * 2, interpolation=cv2.INTER_LINEAR), np.float32)
    return table.from_map(full.reshape(table.resolution, table.resolution, -1))


def blurred(coarse: Float32Array, sigma: float) -> Float32Array:
    """Gaussian blur of a map (H, W, C); `sigma` is a share of its side."""
    return np.asarray(cv2.GaussianBlur(coarse, (0, 0), sigma * len(coarse)), np.float32)


def low_pass(table: TexelTable, values: Float32Array, weight: Float32Array, sigma: float) -> Float32Array:
    """(N, C) values (N, C) by normalised convolution with weights (N, 1); `sigma` is a share of the map's side."""
    found = at_texels(table, blurred(weighted_map(table, values, weight), sigma))
    return np.asarray(found[:, :-1] / np.maximum(found[:, -1:], TINY), np.float32)


def map_low_pass(values: Float32Array, weight: Float32Array, sigma: float) -> Float32Array:
    """Values (R, R) or (R, R, C) of a map by normalised convolution with weights (R, R); `sigma` is in its texels."""
    shaped = weight if values.ndim == 2 else weight[..., None]
    total, weights = (cv2.GaussianBlur(np.asarray(x, np.float32), (0, 0), sigma) for x in (values * shaped, weight))
    weights = weights if values.ndim == 2 else weights[..., None]
    return np.asarray(total / np.maximum(weights, TINY), np.float32)

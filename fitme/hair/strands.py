"""Pattern of strands over the envelope's texels, for hair that no image shows and for its highlights."""

from functools import lru_cache

import cv2
import numpy as np

from fitme.arrays import Float32Array
from fitme.hair.texels import TEXTURE_COLUMNS, TEXTURE_ROWS

STRAND_TEXELS = (24.0, 0.7)
"""Standard deviations of the pattern of single strands along and across them, texels."""
LOCK_TEXELS = (40.0, 2.5)
"""The same of locks."""
WANDER_TEXELS, WANDER_AMPLITUDE = (18.0, 9.0), 5.0
"""Standard deviations, along and across, of the pattern by which strands wander sideways, and of their way, texels."""
LOCK_SHARE = 0.5
"""Amplitude of the locks' pattern over that of the strands'."""


@lru_cache(maxsize=1)
def strand_pattern() -> Float32Array:
    """(T, U) zero-mean pattern of strands that run from the crown down, standard deviation 1."""
    return _pattern(STRAND_TEXELS, 0)


@lru_cache(maxsize=1)
def lock_pattern() -> Float32Array:
    """(T, U) the same of strands and of the locks that they form."""
    pattern = strand_pattern() + LOCK_SHARE * _pattern(LOCK_TEXELS, 1)
    return np.asarray(pattern / pattern.std(), np.float32)


def _pattern(sigmas: tuple[float, float], seed: int) -> Float32Array:
    # Imported here: the first avatar, which has no hair yet, does not wait for SciPy.
    from scipy.ndimage import gaussian_filter

    random = np.random.default_rng(seed)
    noise, wander = (random.standard_normal((TEXTURE_ROWS, TEXTURE_COLUMNS)) for _ in range(2))
    straight = gaussian_filter(noise, sigmas, mode=("nearest", "wrap"))
    # Hair is no wood: strands wander to both sides of the way down, and cross each other's paths.
    sideways = gaussian_filter(wander, WANDER_TEXELS, mode=("nearest", "wrap"))
    rows, columns = np.indices(noise.shape, np.float32)
    columns = (columns + WANDER_AMPLITUDE * sideways / sideways.std()) % TEXTURE_COLUMNS
    wide = cv2.copyMakeBorder(straight.astype(np.float32), 0, 0, 0, 1, cv2.BORDER_WRAP)
    pattern = cv2.remap(wide, columns.astype(np.float32), rows, cv2.INTER_LINEAR)
    return np.asarray(pattern / pattern.std(), np.float32)

"""Pattern of strands over the envelope's texels, for hair that no image shows and for its highlights."""

from functools import lru_cache

import numpy as np

from fitme.arrays import Float32Array
from fitme.hair.texels import TEXTURE_COLUMNS, TEXTURE_ROWS

STRAND_TEXELS = (24.0, 0.7)
"""Standard deviations of the pattern of single strands along and across them, texels."""
LOCK_TEXELS = (40.0, 2.5)
"""The same of locks."""
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

    noise = np.random.default_rng(seed).standard_normal((TEXTURE_ROWS, TEXTURE_COLUMNS))
    pattern = gaussian_filter(noise, sigmas, mode=("nearest", "wrap"))
    return np.asarray(pattern / pattern.std(), np.float32)

"""Fixed fields of what only fine maps hold: openings of pores, the grain of the skin between them, creases of the lips.

All are drawn at the base resolution with what coarse maps hold taken away, and none is left at `COARSE_RESOLUTION`.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from fitme.arrays import Float32Array
from fitme.skin.noise_fields import BASE_RESOLUTION, STRAND_FIELDS, at_resolution, stretched_noise

COARSE_RESOLUTION, DETAILED_RESOLUTION = 256, 512
"""Maps up to the first hold no fine structure; from the second on they hold their share of it."""
PIT_SPACING_TEXELS, PIT_RADIUS_TEXELS, PIT_SURROUNDINGS_TEXELS = 5, 0.65, 3.0
"""Mean distance of the pores of one field, the standard deviation of an opening, and of the mean that is taken away."""
PIT_STRENGTHS = (0.3, 1.0)
GRIT_TEXELS = (0.6, 2.0)
"""Standard deviations of the two Gaussians whose difference is the grain's pass band."""
LIP_CREASE_CELL = (0.0013, 0.006)
"""Lattice spacing of the creases along u and v, layout units."""
LIP_CREASE_SURROUNDINGS_TEXELS = 4.0
_SEED = 22


def detail(resolution: int) -> float:
    """How far maps of this resolution hold fine structure: 0 up to `COARSE_RESOLUTION`, 1 from `DETAILED_RESOLUTION`
    on."""
    return float(np.clip((resolution - COARSE_RESOLUTION) / (DETAILED_RESOLUTION - COARSE_RESOLUTION), 0.0, 1.0))


def pits(resolution: int) -> Float32Array:
    """(STROKE_FIELDS, R, R) round openings of pores, high where they are; zero mean, unit variance at the base."""
    return _held(_pits, resolution)


def grit(resolution: int) -> Float32Array:
    """(STROKE_FIELDS, R, R) noise of the finest octaves that the base holds; zero mean, unit variance at the base."""
    return _held(_grit, resolution)


def lip_creases(resolution: int) -> Float32Array:
    """(STROKE_FIELDS, R, R) sharp, nearly vertical creases, high where they are; zero mean, unit variance at the
    base."""
    return _held(_lip_creases, resolution)


def _held(base: Callable[[], Float32Array], resolution: int) -> Float32Array:
    if resolution <= COARSE_RESOLUTION:
        return np.zeros((STRAND_FIELDS, resolution, resolution), np.float32)
    return at_resolution(base(), resolution)


@cache
def _pits() -> Float32Array:
    generator = np.random.default_rng((_SEED, 0))
    cells = BASE_RESOLUTION // PIT_SPACING_TEXELS
    fields = []
    for _ in range(STRAND_FIELDS):
        corners = np.indices((cells, cells)) * PIT_SPACING_TEXELS
        rows, columns = corners + generator.integers(0, PIT_SPACING_TEXELS, corners.shape)
        openings = np.zeros((BASE_RESOLUTION, BASE_RESOLUTION), np.float32)
        openings[rows, columns] = generator.uniform(*PIT_STRENGTHS, rows.shape)
        field = gaussian_filter(openings, PIT_RADIUS_TEXELS) - gaussian_filter(openings, PIT_SURROUNDINGS_TEXELS)
        fields.append(field / field.std())
    return np.asarray(np.stack(fields), np.float32)


@cache
def _grit() -> Float32Array:
    generator = np.random.default_rng((_SEED, 1))
    fields = []
    for _ in range(STRAND_FIELDS):
        white = generator.standard_normal((BASE_RESOLUTION, BASE_RESOLUTION), np.float32)
        field = gaussian_filter(white, GRIT_TEXELS[0]) - gaussian_filter(white, GRIT_TEXELS[1])
        fields.append(field / field.std())
    return np.asarray(np.stack(fields), np.float32)


@cache
def _lip_creases() -> Float32Array:
    centres = (np.arange(BASE_RESOLUTION) + 0.5) / BASE_RESOLUTION
    u, v = np.meshgrid(centres, centres)
    bent = u / LIP_CREASE_CELL[0] + 1.5 * np.sin(40.0 * v)
    folds = -np.abs(stretched_noise(bent, v / LIP_CREASE_CELL[1], STRAND_FIELDS, seed=5, wrap=1024))
    fields = folds - gaussian_filter1d(folds, LIP_CREASE_SURROUNDINGS_TEXELS, axis=2)
    return np.asarray(fields / fields.std((1, 2), keepdims=True), np.float32)

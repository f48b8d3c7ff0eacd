"""Microstructure that only fine maps resolve: openings of pores, the grain of the skin between them, creases of the
lips.

The fields are drawn at the base resolution, without the octaves that coarse maps hold, and vanish at
`COARSE_RESOLUTION`.
"""

from collections.abc import Callable
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from fitme.arrays import Float32Array
from fitme.skin.noise_fields import BASE_RESOLUTION, STRAND_FIELDS, at_resolution, stretched_noise

COARSE_RESOLUTION, DETAILED_RESOLUTION = 256, 512
"""Largest resolution without fine structure, and smallest resolution with all of it that fits."""
PIT_SPACING_TEXELS, PIT_RADIUS_TEXELS, PIT_SURROUNDINGS_TEXELS = 5, 0.65, 3.0
"""Mean distance of the pores of one field, standard deviation of an opening, and standard deviation of the Gaussian
mean that is subtracted."""
PIT_STRENGTHS = (0.3, 1.0)
"""Range of the relative depths of openings."""
GRIT_TEXELS = (0.6, 2.0)
"""Standard deviations of the two Gaussians whose difference is the grain's pass band."""
LIP_CREASE_CELL = (0.0013, 0.006)
"""Lattice spacing of the creases along u and v, layout units."""
LIP_CREASE_SURROUNDINGS_TEXELS = 4.0
"""Standard deviation of the Gaussian mean along u that is subtracted."""
_SEED = 22


def detail(resolution: int) -> float:
    """Share of the fine structure that maps of a resolution hold: 0 up to `COARSE_RESOLUTION`, 1 from
    `DETAILED_RESOLUTION` on."""
    return float(np.clip((resolution - COARSE_RESOLUTION) / (DETAILED_RESOLUTION - COARSE_RESOLUTION), 0.0, 1.0))


def pits(resolution: int) -> Float32Array:
    """Round openings of pores (STRAND_FIELDS, R, R), positive inside; zero mean, unit variance at the base
    resolution."""
    return _at_fine_resolution(_pits, resolution)


def grit(resolution: int) -> Float32Array:
    """Noise (STRAND_FIELDS, R, R) of the finest octaves; zero mean, unit variance at the base resolution."""
    return _at_fine_resolution(_grit, resolution)


def lip_creases(resolution: int) -> Float32Array:
    """Sharp, nearly vertical creases (STRAND_FIELDS, R, R), positive inside; zero mean, unit variance at the base
    resolution."""
    return _at_fine_resolution(_lip_creases, resolution)


def _at_fine_resolution(base: Callable[[], Float32Array], resolution: int) -> Float32Array:
    """Fields (STRAND_FIELDS, R, R): zero up to `COARSE_RESOLUTION`, area means above."""
    if resolution <= COARSE_RESOLUTION:
        return np.zeros((STRAND_FIELDS, resolution, resolution), np.float32)
    return at_resolution(base(), resolution)


@cache
def _pits() -> Float32Array:
    """Impulses on a jittered grid through a difference of Gaussians."""
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
    """White noise through a difference of Gaussians."""
    generator = np.random.default_rng((_SEED, 1))
    fields = []
    for _ in range(STRAND_FIELDS):
        white = generator.standard_normal((BASE_RESOLUTION, BASE_RESOLUTION), np.float32)
        field = gaussian_filter(white, GRIT_TEXELS[0]) - gaussian_filter(white, GRIT_TEXELS[1])
        fields.append(field / field.std())
    return np.asarray(np.stack(fields), np.float32)


@cache
def _lip_creases() -> Float32Array:
    """Ridged noise, stretched along v."""
    centres = (np.arange(BASE_RESOLUTION) + 0.5) / BASE_RESOLUTION
    u, v = np.meshgrid(centres, centres)
    bent = u / LIP_CREASE_CELL[0] + 1.5 * np.sin(40.0 * v)
    folds = -np.abs(stretched_noise(bent, v / LIP_CREASE_CELL[1], STRAND_FIELDS, seed=5, wrap=1024))
    fields = folds - gaussian_filter1d(folds, LIP_CREASE_SURROUNDINGS_TEXELS, axis=2)
    return np.asarray(fields / fields.std((1, 2), keepdims=True), np.float32)

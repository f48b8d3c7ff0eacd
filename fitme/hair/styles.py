"""Prior of hair shapes: ten styles as thickness and coverage over the envelope's cells.

The styles are MakeHuman's hair meshes (CC0), converted by `fitme.build.hair_styles`, each with its mirror image. A
person's shape before outlines bend it is a mean of the styles, each weighted by its likelihood, plus a thickness of the
person's own; unseen hair ends where it ends in the styles that agree with what was seen.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.hair.envelope import capsule_rays

STYLES_PATH = Path(__file__).parent / "styles.npz"
OUTLINE_ERROR_M = 0.004
"""Root mean square of the distances between outlines and a style's at which it is less likely by a factor of 0.6."""
OFFSET_RANGE_M = (-0.01, 0.03)
"""Bounds of the thickness by which a person's hair stands off more than a style's."""
OFFSET_HEIGHTS_M = (-0.09, 0.04)
"""Heights in the model frame over which that difference grows: whatever stands off at the top, napes are cut short."""
AGREEMENT_SCALE = 0.02
"""Mean squared difference of coverage by which a style becomes less likely by a factor of e."""


@dataclass(frozen=True)
class HairStyles:
    """Styles over the cells of the envelope, R rows of C columns."""

    thickness_m: Float64Array
    """(N, R, C) metres."""
    coverage: Float32Array
    """(N, R, C) in [0, 1]: where each style covers the head."""


@lru_cache(maxsize=1)
def hair_styles() -> HairStyles:
    """The prior of hair shapes."""
    with np.load(STYLES_PATH) as table:
        thickness, coverage = (_with_mirrored(table[name].astype(np.float64)) for name in ("thickness_m", "coverage"))
    return HairStyles(thickness, coverage.astype(np.float32))


def likely_thickness(wanted_m: Float64Array, weight: Float64Array) -> Float64Array:
    """(R, C) mean thickness of the styles, each with the offset that fits the outlines best, weighted by its
    likelihood; of all styles alike if nothing was seen.

    :param wanted_m: (R, C) thickness that outlines ask for, metres; weight: (R, C), 0 where there is none.
    """
    styles = hair_styles()
    low, high = OFFSET_HEIGHTS_M
    rise = np.clip((capsule_rays()[0][..., 1] - low) / (high - low), 0.0, 1.0)
    offset_shape = np.minimum(2.0 * styles.coverage.mean(0), 1.0) * rise
    total = float(weight.sum())
    if total == 0.0:
        return np.asarray(styles.thickness_m.mean(0))
    residual = wanted_m - styles.thickness_m
    # Closed form of each style's offset, then what it leaves.
    offset = (weight * offset_shape * residual).sum((1, 2)) / max(float((weight * offset_shape**2).sum()), 1e-9)
    fitted = styles.thickness_m + np.clip(offset, *OFFSET_RANGE_M)[:, None, None] * offset_shape
    misfit = (weight * (wanted_m - fitted) ** 2).sum((1, 2)) / total
    likelihood = np.exp(-0.5 * (misfit - misfit.min()) / OUTLINE_ERROR_M**2)
    return np.asarray(np.maximum(np.tensordot(likelihood / likelihood.sum(), fitted, 1), 0.0))


def likely_coverage(seen: Float32Array, weight: Float32Array) -> Float32Array:
    """(R, C) coverage that the styles have on average, each weighted by its agreement with what was seen.

    :param seen: (R, C) coverage in [0, 1]; weight: (R, C) in [0, 1], 0 where nothing was seen.
    """
    coverage = hair_styles().coverage
    difference = (weight * (coverage - seen) ** 2).sum((1, 2)) / max(float(weight.sum()), 1.0)
    likelihood = np.exp(-(difference - difference.min()) / AGREEMENT_SCALE)
    return np.asarray(np.tensordot(likelihood / likelihood.sum(), coverage, 1), np.float32)


def _with_mirrored(cells: Float64Array) -> Float64Array:
    """(2 N, R, C) cells (N, R, C) and their mirror images: column 0 looks to the back, and stays."""
    mirrored = np.roll(cells[..., ::-1], 1, -1)
    return np.concatenate([cells, mirrored])

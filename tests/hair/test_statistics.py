"""Contrasts of seen hair, and its curls."""

import numpy as np
import pytest

from fitme.hair.statistics import CONTRAST_RANGES, contrasts, curliness
from fitme.hair.strands import HairKind, hair_locks

SEEN = np.zeros((384, 768), np.float32)
SEEN[40:180, 250:520] = 1.0


def albedo_of(kind: HairKind, contrast: float) -> np.ndarray:
    tone = hair_locks(kind).pattern((contrast, contrast, contrast))
    return np.asarray(0.1 * np.exp(tone)[..., None] * np.ones(3), np.float32)


def test_curls_are_told_from_straight_hair() -> None:
    assert curliness(albedo_of(HairKind.CURLED, 0.3), SEEN) == 1.0
    assert curliness(albedo_of(HairKind.HANGING, 0.15), SEEN) == 0.0
    assert curliness(albedo_of(HairKind.CROPPED, 0.05), SEEN) == 0.0


def test_too_little_hair_tells_no_curls() -> None:
    assert curliness(albedo_of(HairKind.CURLED, 0.3), 0.01 * SEEN) == 0.0
    assert curliness(albedo_of(HairKind.CURLED, 0.3), 0.0 * SEEN) == 0.0


def test_contrasts_grow_with_the_hair_s_and_have_a_floor() -> None:
    smooth, strong = (contrasts(albedo_of(HairKind.CROPPED, contrast), SEEN) for contrast in (0.0, 0.3))
    assert smooth == pytest.approx(tuple(bounds[0] for bounds in CONTRAST_RANGES))
    assert all(a < b for a, b in zip(smooth[:2], strong[:2], strict=True))

"""Strands before a bright wall are told from it, fair hair's highlights are not."""

import numpy as np
import pytest

from fitme.color import linear_to_bytes
from fitme.hair.matte import HairMatte, hair_matte

WALL, DARK, FAIR = (0.6, 0.6, 0.58), (0.03, 0.02, 0.015), (0.4, 0.3, 0.18)
SIDE, FINE = 120, 2


def matte_of(hair: tuple[float, ...], lightest: tuple[float, ...]) -> tuple[HairMatte, np.ndarray]:
    """Matte of hair whose outer third is half strands, half `lightest`, under a mask that fills the gaps; and where a
    gap is."""
    linear = np.empty((SIDE, SIDE, 3), np.float32)
    linear[:] = WALL
    linear[:, :80] = hair
    gap = np.zeros((SIDE, SIDE), bool)
    gap[:, 60:80:4] = gap[:, 61:80:4] = True
    linear[gap] = lightest
    person = np.zeros((SIDE, SIDE), np.float32)
    person[:, :80] = 1.0
    fine = linear_to_bytes(linear.repeat(FINE, 0).repeat(FINE, 1))
    alike = (person * ~gap).astype(np.float32)
    return hair_matte(fine, linear, alike, person, 100.0), gap.repeat(FINE, 0).repeat(FINE, 1)


def test_the_wall_between_dark_strands_shows() -> None:
    matte, gap = matte_of(DARK, WALL)
    strands = ~gap
    strands[:, 80 * FINE :] = False
    assert float(matte.coverage[gap].max()) < 0.1
    assert float(matte.coverage[strands].min()) > 0.9
    # What was the wall's colour is the hair's.
    np.testing.assert_allclose(np.median(matte.color[gap], 0), DARK, atol=0.03)


def test_a_mixed_pixel_is_covered_in_part() -> None:
    mixed = tuple(0.5 * wall + 0.5 * dark for wall, dark in zip(WALL, DARK, strict=True))
    matte, gap = matte_of(DARK, mixed)
    assert 0.3 < float(np.median(matte.coverage[gap])) < 0.9


@pytest.mark.parametrize("lightest", [WALL, FAIR])
def test_fair_hair_stays_whole(lightest: tuple[float, ...]) -> None:
    matte, _ = matte_of(FAIR, lightest)
    assert float(matte.coverage[:, : 80 * FINE].min()) == 1.0

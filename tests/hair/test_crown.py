"""The crown is smooth across the pole of the envelope."""

import numpy as np

from fitme.hair.crown import rounded_crown
from fitme.hair.hair import THICKNESS_SHAPE


def test_an_even_thickness_stays() -> None:
    even = np.full(THICKNESS_SHAPE, 0.02)
    np.testing.assert_allclose(rounded_crown(even), even, atol=1e-6)


def test_a_roof_over_the_crown_is_rounded_and_the_sides_stay() -> None:
    rows, columns = THICKNESS_SHAPE
    azimuth = np.arange(columns) / columns * 2.0 * np.pi
    distance = (rows - 1.0 - np.arange(rows))[:, None]
    # A ridge from ear to ear: thinner by a millimetre for each row to the front or the back.
    roof = 0.04 - 0.001 * distance * np.abs(np.cos(azimuth))
    rounded = rounded_crown(roof)
    np.testing.assert_array_equal(rounded[:-11], roof[:-11])
    front, side = columns // 2, columns // 4
    bend = np.diff(np.concatenate([roof[-5:, front], roof[-5:-1, 0][::-1]]), 2)
    softer = np.diff(np.concatenate([rounded[-5:, front], rounded[-5:-1, 0][::-1]]), 2)
    assert np.abs(softer).max() < 0.5 * np.abs(bend).max()
    assert rounded[-1, 0] < roof[-1, 0]
    assert np.ptp(rounded[-1]) < 1e-6
    assert abs(rounded[-8, side] - roof[-8, side]) < 0.004

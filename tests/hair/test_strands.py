"""Strands run from the crown down, but not like the grain of wood."""

import numpy as np
import pytest

from fitme.arrays import Float32Array
from fitme.hair.strands import lock_pattern, strand_pattern

STEP = 30
"""Texels down the head: some 25 mm."""


@pytest.mark.parametrize("pattern", [strand_pattern(), lock_pattern()])
def test_strands_wander_sideways_as_they_go_down(pattern: Float32Array) -> None:
    upper, lower = pattern[:-STEP], pattern[STEP:]
    straight = np.corrcoef(upper.ravel(), lower.ravel())[0, 1]
    assert straight < 0.4
    # Each is found again near by.
    windows = [(row, column) for row in range(0, 300, 40) for column in range(40, 700, 40)]
    found = [
        max(
            np.corrcoef(
                pattern[row : row + 6, column : column + 12].ravel(),
                pattern[row + 12 : row + 18, column + shift : column + shift + 12].ravel(),
            )[0, 1]
            for shift in range(-8, 9)
        )
        for row, column in windows
    ]
    assert np.median(found) > 0.7


def test_the_pattern_is_even_and_closes_round_the_head() -> None:
    pattern = strand_pattern()
    assert abs(float(pattern.mean())) < 0.05
    assert abs(float(pattern.std()) - 1.0) < 1e-3
    seam = np.abs(pattern[:, 0] - pattern[:, -1]).mean()
    assert seam < 1.3 * np.abs(np.diff(pattern, axis=1)).mean()

"""Patterns of strands: even, closed round the head, and the same in every process."""

import numpy as np
import pytest

from fitme.arrays import Float32Array
from fitme.hair.strands import HairKind, hair_locks, strand_pattern


@pytest.mark.parametrize("pattern", [strand_pattern(), *(hair_locks(kind).locks.relief for kind in HairKind)])
def test_patterns_are_even_and_close_round_the_head(pattern: Float32Array) -> None:
    assert abs(float(pattern.mean())) < 0.05
    assert abs(float(pattern.std()) - 1.0) < 1e-3
    # Away from the pole, where columns meet.
    lower = pattern[100:]
    seam = np.abs(lower[:, 0] - lower[:, -1]).mean()
    assert seam < 1.5 * np.abs(np.diff(lower, axis=1)).mean()


def test_locks_are_wider_than_tufts_and_tufts_than_strands() -> None:
    lay = hair_locks(HairKind.CROPPED)

    def width(relief: Float32Array) -> int:
        """Texels round the head over which a pattern is no longer like itself."""
        lower = relief[150:]
        alike = [float((lower * np.roll(lower, shift, 1)).mean()) for shift in range(20)]
        return int(np.argmax(np.array(alike) < 0.3))

    assert width(lay.strands.relief) < width(lay.tufts.relief) < width(lay.locks.relief)

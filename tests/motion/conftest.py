"""Motion as a face makes it, without a face."""

import math

import pytest

from fitme.motion.gaze import gaze_of_weights
from fitme.motion.motion import Motion
from fitme.motion.rotations import rotation_of_angles
from fitme.shape.expressions import EXPRESSION_COUNT


def moving_at(time_s: float) -> Motion:
    """A head that turns, nods and tilts while all 52 weights move, each in a rhythm of its own."""
    weights = tuple(
        round(0.5 + 0.5 * math.sin(2.0 * math.pi * (0.3 + 0.02 * index) * time_s + index), 6)
        for index in range(EXPRESSION_COUNT)
    )
    rotation = rotation_of_angles(0.5 * math.sin(time_s), 0.2 * math.sin(1.3 * time_s), 0.1 * math.sin(0.7 * time_s))
    position = (0.02 * math.sin(time_s), 0.01 * math.cos(time_s), -0.5)
    return Motion(time_s, True, rotation, position, gaze_of_weights(weights), weights)


@pytest.fixture
def moving():
    """The function `moving_at`."""
    return moving_at

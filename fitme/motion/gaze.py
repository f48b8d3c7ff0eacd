"""Gaze as angles and as weights ``eyeLook...``: programs that send only one of them have the other made of it."""

import math
from typing import Final

from fitme.motion.motion import AHEAD, Gaze
from fitme.shape.expressions import MAX_EYE_PITCH_DEG, MAX_EYE_YAW_DEG, expression_index

_YAW, _PITCH = math.radians(MAX_EYE_YAW_DEG), math.radians(MAX_EYE_PITCH_DEG)
_LEFT_EYE: Final = tuple(expression_index(f"eyeLook{way}Left") for way in ("Out", "In", "Down", "Up"))
_RIGHT_EYE: Final = tuple(expression_index(f"eyeLook{way}Right") for way in ("In", "Out", "Down", "Up"))
"""Weights that turn an eye to the person's left and right, down and up."""


def gaze_of_weights(weights: tuple[float, ...]) -> Gaze:
    """Angles of the eyeballs under weights (52,), as the morphable model turns them."""
    angles = []
    for left, right, down, up in (_LEFT_EYE, _RIGHT_EYE):
        angles += [_YAW * (weights[left] - weights[right]), _PITCH * (weights[down] - weights[up])]
    left_yaw, left_pitch, right_yaw, right_pitch = angles
    return left_yaw, left_pitch, right_yaw, right_pitch


def completed_gaze(gaze: Gaze, weights: tuple[float, ...]) -> tuple[Gaze, tuple[float, ...]]:
    """Angles and weights (52,); where one of them is neutral it follows from the other."""
    looks = any(weights[index] for index in (*_LEFT_EYE, *_RIGHT_EYE))
    if gaze == AHEAD:
        return (gaze_of_weights(weights) if looks else AHEAD), weights
    if looks:
        return gaze, weights
    completed = list(weights)
    for (left, right, down, up), yaw, pitch in ((_LEFT_EYE, *gaze[:2]), (_RIGHT_EYE, *gaze[2:])):
        completed[left], completed[right] = _shares(yaw / _YAW)
        completed[down], completed[up] = _shares(pitch / _PITCH)
    return gaze, tuple(completed)


def _shares(value: float) -> tuple[float, float]:
    """Weights of a direction and of its opposite."""
    return min(max(value, 0.0), 1.0), min(max(-value, 0.0), 1.0)

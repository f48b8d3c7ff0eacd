"""Gaze from the position of each iris between the corners of its eye."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from fitme.arrays import Float64Array
from fitme.geometry import Camera, rotation_matrix
from fitme.shape import landmark_groups
from fitme.shape.expressions import (
    EXPRESSION_COUNT,
    EXPRESSION_NAMES,
    MAX_EYE_PITCH_DEG,
    MAX_EYE_YAW_DEG,
    expression_index,
)
from fitme.shape.morphable_model import MorphableModel
from fitme.track.projection import project

GAZE: Final = np.array([name.startswith("eyeLook") for name in EXPRESSION_NAMES])
"""(52,) bool: coefficients that turn the eyeballs."""
BLINKS: Final = (expression_index("eyeBlinkLeft"), expression_index("eyeBlinkRight"))
VERGENCE: Final = 0.3
"""Share of the measured difference between the two eyes' yaw that is used; the rest is noise of the irises."""
LEAST_WEIGHT: Final = 0.05
"""Weight of the iris of a closed eye; the iris of an open eye has 1."""
PITCH_AHEAD_RAD: Final = math.radians(7.0)
"""Measured pitch of people who look straight ahead: their irises lie lower than the mean head's."""
_ITERATIONS: Final = 2
_DIFFERENCE_RAD: Final = 1e-3
_DIFFERENCES: Final = _DIFFERENCE_RAD * np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
_DAMPING: Final = 1e-2
"""Relative to the trace."""
_YAW_LIMIT: Final = math.radians(MAX_EYE_YAW_DEG)
_PITCH_LIMIT: Final = math.radians(MAX_EYE_PITCH_DEG)
_LIMITS: Final = np.array([_PITCH_LIMIT + PITCH_AHEAD_RAD, _YAW_LIMIT])
_IRISES: Final = np.array([landmark_groups.LEFT_IRIS, landmark_groups.RIGHT_IRIS])
_CORNERS: Final = np.array([landmark_groups.LEFT_EYE_CORNERS, landmark_groups.RIGHT_EYE_CORNERS])


@dataclass(frozen=True)
class EyeModel:
    """Centres of the two eyeballs as linear functions of identity."""

    mean: Float64Array
    """(2, 3) metres, model space: left, right."""
    identity: Float64Array
    """(K, 2, 3) metres per standard deviation."""

    @staticmethod
    def of(model: MorphableModel) -> "EyeModel":
        """Eyeballs of a model; NaN for a model without eyeballs, whose gaze is zero."""
        index = [vertices.numpy() for vertices in model.eyeball_vertices]
        mean, identity = model.mean.double().numpy(), model.identity_basis.numpy()
        if any(len(i) == 0 for i in index):
            return EyeModel(np.full((2, 3), np.nan), np.zeros((len(identity), 2, 3)))
        centers = np.stack([mean[i].mean(0) for i in index])
        return EyeModel(centers, np.stack([identity[:, i].mean(1) for i in index], 1).astype(np.float64))

    def centers(self, identity: Float64Array) -> Float64Array:
        """(2, 3) centres, metres, model space, for identity coefficients (K,)."""
        centers: Float64Array = self.mean + np.tensordot(identity, self.identity, 1)
        return centers


def solve_gaze(
    centers: Float64Array,
    neutral: Float64Array,
    rotation: Float64Array,
    translation: Float64Array,
    camera: Camera,
    pixels: Float64Array,
    expression: Float64Array,
) -> Float64Array:
    """Expression coefficients (52,) of the gaze; only those of `GAZE` are meaningful.

    :param centers: (2, 3) eyeball centres, model space: left, right.
    :param neutral: (478, 3) landmarks of the face, model space, with its expression but the eyes straight ahead.
    :param rotation: (3, 3) model to view; translation (3,).
    :param pixels: (478, 2) observed landmarks.
    :param expression: (52,); its blinks weight the irises.
    """
    if not np.isfinite(centers).all():
        return np.zeros(EXPRESSION_COUNT)
    angles = _eye_angles(centers, neutral, rotation, translation, camera, pixels)
    weight = np.maximum(1.0 - expression[list(BLINKS)], LEAST_WEIGHT)
    common = weight @ angles / weight.sum()
    yaw = common[1] + VERGENCE * weight.min() * (angles[:, 1] - common[1])
    return _coefficients(float(common[0]) - PITCH_AHEAD_RAD, yaw)


def _eye_angles(
    centers: Float64Array,
    neutral: Float64Array,
    rotation: Float64Array,
    translation: Float64Array,
    camera: Camera,
    pixels: Float64Array,
) -> Float64Array:
    """(2 eyes, pitch and yaw) radians, as in `MorphableModel.eye_rotations`, by Gauss-Newton on the irises."""
    arms = neutral[_IRISES].mean(1) - centers
    corners = neutral[_CORNERS].reshape(-1, 3) @ rotation.T + translation
    base = project(camera, corners).reshape(2, -1, 2).mean(1)
    # Relative to the corners, so that errors of the head's pose cancel.
    target = pixels[_IRISES].mean(1) - pixels[_CORNERS].mean(1) + base
    angles = np.zeros((2, 2))
    for _ in range(_ITERATIONS):
        turned = centers[:, None] + _turned(angles[:, None] + _DIFFERENCES, arms[:, None])  # (2, 3, 3)
        placed = project(camera, turned.reshape(-1, 3) @ rotation.T + translation).reshape(2, -1, 2)
        slopes = (placed[:, 1:] - placed[:, :1]) / _DIFFERENCE_RAD  # (2 eyes, 2 angles, 2 pixels)
        normal = slopes @ slopes.transpose(0, 2, 1)
        # Damped: the yaw of an eye seen from far aside is poorly determined.
        normal += _DAMPING * np.trace(normal, axis1=1, axis2=2)[:, None, None] * np.eye(2)
        missing = slopes @ (target - placed[:, 0])[..., None]
        angles = np.clip(angles + np.linalg.solve(normal, missing)[..., 0], -_LIMITS, _LIMITS)
    return angles


def _turned(angles: Float64Array, vectors: Float64Array) -> Float64Array:
    """Vectors (..., 3) rotated by axis-angle vectors whose x and y are `angles` (..., 2), radians, and whose z is 0."""
    axis_angle = np.concatenate([angles, np.zeros((*angles.shape[:-1], 1))], -1)
    return np.asarray((rotation_matrix(axis_angle) @ vectors[..., None])[..., 0])


def _coefficients(pitch: float, yaw: Float64Array) -> Float64Array:
    """Expression coefficients (52,) of a common pitch and of each eye's yaw (2,), radians."""
    result = np.zeros(EXPRESSION_COUNT)
    for side, outward in (("Left", float(yaw[0])), ("Right", -float(yaw[1]))):
        result[expression_index(f"eyeLookOut{side}")] = min(max(outward, 0.0) / _YAW_LIMIT, 1.0)
        result[expression_index(f"eyeLookIn{side}")] = min(max(-outward, 0.0) / _YAW_LIMIT, 1.0)
        result[expression_index(f"eyeLookDown{side}")] = min(max(pitch, 0.0) / _PITCH_LIMIT, 1.0)
        result[expression_index(f"eyeLookUp{side}")] = min(max(-pitch, 0.0) / _PITCH_LIMIT, 1.0)
    return result

"""Gaze from the position of each iris between the corners of its eye."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from fitme.arrays import Float64Array
from fitme.geometry import Camera
from fitme.render.cpu.kernel import kernel
from fitme.shape import landmark_groups
from fitme.shape.expressions import (
    EXPRESSION_COUNT,
    EXPRESSION_NAMES,
    MAX_EYE_PITCH_DEG,
    MAX_EYE_YAW_DEG,
    expression_index,
)
from fitme.shape.morphable_model import MorphableModel
from fitme.track.projection import MINIMAL_DEPTH_M, project

GAZE: Final = np.array([name.startswith("eyeLook") for name in EXPRESSION_NAMES])
"""(52,) bool: coefficients that turn the eyeballs."""
BLINKS: Final = (expression_index("eyeBlinkLeft"), expression_index("eyeBlinkRight"))
VERGENCE: Final = 0.5
"""Share of the measured difference between the two eyes' yaw that a frame of a video uses; the rest is noise of the
irises."""
OUTWARD_AHEAD_RAD: Final = math.radians(3.7)
"""Measured yaw, outwards, of either eye of people who look into a camera (60 photographed people, standard deviation of
both eyes' difference 4.5 degrees): the visual axis lies on the nose's side of the pupil (angle kappa). Drawn eyes that
look ahead are turned by it."""
LEAST_WEIGHT: Final = 0.05
"""Weight of the iris of a closed eye; the iris of an open eye has 1."""
PITCH_AHEAD_RAD: Final = math.radians(4.0)
"""Measured pitch of people who look straight ahead: landmarks of irises are drawn to the middle between the lids, below
the true ones. Of 60 photographed people the mean is 2.6 degrees; those whose lids hang lower measure more."""
_ITERATIONS: Final = 2
_DIFFERENCE_RAD: Final = 1e-3
_SMALL_SQUARED_RAD: Final = 1e-8
"""Below it, Rodrigues' factors are taken from their series."""
_DAMPING: Final = 1e-2
"""Relative to the trace."""
_YAW_LIMIT: Final = math.radians(MAX_EYE_YAW_DEG)
_PITCH_LIMIT: Final = math.radians(MAX_EYE_PITCH_DEG)
_AHEAD: Final = np.array([[PITCH_AHEAD_RAD, OUTWARD_AHEAD_RAD], [PITCH_AHEAD_RAD, -OUTWARD_AHEAD_RAD]])
"""(2 eyes, pitch and yaw) measured of eyes that look ahead."""
_LIMITS: Final = np.array([_PITCH_LIMIT + PITCH_AHEAD_RAD, _YAW_LIMIT + OUTWARD_AHEAD_RAD])
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
    vergence: float = VERGENCE,
) -> Float64Array:
    """Expression coefficients (52,) of the gaze; only those of `GAZE` are meaningful.

    :param centers: (2, 3) eyeball centres, model space: left, right.
    :param neutral: (478, 3) landmarks of the face, model space, with its expression but the eyes straight ahead.
    :param rotation: (3, 3) model to view; translation (3,).
    :param pixels: (478, 2) observed landmarks.
    :param expression: (52,); its blinks weight the irises.
    :param vergence: share of the measured difference between the two eyes' yaw that is used.
    """
    if not np.isfinite(centers).all():
        return np.zeros(EXPRESSION_COUNT)
    angles = _eye_angles(centers, neutral, rotation, translation, camera, pixels) - _AHEAD
    weight = np.maximum(1.0 - expression[list(BLINKS)], LEAST_WEIGHT)
    common = weight @ angles / weight.sum()
    yaw = common[1] + vergence * weight.min() * (angles[:, 1] - common[1])
    return _coefficients(float(common[0]), yaw)


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
    center_px = np.array([camera.center_x_px, camera.center_y_px])
    return np.asarray(_fitted_angles(centers, arms, rotation, translation, camera.focal_px, center_px, target))


@kernel
def _fitted_angles(
    centers: Float64Array,
    arms: Float64Array,
    rotation: Float64Array,
    translation: Float64Array,
    focal_px: float,
    center_px: Float64Array,
    target: Float64Array,
) -> Float64Array:
    """Gauss-Newton of `_eye_angles`: pitch and yaw (2 eyes, 2), radians, at which irises lie on `target` (2, 2), px.

    :param arms: (2, 3) from the eyes' centres to the irises, straight ahead.
    """
    angles, placed, view = np.zeros((2, 2)), np.empty((3, 2)), np.empty(3)
    for eye in range(2):
        x, y, z = arms[eye]
        for _ in range(_ITERATIONS):
            for k in range(3):  # the iris now, and after a small step of each angle
                pitch = angles[eye, 0] + (_DIFFERENCE_RAD if k == 1 else 0.0)
                yaw = angles[eye, 1] + (_DIFFERENCE_RAD if k == 2 else 0.0)
                # Rodrigues' formula of the axis-angle vector (pitch, yaw, 0).
                squared = pitch * pitch + yaw * yaw
                if squared < _SMALL_SQUARED_RAD:
                    first, second = 1.0 - squared / 6.0, 0.5 - squared / 24.0
                else:
                    angle = math.sqrt(squared)
                    first, second = math.sin(angle) / angle, (1.0 - math.cos(angle)) / squared
                cross_x, cross_y, cross_z = yaw * z, -pitch * z, pitch * y - yaw * x
                turned_x = centers[eye, 0] + x + first * cross_x + second * yaw * cross_z
                turned_y = centers[eye, 1] + y + first * cross_y - second * pitch * cross_z
                turned_z = centers[eye, 2] + z + first * cross_z + second * (pitch * cross_y - yaw * cross_x)
                for axis in range(3):
                    view[axis] = (
                        rotation[axis, 0] * turned_x
                        + rotation[axis, 1] * turned_y
                        + rotation[axis, 2] * turned_z
                        + translation[axis]
                    )
                depth = max(-view[2], MINIMAL_DEPTH_M)
                placed[k, 0] = center_px[0] + focal_px * view[0] / depth
                placed[k, 1] = center_px[1] - focal_px * view[1] / depth
            by_pitch, by_yaw = (placed[1] - placed[0]) / _DIFFERENCE_RAD, (placed[2] - placed[0]) / _DIFFERENCE_RAD
            missing = target[eye] - placed[0]
            a, b, c = by_pitch @ by_pitch, by_pitch @ by_yaw, by_yaw @ by_yaw
            # Damped: the yaw of an eye seen from far aside is poorly determined.
            damping = _DAMPING * (a + c)
            a, c = a + damping, c + damping
            u, v = by_pitch @ missing, by_yaw @ missing
            determinant = a * c - b * b
            angles[eye, 0] += (c * u - b * v) / determinant
            angles[eye, 1] += (a * v - b * u) / determinant
            for axis in range(2):
                angles[eye, axis] = min(max(angles[eye, axis], -_LIMITS[axis]), _LIMITS[axis])
    return angles


def _coefficients(pitch: float, yaw: Float64Array) -> Float64Array:
    """Expression coefficients (52,) of a common pitch and of each eye's yaw (2,), radians."""
    result = np.zeros(EXPRESSION_COUNT)
    for side, outward in (("Left", float(yaw[0])), ("Right", -float(yaw[1]))):
        result[expression_index(f"eyeLookOut{side}")] = min(max(outward, 0.0) / _YAW_LIMIT, 1.0)
        result[expression_index(f"eyeLookIn{side}")] = min(max(-outward, 0.0) / _YAW_LIMIT, 1.0)
        result[expression_index(f"eyeLookDown{side}")] = min(max(pitch, 0.0) / _PITCH_LIMIT, 1.0)
        result[expression_index(f"eyeLookUp{side}")] = min(max(-pitch, 0.0) / _PITCH_LIMIT, 1.0)
    return result

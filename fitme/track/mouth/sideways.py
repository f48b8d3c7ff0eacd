"""Mouth and jaw drawn to one side, from what landmarks of lips and chin differ from their mirror images.

The solver of pose and expression weighs all landmarks against priors, and leaves a mouth at the person's left at a
third of its way. A face's shape, known or not, is nearly mirror symmetric: what the mean of a landmark's and its mirror
image's sideways displacements is, neither identity nor a symmetric expression explains. Least squares over these
differences, of mouth, jaw and the pairs of expressions that look alike, give a signed amount to the person's left.
"""

from typing import Final

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array, IndexArray
from fitme.geometry import Camera, rotation_matrix
from fitme.shape import landmark_groups
from fitme.shape.expressions import expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.track.mouth.dead_zone import beyond_dead_zone
from fitme.track.pose import PoseEstimate
from fitme.track.projection import MINIMAL_DEPTH_M, project
from fitme.track.settings import SidewaysSettings

SIDEWAYS: Final = ("mouth", "jaw")
"""Expressions that are measured, without their side."""
LOOKALIKES: Final = (
    "mouthSmile", "mouthStretch", "mouthDimple", "mouthFrown", "mouthPress", "mouthUpperUp", "mouthLowerDown",
    "noseSneer", "cheekSquint",
)  # fmt: skip
"""Pairs of expressions whose difference between left and right is found along with them."""
PRIOR_SIGMA: Final = (0.6, 0.5)
"""Standard deviations of the amounts of mouth and jaw."""
LOOKALIKE_SIGMA: Final = 0.3
"""Standard deviation of the difference between the two sides of a pair of `LOOKALIKES`."""
LANDMARK_SIGMA_M: Final = 0.0012
"""Standard deviation of a difference between a landmark and its mirror image."""
INDEPENDENT: Final = 10.0
"""Number of differences that err independently: neighbours share their errors."""
DEPTH_SIGMA_M: Final = 0.004
"""Standard deviation of how far lips, and chin, lie before or behind where the solver has them. Seen from aside, that
looks like a motion to one side."""
LEAST_MOTION_M: Final = 0.001
"""Difference from the mirror image at full activation from which a landmark is used."""
LARGEST_STILL_M: Final = 1e-4
"""Difference up to which a landmark counts as part of the upper face, which is at rest."""
LARGEST_ASIDE_M: Final = 0.03
"""Distance from the middle of the face up to which landmarks are used: farther out they slide with the outline."""
UPPER_FACE_M: Final = (-0.035, 0.02)
"""Heights between which the upper face is compared with its mirror image, relative to the eyes."""
CHIN_BELOW_LIPS_M: Final = 0.03
"""Distance below the lips at which a landmark is the chin's alone."""
MIDDLE_OF_LOWER_LIP: Final = 14
"""Landmark on the inner rim of the lower lip."""
_STILL_RIDGE: Final = (1e-6, 1e-5, 1e-5)
"""Damping of the upper face's displacement and turns, per landmark, metres squared but for the first."""


class Sideways:
    """Measures how far mouth and jaw are drawn to one side, against a head in its solved pose."""

    def __init__(self, model: MorphableModel, settings: SidewaysSettings) -> None:
        self._settings = settings
        count = landmark_groups.SURFACE_LANDMARK_COUNT
        mean, identity, expression = (part[..., :count, :].double().numpy() for part in model.landmark_model())
        mirror = _mirror_images(mean)
        names = SIDEWAYS + LOOKALIKES
        self._left = np.array([expression_index(f"{name}Left") for name in names], np.intp)
        self._right = np.array([expression_index(f"{name}Right") for name in names], np.intp)
        difference = (expression[self._left] - expression[self._right]) / 2.0  # (E, 468, 3) of an amount of 1
        lower, upper = _used(model, mean, difference, mirror)
        self._unit = np.concatenate([difference[:, lower, axis].T for axis in (0, 1)])  # (2 P, E)
        lips = mean[MIDDLE_OF_LOWER_LIP, 1]
        self._chin = np.clip((lips - mean[lower, 1]) / CHIN_BELOW_LIPS_M, 0.0, 1.0)
        sigma = np.array([*PRIOR_SIGMA, *[LOOKALIKE_SIGMA] * len(LOOKALIKES), DEPTH_SIGMA_M, DEPTH_SIGMA_M])
        self._prior = np.diag(sigma**-2.0)
        self._weight = INDEPENDENT / (max(len(self._unit), 1) * LANDMARK_SIGMA_M**2)
        # Landmarks of lips and chin, of the upper face, then their mirror images in the same order.
        self._count = len(lower)
        self._index = np.concatenate([lower, upper, mirror[lower], mirror[upper]])
        self._mean, self._identity = mean[self._index], identity[:, self._index]
        self._expression = expression[:, self._index].reshape(len(expression), -1)
        self._neutral = self._mean

    def set_identity(self, identity: Float32Array) -> None:
        """Use the head with these coefficients (K,), standard deviations, from now on."""
        self._neutral = self._mean + np.tensordot(identity[: len(self._identity)].astype(np.float64), self._identity, 1)

    def measured(self, estimate: PoseEstimate, landmarks: Float32Array, camera: Camera) -> Float64Array:
        """(2,) amounts of mouth and jaw towards the person's left, unbounded: 1 is full activation.

        :param landmarks: (478, 2) pixels of `camera`'s image, to which `estimate` was solved.
        """
        count, half = self._count, len(self._index) // 2
        if not count:
            return np.zeros(len(SIDEWAYS))
        # The head as it was solved, but symmetric: the rest is what is to be found.
        expression = estimate.expression.astype(np.float64)
        common = (expression[self._left] + expression[self._right]) / 2.0
        common[: len(SIDEWAYS)] = 0.0
        expression[self._left] = expression[self._right] = common
        points = self._neutral + (expression @ self._expression).reshape(-1, 3)
        rotation = rotation_matrix(estimate.pose.rotation.astype(np.float64))
        view = points @ rotation.T + estimate.pose.translation
        # Residuals in pixels as displacements along the head's own axes, and what a depth would look like along them.
        jacobian = _pixels_per_metre(view, camera) @ rotation
        inverse = np.linalg.inv(jacobian[..., :2])
        residual = landmarks[self._index] - project(camera, view)
        moved = (inverse @ residual[..., None])[..., 0]
        by_depth = (inverse @ jacobian[..., 2:])[:, 0, 0]
        aside = (moved[:half, 0] + moved[half:, 0]) / 2.0
        raised = (moved[:half, 1] - moved[half:, 1]) / 2.0
        by_depth = (by_depth[:half] + by_depth[half:]) / 2.0
        # What the upper face shows of it is the pose's.
        turns = np.concatenate([np.ones((half, 1)), points[:half, 1:]], 1)
        still = turns[count:]
        ridge = np.diag(_STILL_RIDGE) * len(still)
        shift = np.linalg.solve(still.T @ still + ridge, still.T @ aside[count:])
        aside, raised = aside - turns @ shift, raised + shift[1] * points[:half, 0]
        # Depths of lips and chin take part as unknowns.
        depth = np.zeros((2 * count, 2))
        depth[:count] = by_depth[:count, None] * np.stack([np.ones(count), self._chin], 1)
        rows = np.concatenate([self._unit, depth], 1)
        target = np.concatenate([aside[:count], raised[:count]])
        found = np.linalg.solve(self._weight * rows.T @ rows + self._prior, self._weight * rows.T @ target)
        return np.asarray(found[: len(SIDEWAYS)])

    def applied(self, estimate: PoseEstimate, landmarks: Float32Array, camera: Camera) -> Float32Array:
        """(52,) expression of an estimate with mouth and jaw as far to one side as its landmarks (478, 2) show for
        certain; the solver's own where they show no more."""
        settings = self._settings
        measured = self.measured(estimate, landmarks, camera)
        yaw, pitch, _ = estimate.pose.yaw_pitch_roll()
        widened = 1.0 + np.degrees(np.hypot(yaw, pitch)) / settings.turn_deg
        expression = estimate.expression.copy()
        zones = (settings.mouth_dead_zone, settings.jaw_dead_zone)
        gains = (settings.mouth_gain, settings.jaw_gain)
        for index, (amount, zone, gain) in enumerate(zip(measured.tolist(), zones, gains, strict=True)):
            left, right = self._left[index], self._right[index]
            solved = float(expression[left] - expression[right])
            certain = gain * beyond_dead_zone(amount, zone * widened)
            if certain * solved < 0.0 or abs(certain) > abs(solved):
                common = min(expression[left], expression[right])
                expression[left] = min(common + max(certain, 0.0), 1.0)
                expression[right] = min(common + max(-certain, 0.0), 1.0)
        return expression


def _mirror_images(mean: Float64Array) -> IndexArray:
    """(468,) landmark at the mirror image of each, of the mean face (468, 3)."""
    mirrored = mean * (-1.0, 1.0, 1.0)
    return np.asarray(np.linalg.norm(mirrored[:, None] - mean[None], axis=-1).argmin(1), np.intp)


def _used(
    model: MorphableModel, mean: Float64Array, difference: Float64Array, mirror: IndexArray
) -> tuple[IndexArray, IndexArray]:
    """Landmarks of lips and chin, and of the upper face; one of each pair of mirror images."""
    moved = np.linalg.norm(difference[: len(SIDEWAYS)], axis=-1).max(0)
    every = np.arange(len(mean))
    valid = model.mediapipe_valid.numpy()[: len(mean)]
    inside: BoolArray = ~np.isin(every, landmark_groups.FACE_OVAL) & valid & valid[mirror] & (mirror >= every)
    near = np.abs(mean[:, 0]) < LARGEST_ASIDE_M
    low, high = UPPER_FACE_M
    height = mean[:, 1]
    lower = np.flatnonzero(inside & near & (moved > LEAST_MOTION_M))
    upper = np.flatnonzero(inside & (moved < LARGEST_STILL_M) & (height > low) & (height < high))
    return lower, upper


def _pixels_per_metre(view: Float64Array, camera: Camera) -> Float64Array:
    """(P, 2, 3) derivative of the projection of view-space points (P, 3)."""
    depth = np.maximum(-view[:, 2], MINIMAL_DEPTH_M)
    scale = camera.focal_px / depth
    result = np.zeros((len(view), 2, 3))
    result[:, 0, 0], result[:, 1, 1] = scale, -scale
    result[:, 0, 2], result[:, 1, 2] = scale * view[:, 0] / depth, -scale * view[:, 1] / depth
    return result

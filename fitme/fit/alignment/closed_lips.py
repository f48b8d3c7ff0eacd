"""Lips that touch: on a neutral face, and in images that show them closed.

Keyframes of somebody who speaks or smiles explain parted lips by identity as well as by expression: the neutral face
would keep a slit between them, dark at the corners. Where an image shows closed lips, landmarks and flow leave them
some tenths of a millimetre apart, and the dark mouth shows between them as a black line.
"""

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.bounded_newton import bounded_step, coefficient_bounds
from fitme.fit.solver.joint_estimate import GAZE
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.shape.landmark_groups import LIP_RIMS, MOUTH_CORNERS, SURFACE_LANDMARK_COUNT
from fitme.shape.morphable_model import MorphableModel

GAP_SIGMA_M = 0.0003
"""Standard deviation of the offset between two rims about that of the mean head, whose lips touch."""
LARGEST_GAP = 0.04
"""Mean gap between the lips over the width of the mouth up to which lips count as closed."""
CLOSED_GAP = 0.015
"""Gap over the width of the mouth that MediaPipe's landmarks keep at most where an image shows closed lips."""
CONTACT_SIGMA_M = 0.0001
"""Standard deviation of the vertical gap between rims that touch in an image."""
PLACE_SIGMA_M = 0.001
"""Standard deviation of the motion of a landmark by which lips are closed."""
STEP_SIGMA = 1.0
"""Standard deviation of the change of an expression coefficient by which lips are closed."""
ROUNDS = 3
"""Largest number of solves; each takes the rims that the one before it has parted into account."""
_UPPER, _LOWER = (list(rim) for rim in zip(*LIP_RIMS, strict=True))


def closed_lips_information(model: MorphableModel) -> MarginalInformation:
    """Information that the rims of the lips of a neutral head lie on each other as on the mean one."""
    placed = model.landmarks(model.identity_basis)  # (K, 478, 3)
    count = model.identity_count
    precision = np.zeros((count + 1, count + 1))
    if bool(model.mediapipe_valid[_UPPER + _LOWER].all()):
        offsets = (placed[:, _UPPER] - placed[:, _LOWER]).reshape(count, -1).double().numpy()
        precision[:count, :count] = offsets @ offsets.T / GAP_SIGMA_M**2
    return MarginalInformation(precision, np.zeros(count + 1))


def lips_closed(landmarks: Float32Array) -> bool:
    """Whether the lips touch, by MediaPipe's landmarks (478, 2), pixels."""
    return bool(_relative_gaps(landmarks).mean() <= LARGEST_GAP)


def _relative_gaps(landmarks: Float32Array) -> Float64Array:
    """(R,) distances of the lips' rims over the width of the mouth, of landmarks (478, 2) or (478, 3)."""
    gaps = np.linalg.norm(landmarks[_UPPER] - landmarks[_LOWER], axis=-1).astype(np.float64)
    first, second = landmarks[list(MOUTH_CORNERS)]
    return np.asarray(gaps / max(float(np.linalg.norm(first - second)), 1e-9))


class ClosedLips:
    """Bases of a model's lips, on which expressions are closed."""

    def __init__(self, model: MorphableModel) -> None:
        mean, identity, expression = (part.double().numpy() for part in model.landmark_model())
        valid = model.mediapipe_valid.numpy()
        surface = np.flatnonzero(valid[:SURFACE_LANDMARK_COUNT])
        self._placed = bool(valid[_UPPER + _LOWER + list(MOUTH_CORNERS)].all())
        self._width_m = float(np.linalg.norm(np.subtract(*mean[list(MOUTH_CORNERS)])))
        self._by_identity = identity[:, _UPPER, 1] - identity[:, _LOWER, 1]  # (K, R)
        self._by_expression = expression[:, _UPPER, 1] - expression[:, _LOWER, 1]  # (52, R)
        places = expression[:, surface].reshape(len(expression), -1)
        self._prior = places @ places.T / PLACE_SIGMA_M**2 + np.eye(len(places)) / STEP_SIGMA**2

    def of(self, landmarks: Float32Array, expression: Float64Array, identity: Float64Array) -> Float64Array:
        """Expression (52,) whose lips are as far apart as an image shows where it shows them closed, else as it was;
        all else stays in its place as nearly as possible.

        :param landmarks: (478, 2) pixels of the image.
        :param identity: (K,) of the face.
        """
        if not self._placed or not lips_closed(landmarks):
            return expression
        shown_m = self._width_m * np.maximum(_relative_gaps(landmarks) - CLOSED_GAP, 0.0)
        closed = expression.copy()
        for _ in range(ROUNDS):
            excess = identity @ self._by_identity + closed @ self._by_expression - shown_m  # (R,)
            parted = excess > CONTACT_SIGMA_M
            if not parted.any():
                break
            rows = self._by_expression[:, parted]
            lower, upper = coefficient_bounds(closed, GAZE)
            hessian = self._prior + rows @ rows.T / CONTACT_SIGMA_M**2
            closed += bounded_step(hessian, rows @ excess[parted] / CONTACT_SIGMA_M**2, lower, upper)
        return closed

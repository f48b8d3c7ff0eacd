"""An opening of the jaw that all keyframes share: a chin that is too short, moved from expressions into identity.

Identity and `jawOpen` both lower the chin. Where keyframes leave open which of them did, the jaw would stay open in a
clenched smile, and its teeth apart. A jaw is taken to be closed behind closed lips, and no jaw can be closed farther.
"""

from collections.abc import Sequence

import numpy as np

from fitme.arrays import Float32Array
from fitme.bounded_newton import bounded_step, coefficient_bounds
from fitme.fit.alignment.closed_lips import lips_closed
from fitme.fit.solver.joint_estimate import GAZE
from fitme.shape.expressions import expression_index
from fitme.shape.morphable_model import MorphableModel

LEAST_OPENING = 0.02
"""Activation of `jawOpen` below which an opening that all keyframes share is left where it is."""
PLACE_SIGMA_M = 0.001
"""Standard deviation of a landmark's place on the head of the new identity about that on the old one."""
STEP_SIGMA = 1.0
"""Standard deviation of the change of an expression coefficient that makes up for a longer chin."""
OPENING, CLOSING = expression_index("jawOpen"), expression_index("mouthClose")


def shared_opening(landmarks: Sequence[Float32Array], expressions: Sequence[Float32Array]) -> float:
    """Activation of `jawOpen` that all keyframes' expressions (52,) share although lips are closed in one of them, by
    their landmarks (478, 2); 0 if there is none, or if no keyframe shows closed lips."""
    if not any(map(lips_closed, landmarks)):
        return 0.0
    least = float(min(expression[OPENING] for expression in expressions))
    return least if least >= LEAST_OPENING else 0.0


class ClosedJaw:
    """Bases of a model's landmarks, in which openings of the jaw are moved."""

    def __init__(self, model: MorphableModel) -> None:
        valid = model.mediapipe_valid.numpy()
        identity, expression = (part.double().numpy()[:, valid] for part in model.landmark_model()[1:])
        self._identity = identity.reshape(len(identity), -1)  # (K, 3 P)
        self._expression = expression.reshape(len(expression), -1)  # (52, 3 P)
        # Priors are on steps: that on identity is weighed against what keyframes show, of which nothing is known here.
        self._identity_precision = self._identity @ self._identity.T / PLACE_SIGMA_M**2 + np.eye(len(identity))
        self._expression_precision = (
            self._expression @ self._expression.T / PLACE_SIGMA_M**2 + np.eye(len(expression)) / STEP_SIGMA**2
        )

    def longer_chin(self, identity: Float32Array, opening: float) -> Float32Array:
        """(K,) identity whose neutral face is that of `identity` (K,) with its jaw open by `opening` behind closed
        lips, by least squares over the landmarks' places."""
        offset = opening * (self._expression[OPENING] + self._expression[CLOSING])  # (3 P,)
        step = np.linalg.solve(self._identity_precision, self._identity @ offset / PLACE_SIGMA_M**2)
        return np.asarray(identity + step.astype(np.float32))

    def closed(
        self, expression: Float32Array, before: Float32Array, after: Float32Array, opening: float
    ) -> Float32Array:
        """(52,) expression that leaves a face where `expression` (52,) had it, the jaw closed by `opening`.

        :param before: identity (K,) of that face.
        :param after: identity (K,) of the new one, `longer_chin` of it.
        """
        moved = (after - before).astype(np.float64) @ self._identity  # (3 P,)
        closed = expression.astype(np.float64)
        closed[[OPENING, CLOSING]] = np.maximum(closed[[OPENING, CLOSING]] - opening, 0.0)
        # What closing the jaw and the longer chin leave of a displacement, by the other coefficients. Gaze is not
        # linear.
        left = self._expression.T @ (expression - closed) - moved
        lower, upper = coefficient_bounds(closed, GAZE)
        upper[OPENING] = 0.0
        closed += bounded_step(self._expression_precision, -self._expression @ left / PLACE_SIGMA_M**2, lower, upper)
        return np.clip(closed, 0.0, 1.0).astype(np.float32)

"""An opening of the jaw that all keyframes share: a chin that is too short, moved from expressions into identity.

Identity and `jawOpen` both lower the chin. Where keyframes leave open which of them did, the jaw would stay open in a
clenched smile, and its teeth apart. A jaw is taken to be closed behind closed lips, and no jaw can be closed farther.
"""

from collections.abc import Sequence

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.bounded_newton import bounded_step, coefficient_bounds
from fitme.fit.alignment.closed_lips import RIMS
from fitme.fit.solver.joint_estimate import GAZE
from fitme.shape.expressions import expression_index
from fitme.shape.morphable_model import MorphableModel

MOUTH_CORNERS = (61, 291)
"""MediaPipe's landmarks at the corners of the mouth."""
LARGEST_GAP = 0.04
"""Mean gap between the lips over the width of the mouth up to which lips count as closed. MediaPipe's own are 0.005 to
0.015 apart where an image shows them closed."""
LEAST_OPENING = 0.02
"""Activation of `jawOpen` below which an opening that all keyframes share is left where it is."""
PLACE_SIGMA_M = 0.001
"""Standard deviation of a landmark's place on the head of the new identity about that on the old one."""
STEP_SIGMA = 1.0
"""Standard deviation of the change of an expression coefficient that makes up for a longer chin."""
OPENING, CLOSING = expression_index("jawOpen"), expression_index("mouthClose")


def lips_closed(landmarks: Float32Array) -> bool:
    """Whether the lips touch, by MediaPipe's landmarks (478, 2), pixels."""
    upper, lower = (list(rims) for rims in zip(*RIMS, strict=True))
    gap = np.linalg.norm(landmarks[upper] - landmarks[lower], axis=-1).mean()
    first, second = landmarks[list(MOUTH_CORNERS)]
    return bool(gap <= LARGEST_GAP * np.linalg.norm(first - second))


def shared_opening(landmarks: Sequence[Float32Array], expressions: Sequence[Float32Array]) -> float:
    """Activation of `jawOpen` that all keyframes' expressions (52,) share although lips are closed in one of them, by
    their landmarks (478, 2); 0 if there is none, or if no keyframe shows closed lips."""
    if not any(map(lips_closed, landmarks)):
        return 0.0
    least = float(min(expression[OPENING] for expression in expressions))
    return least if least >= LEAST_OPENING else 0.0


def longer_chin(model: MorphableModel, identity: Float32Array, opening: float) -> Float32Array:
    """(K,) identity whose neutral face is that of `identity` (K,) with its jaw open by `opening` behind closed lips."""
    basis = model.landmarks(model.identity_basis)[:, model.mediapipe_valid].flatten(1).double()  # (K, 3 P)
    lowered = model.expression_basis[OPENING] + model.expression_basis[CLOSING]
    offset = opening * model.landmarks(lowered[None])[0, model.mediapipe_valid].flatten().double()  # (3 P,)
    # Least squares over the landmarks' places. The prior is on the step: that on identity is weighed against what
    # keyframes show, of which nothing is known here.
    precision = basis @ basis.T / PLACE_SIGMA_M**2 + torch.eye(len(basis), dtype=torch.float64)
    step = torch.linalg.solve(precision, basis @ offset / PLACE_SIGMA_M**2)
    return np.asarray(identity + step.float().numpy())


def with_closed_jaw(
    model: MorphableModel, expression: Float32Array, before: Float32Array, after: Float32Array, opening: float
) -> Float32Array:
    """(52,) expression that leaves a face where `expression` (52,) had it, the jaw closed by `opening`.

    :param before: identity (K,) of that face.
    :param after: identity (K,) of the new one, `longer_chin` of it.
    """
    valid = model.mediapipe_valid
    basis = model.landmarks(model.expression_basis)[:, valid].flatten(1).double().numpy()  # (52, 3 P)
    shapes = model.landmarks(model.neutral(torch.from_numpy(np.stack([before, after]))))[:, valid]
    moved = (shapes[1] - shapes[0]).flatten().double().numpy()  # (3 P,)
    closed = expression.astype(np.float64)
    closed[[OPENING, CLOSING]] = np.maximum(closed[[OPENING, CLOSING]] - opening, 0.0)
    # What closing the jaw and the longer chin leave of a displacement, by the other coefficients. Gaze is not linear.
    left = basis.T @ (expression - closed) - moved
    lower, upper = coefficient_bounds(closed, GAZE)
    upper[OPENING] = 0.0
    hessian = basis @ basis.T / PLACE_SIGMA_M**2 + np.eye(len(basis)) / STEP_SIGMA**2
    closed += bounded_step(hessian, -basis @ left / PLACE_SIGMA_M**2, lower, upper)
    return np.clip(closed, 0.0, 1.0).astype(np.float32)

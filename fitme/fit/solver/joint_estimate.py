"""What a joint solve over keyframes finds, and what it believes before."""

from dataclasses import dataclass, replace

import numpy as np

from fitme.arrays import Float64Array
from fitme.shape.expressions import EXPRESSION_NAMES

POSE_COUNT = 6
"""Parameters of a pose's increment: three of rotation (left-multiplied, view axes), three of translation."""
GAZE = np.array([name.startswith("eyeLook") for name in EXPRESSION_NAMES])
"""(52,) the coefficients that turn the eyeballs. They are not linear in the points, so the solver leaves them alone."""


@dataclass(frozen=True)
class SolverSettings:
    """Weights of priors and numerics of the joint solve."""

    iterations: int = 8
    enough: float = 1e-4
    """Share of the cost: a step that gains less is the last."""
    identity_weight: float = 1.0
    """Weight of the identity prior: 1 takes coefficients as standard normal."""
    expression_sigma: float = 0.4
    """Standard deviation of an expression coefficient about zero."""
    focal_log_sigma: float = 0.2
    """Standard deviation of log focal length about its prior."""
    focal_prior: float = 1.1
    """Expected focal length over the longer side of the picture: a webcam of about 50 degrees across."""
    robust_scale: float = 2.5
    """Residual, in standard deviations, beyond which a point counts less (Geman-McClure)."""
    damping: float = 1e-3
    """Levenberg-Marquardt damping, relative to the diagonal."""


@dataclass(frozen=True)
class JointEstimate:
    """Parameters of the joint solve over N keyframes."""

    focal: float
    """Focal length over the longer side of the picture."""
    identity: Float64Array
    """(K,) standard deviations."""
    rotations: Float64Array
    """(N, 3, 3) model to view."""
    translations: Float64Array
    """(N, 3) metres."""
    expressions: Float64Array
    """(N, 52) in [0, 1]."""


@dataclass(frozen=True)
class FreeParameters:
    """What a solve may change; pose and expression are always free."""

    identity: bool = True
    focal: bool = True
    expression: bool = True


def shared_parameters(estimate: JointEstimate) -> Float64Array:
    """(K + 1,) identity and log focal length."""
    return np.append(estimate.identity, np.log(estimate.focal))


def expression_precision(count: int, settings: SolverSettings) -> Float64Array:
    """(count,) of the prior: of expressions first, then of a frame's own errors."""
    return np.append(np.full(len(GAZE), settings.expression_sigma**-2.0), np.ones(count - len(GAZE)))


def zero_padded(estimate: JointEstimate, identity_count: int, expression_count: int) -> JointEstimate:
    """An estimate with zeros for the errors of observation that it does not name."""
    shared, own = identity_count - len(estimate.identity), expression_count - estimate.expressions.shape[1]
    return replace(
        estimate,
        identity=np.pad(estimate.identity, (0, max(0, shared))),
        expressions=np.pad(estimate.expressions, ((0, 0), (0, max(0, own)))),
    )


def stepped(estimate: JointEstimate, frame_steps: Float64Array, shared_step: Float64Array) -> JointEstimate:
    """An estimate moved by steps of poses and expressions (N, 58) and of identity and log focal length (K + 1,)."""
    turns = np.stack([rotation_of(step[:3]) for step in frame_steps])
    expressions = estimate.expressions + frame_steps[:, POSE_COUNT:]
    expressions[:, : len(GAZE)] = np.clip(expressions[:, : len(GAZE)], 0.0, 1.0)
    return JointEstimate(
        estimate.focal * float(np.exp(np.clip(shared_step[-1], -0.5, 0.5))),
        estimate.identity + shared_step[:-1],
        turns @ estimate.rotations,
        estimate.translations + frame_steps[:, 3:POSE_COUNT],
        expressions,
    )


def rotation_of(axis_angle: Float64Array) -> Float64Array:
    """(3, 3) rotation matrix of an axis-angle vector (3,), by Rodrigues' formula."""
    angle = float(np.linalg.norm(axis_angle))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = axis_angle / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix: Float64Array = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    return matrix


IDENTITY_FIXED = FreeParameters(identity=False, focal=False)
"""Dense matches that may not slip place the head; who it is comes from tracks, which may."""

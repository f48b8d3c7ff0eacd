"""Parameters, priors and increments of a joint solve over keyframes."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from msgspec import Meta

from fitme.arrays import Float64Array
from fitme.fit.solver.point_targets import KnownExpression
from fitme.geometry import rotation_matrix
from fitme.shape.expressions import EXPRESSION_NAMES

POSE_COUNT = 6
"""Parameters of a pose's increment: three of rotation (left-multiplied, view axes), three of translation."""
GAZE = np.array([name.startswith("eyeLook") for name in EXPRESSION_NAMES])
"""(52,) the coefficients that turn the eyeballs. Points are not linear in them, so the solver fixes them."""
LARGEST_FOCAL_STEP = 0.5
"""Largest change of the log focal length in one step."""


@dataclass(frozen=True)
class SolverSettings:
    """Weights of priors and numerics of the joint solve."""

    iterations: Annotated[int, Meta(ge=1)] = 8
    smallest_gain: Annotated[float, Meta(ge=0.0, lt=1.0)] = 1e-4
    """Share of the cost: a step that gains less is the last."""
    identity_weight: Annotated[float, Meta(ge=0.0)] = 0.5
    """Weight of the identity prior: 1 takes coefficients as standard normal. Errors of landmarks are inflated, and at 1
    heads deviate from the mean face by a third of what people do, at 0.5 by half."""
    expression_sigma: Annotated[float, Meta(gt=0.0)] = 0.4
    """Standard deviation of an expression coefficient about zero."""
    focal_log_sigma: Annotated[float, Meta(gt=0.0)] = 0.2
    """Standard deviation of log focal length about its prior."""
    focal_prior: Annotated[float, Meta(gt=0.0)] = 1.1
    """Expected focal length over the longer side of the image: a webcam of about 50 degrees across."""
    robust_scale: Annotated[float, Meta(gt=0.0)] = 2.5
    """Residual, in standard deviations, beyond which a point is down-weighted (Geman and McClure, 1987)."""
    damping: Annotated[float, Meta(gt=0.0)] = 1e-3
    """Levenberg-Marquardt damping, relative to the diagonal."""


@dataclass(frozen=True)
class JointEstimate:
    """Parameters of the joint solve over N keyframes."""

    focal: float
    """Focal length over the longer side of the image."""
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
    """Which parameters a solve may change beside the poses, which are always free."""

    identity: bool = True
    focal: bool = True
    expression: bool = True


IDENTITY_FIXED = FreeParameters(identity=False, focal=False)
"""Poses and expressions alone. Dense matches without tangential displacements determine these; identity comes from
tracks, which have displacements."""


def shared_parameters(estimate: JointEstimate) -> Float64Array:
    """(K + 1,) identity and log focal length."""
    return np.append(estimate.identity, np.log(estimate.focal))


def expression_prior(
    means: Float64Array, settings: SolverSettings, known: KnownExpression | None = None
) -> tuple[Float64Array, Float64Array]:
    """(52 + E,) precision and mean of a keyframe's 52 expression coefficients and then of its E own observation errors:
    of the prior about `means` (52 + E,), together with what is `known` of the keyframe."""
    precision = np.append(np.full(len(GAZE), settings.expression_sigma**-2.0), np.ones(len(means) - len(GAZE)))
    if known is None:
        return precision, means
    both = precision.copy()
    both[: len(GAZE)] += known.precision
    mean = precision * means
    mean[: len(GAZE)] += known.precision * known.mean
    return both, mean / both


def zero_padded(estimate: JointEstimate, identity_count: int, expression_count: int) -> JointEstimate:
    """An estimate with columns for observation errors, zero: K becomes `identity_count`, 52 `expression_count`."""
    shared, own = identity_count - len(estimate.identity), expression_count - estimate.expressions.shape[1]
    return replace(
        estimate,
        identity=np.pad(estimate.identity, (0, max(0, shared))),
        expressions=np.pad(estimate.expressions, ((0, 0), (0, max(0, own)))),
    )


def stepped(estimate: JointEstimate, frame_steps: Float64Array, shared_step: Float64Array) -> JointEstimate:
    """An estimate moved by steps of poses and expressions (N, 58) and of identity and log focal length (K + 1,)."""
    expressions = estimate.expressions + frame_steps[:, POSE_COUNT:]
    expressions[:, : len(GAZE)] = np.clip(expressions[:, : len(GAZE)], 0.0, 1.0)
    return JointEstimate(
        estimate.focal * float(np.exp(np.clip(shared_step[-1], -LARGEST_FOCAL_STEP, LARGEST_FOCAL_STEP))),
        estimate.identity + shared_step[:-1],
        rotation_matrix(frame_steps[:, :3]) @ estimate.rotations,
        estimate.translations + frame_steps[:, 3:POSE_COUNT],
        expressions,
    )

"""Joint Gauss-Newton over keyframes: one identity and focal length, a pose and an expression for each keyframe.

Residuals are reprojection errors of points on the mesh: landmarks, or dense points that an optical flow matched. Every
point is linear in identity and expression before the rigid motion, so the Jacobian is analytic. The blocks of single
keyframes are eliminated first (Schur complement), so that cost grows linearly with the number of keyframes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fitme.arrays import BoolArray, Float64Array, IndexArray
from fitme.bounded_newton import BOUND_ROUNDS, misplaced
from fitme.fit.solver.expression_bounds import free_parameters, room
from fitme.fit.solver.joint_estimate import (
    GAZE,
    POSE_COUNT,
    FreeParameters,
    JointEstimate,
    SolverSettings,
    expression_precision,
    shared_parameters,
    stepped,
    zero_padded,
)
from fitme.fit.solver.linearization import linearize, reprojection_errors, trust
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.point_targets import PointTargets


def solve_jointly(
    targets: Sequence[PointTargets],
    start: JointEstimate,
    settings: SolverSettings,
    free: FreeParameters | None = None,
    expression_priors: Float64Array | None = None,
    others: MarginalInformation | None = None,
) -> JointEstimate:
    """Levenberg-Marquardt from `start` over all keyframes of `targets`.

    `expression_priors` (N, 52) is what expressions are drawn to instead of zero, `others` what other keyframes say
    of the parameters that all share.
    """
    free = free or FreeParameters()
    model_columns = len(start.identity)
    identity_count = model_columns + max(target.known_errors.shared.shape[2] for target in targets)
    expression_count = len(GAZE) + max(target.known_errors.own.shape[2] for target in targets)
    if others is not None:
        identity_count = max(identity_count, len(others.potential) - 1)
        others = others.zero_padded(identity_count)
    estimate = zero_padded(start, identity_count, expression_count)
    priors = np.zeros_like(estimate.expressions)
    if expression_priors is not None:
        priors[:, : len(GAZE)] = expression_priors
    error_columns = [True] * (identity_count - model_columns)
    moving = np.flatnonzero([free.identity] * model_columns + error_columns + [free.focal])
    damping = settings.damping
    cost = _cost(targets, estimate, settings, priors, others)
    for _ in range(settings.iterations):
        candidate = _step(targets, estimate, settings, free, moving, priors, damping, others)
        candidate_cost = _cost(targets, candidate, settings, priors, others)
        gain = cost - candidate_cost
        if gain <= 0.0:
            damping *= 10.0
            continue
        estimate, cost, damping = candidate, candidate_cost, damping * 0.3
        if gain < settings.enough * cost:
            break
    return replace(
        estimate, identity=estimate.identity[:model_columns], expressions=estimate.expressions[:, : len(GAZE)]
    )


def marginal_information_of(
    target: PointTargets, estimate: JointEstimate, index: int, settings: SolverSettings
) -> MarginalInformation:
    """What keyframe `index` of an estimate says of identity and focal length, its pose and expression being free."""
    errors = target.known_errors
    estimate = zero_padded(estimate, len(estimate.identity) + errors.shared.shape[2], len(GAZE) + errors.own.shape[2])
    moving = np.arange(estimate.identity.shape[0] + 1)
    priors = np.zeros_like(estimate.expressions)
    frame = _frame_equations(target, estimate, index, settings, moving, priors, FreeParameters(), 0.0)
    reduced = _reduce(frame, frame.held, np.zeros(len(frame.gradient)))
    shared = shared_parameters(estimate)
    return MarginalInformation(reduced.hessian, reduced.hessian @ shared - reduced.gradient)


def _cost(
    targets: Sequence[PointTargets],
    estimate: JointEstimate,
    settings: SolverSettings,
    expression_priors: Float64Array,
    others: MarginalInformation | None,
) -> float:
    total = 0.0 if others is None else others.cost(shared_parameters(estimate))
    for k, target in enumerate(targets):
        sigma, scale = trust(target, settings)
        squared = (reprojection_errors(target, estimate, k) ** 2).sum(-1) / sigma**2
        total += float((squared / (1.0 + squared / scale**2)).sum())
    precision = expression_precision(estimate.expressions.shape[1], settings)
    total += float((precision * (estimate.expressions - expression_priors) ** 2).sum())
    total += settings.identity_weight * float((estimate.identity**2).sum())
    total += float((np.log(estimate.focal / settings.focal_prior) / settings.focal_log_sigma) ** 2)
    return total


@dataclass(frozen=True)
class _FrameEquations:
    """Damped normal equations of one keyframe: F parameters of its own, S shared ones."""

    hessian: Float64Array
    """(F, F)."""
    gradient: Float64Array
    """(F,)."""
    cross: Float64Array
    """(S, F)."""
    shared_hessian: Float64Array
    """(S, S)."""
    shared_gradient: Float64Array
    """(S,)."""
    room: Float64Array
    """(2, F) the least and the largest step that leaves no bound."""
    held: BoolArray
    """(F,) parameters that do not move, or are at a bound that they would leave."""

    def slope(self, step: Float64Array, shared_step: Float64Array) -> Float64Array:
        """(F,) gradient by its own parameters after a step of them (F,) and of the shared ones (S,)."""
        gradient: Float64Array = self.gradient + self.hessian @ step + self.cross.T @ shared_step
        return gradient


@dataclass(frozen=True)
class _Reduced:
    """Normal equations of one keyframe with its own parameters eliminated, S shared ones left."""

    hessian: Float64Array
    """(S, S)."""
    gradient: Float64Array
    """(S,)."""
    by_shared: Float64Array
    """(F, S) how its own parameters follow the shared ones; 0 for those that are held."""
    own: Float64Array
    """(F,) how they move by themselves."""

    def step(self, shared_step: Float64Array) -> Float64Array:
        """(F,) of its own parameters by that of the shared ones (S,)."""
        return self.own + self.by_shared @ shared_step


def _frame_equations(
    target: PointTargets,
    estimate: JointEstimate,
    index: int,
    settings: SolverSettings,
    moving: IndexArray,
    expression_priors: Float64Array,
    free: FreeParameters,
    damping: float,
) -> _FrameEquations:
    linear = linearize(target, estimate, index, settings, moving)
    weighted = linear.frame * linear.weights[:, None]
    hessian = weighted.T @ linear.frame
    gradient = weighted.T @ linear.residual
    prior = expression_precision(estimate.expressions.shape[1], settings)
    diagonal = np.arange(POSE_COUNT, hessian.shape[0])
    hessian[diagonal, diagonal] += prior
    gradient[POSE_COUNT:] += prior * (estimate.expressions[index] - expression_priors[index])
    held = np.ones(len(gradient), bool)
    held[free_parameters(estimate.expressions[index], gradient[POSE_COUNT:], free.expression)] = False
    hessian[np.diag_indices_from(hessian)] *= 1.0 + damping
    weighted_shared = linear.shared * linear.weights[:, None]
    return _FrameEquations(
        hessian,
        gradient,
        weighted_shared.T @ linear.frame,
        weighted_shared.T @ linear.shared,
        weighted_shared.T @ linear.residual,
        room(estimate.expressions[index], free.expression),
        held,
    )


def _reduce(equations: _FrameEquations, held: BoolArray, step: Float64Array) -> _Reduced:
    """Eliminate a keyframe's own parameters but those that are `held` (F,) at a `step` (F,)."""
    free = np.flatnonzero(~held)
    cross = equations.cross[:, free]
    gradient = equations.gradient[free] + equations.hessian[np.ix_(free, np.flatnonzero(held))] @ step[held]
    solved = np.linalg.solve(equations.hessian[np.ix_(free, free)], np.column_stack((cross.T, gradient)))
    by_shared, own = np.zeros((len(step), len(cross))), np.where(held, step, 0.0)
    by_shared[free], own[free] = -solved[:, :-1], -solved[:, -1]
    return _Reduced(
        equations.shared_hessian + cross @ by_shared[free],
        equations.shared_gradient + equations.cross @ own,
        by_shared,
        own,
    )


def _step(
    targets: Sequence[PointTargets],
    estimate: JointEstimate,
    settings: SolverSettings,
    free: FreeParameters,
    moving: IndexArray,
    expression_priors: Float64Array,
    damping: float,
    others: MarginalInformation | None,
) -> JointEstimate:
    """One damped Gauss-Newton step within the bounds of expressions, as `bounded_step` makes it."""
    frames = [
        _frame_equations(target, estimate, k, settings, moving, expression_priors, free, damping)
        for k, target in enumerate(targets)
    ]
    shared_hessian, shared_gradient = _shared_beliefs(estimate, settings, moving, others)
    held = np.stack([frame.held for frame in frames])  # (N, F)
    steps = np.zeros(held.shape)
    shared_step = np.zeros(estimate.identity.shape[0] + 1)
    least, most = np.stack([frame.room for frame in frames], 1)  # (N, F)
    for _ in range(BOUND_ROUNDS):
        reduced = [_reduce(*frame) for frame in zip(frames, held, steps, strict=True)]
        hessian = shared_hessian + np.sum([part.hessian for part in reduced], 0)
        hessian[np.diag_indices_from(hessian)] *= 1.0 + damping
        gradient = shared_gradient + np.sum([part.gradient for part in reduced], 0)
        shared_step[moving] = -np.linalg.solve(hessian, gradient)
        steps = np.stack([part.step(shared_step[moving]) for part in reduced])
        slopes = np.stack([frame.slope(step, shared_step[moving]) for frame, step in zip(frames, steps, strict=True)])
        wrong = misplaced(steps, held, slopes, least, most)
        if not wrong.any():
            break
        steps, held = np.clip(steps, least, most), held ^ wrong
    return stepped(estimate, steps, shared_step)


def _shared_beliefs(
    estimate: JointEstimate, settings: SolverSettings, moving: IndexArray, others: MarginalInformation | None
) -> tuple[Float64Array, Float64Array]:
    """Normal equations (S, S), (S,) of what is known of the shared parameters that move: their priors, and what other
    keyframes say."""
    count = estimate.identity.shape[0]
    precision = np.append(np.full(count, settings.identity_weight), settings.focal_log_sigma**-2.0)[moving]
    deviation = np.append(estimate.identity, np.log(estimate.focal / settings.focal_prior))[moving]
    hessian, gradient = np.diag(precision), precision * deviation
    if others is not None:
        hessian += others.precision[np.ix_(moving, moving)]
        gradient += others.gradient(shared_parameters(estimate))[moving]
    return hessian, gradient

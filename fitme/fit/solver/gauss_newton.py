"""Joint solve over keyframes: one identity and focal length, and a pose and an expression of each keyframe.

Residuals are reprojection errors of points on the mesh: landmarks, or dense points matched by optical flow. Every point
is linear in identity and expression before the rigid motion, so the Jacobian is analytic. The parameters of single
keyframes are eliminated first (Schur complement, as in bundle adjustment: Triggs et al., 2000, section 6.1), so that
cost grows linearly with the number of keyframes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fitme.arrays import BoolArray, Float64Array, IndexArray
from fitme.bounded_newton import pivoted_step
from fitme.fit.solver.expression_bounds import free_indices, step_bounds
from fitme.fit.solver.joint_estimate import (
    GAZE,
    POSE_COUNT,
    FreeParameters,
    JointEstimate,
    SolverSettings,
    expression_prior,
    shared_parameters,
    stepped,
    zero_padded,
)
from fitme.fit.solver.linearization import linearize, reprojection_errors, residual_scales
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.point_targets import PointTargets
from fitme.levenberg_marquardt import levenberg_marquardt


def solve_jointly(
    targets: Sequence[PointTargets],
    start: JointEstimate,
    settings: SolverSettings,
    free_parameters: FreeParameters | None = None,
    expression_priors: Float64Array | None = None,
    prior: MarginalInformation | None = None,
) -> JointEstimate:
    """Levenberg-Marquardt from `start` over all N keyframes of `targets`.

    :param free_parameters: what the solve may change; everything by default.
    :param expression_priors: (N, 52) means of the expressions' prior; zero by default.
    :param prior: marginal information about identity and focal length from keyframes outside of the solve.
    """
    free_parameters = free_parameters or FreeParameters()
    if len(start.identity) and not (free_parameters.identity or free_parameters.focal):
        # What is fixed needs no columns, and a prior about it is a constant.
        fixed = [target.at_identity(start.identity) for target in targets]
        alone = replace(start, identity=np.zeros(0))
        found = solve_jointly(fixed, alone, settings, free_parameters, expression_priors)
        return replace(found, identity=start.identity)
    model_columns = len(start.identity)
    # Observation errors are solved for along with the rest, in columns behind those of identity and expression.
    identity_count = model_columns + max(target.known_errors.shared.shape[2] for target in targets)
    expression_count = len(GAZE) + max(target.known_errors.own.shape[2] for target in targets)
    if prior is not None:
        identity_count = max(identity_count, len(prior.potential) - 1)
        prior = prior.zero_padded(identity_count)
    estimate = zero_padded(start, identity_count, expression_count)
    means = np.zeros_like(estimate.expressions)
    if expression_priors is not None:
        means[:, : len(GAZE)] = expression_priors
    free_errors = [True] * (identity_count - model_columns)
    free_shared = [free_parameters.identity] * model_columns + free_errors + [free_parameters.focal]
    problem = _JointProblem(targets, settings, free_parameters, np.flatnonzero(free_shared), means, prior)
    found = levenberg_marquardt(
        problem.evaluate(estimate),
        problem.step,
        iterations=settings.iterations,
        damping=settings.damping,
        smallest_gain=settings.smallest_gain,
    ).estimate
    return replace(found, identity=found.identity[:model_columns], expressions=found.expressions[:, : len(GAZE)])


def marginal_information_of(
    target: PointTargets, estimate: JointEstimate, index: int, settings: SolverSettings
) -> MarginalInformation:
    """Marginal information of keyframe `index` about identity and focal length, its pose and expression eliminated;
    linearised at an estimate."""
    errors = target.known_errors
    estimate = zero_padded(estimate, len(estimate.identity) + errors.shared.shape[2], len(GAZE) + errors.own.shape[2])
    every = np.arange(estimate.identity.shape[0] + 1)
    problem = _JointProblem([target], settings, FreeParameters(), every, np.zeros_like(estimate.expressions), None)
    frame = problem.frame_equations(target, estimate, index, 0.0)
    reduced = _reduce(frame, frame.active, np.zeros(len(frame.gradient)))
    shared = shared_parameters(estimate)
    return MarginalInformation(reduced.hessian, reduced.hessian @ shared - reduced.gradient)


@dataclass(frozen=True)
class _Evaluated:
    """An estimate, with columns for observation errors, and its cost."""

    estimate: JointEstimate
    cost: float


@dataclass(frozen=True)
class _FrameEquations:
    """Damped normal equations of one keyframe: F parameters of its own, S free shared ones."""

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
    bounds: Float64Array
    """(2, F) smallest and largest step."""
    active: BoolArray
    """(F,) parameters that do not move, or lie at a bound that the gradient drives them against."""

    def gradient_after(self, step: Float64Array, shared_step: Float64Array) -> Float64Array:
        """(F,) gradient by its own parameters after a step of them (F,) and of the shared ones (S,)."""
        gradient: Float64Array = self.gradient + self.hessian @ step + self.cross.T @ shared_step
        return gradient


@dataclass(frozen=True)
class _Reduced:
    """Normal equations of one keyframe with its own parameters eliminated, S shared ones left."""

    hessian: Float64Array
    """(S, S) Schur complement."""
    gradient: Float64Array
    """(S,)."""
    by_shared: Float64Array
    """(F, S) derivative of its own step by the shared one; 0 for active parameters."""
    own: Float64Array
    """(F,) its own step where the shared one is zero."""

    def step(self, shared_step: Float64Array) -> Float64Array:
        """(F,) step of its own parameters, given that of the shared ones (S,)."""
        return self.own + self.by_shared @ shared_step


@dataclass(frozen=True)
class _JointProblem:
    """Keyframes with point targets, as a problem of `levenberg_marquardt`."""

    targets: Sequence[PointTargets]
    settings: SolverSettings
    free_parameters: FreeParameters
    free_shared: IndexArray
    """(S,) indices of the free ones among identity, shared observation errors and log focal length."""
    expression_means: Float64Array
    """(N, 52 + E) means of the prior of expressions and of own observation errors."""
    prior: MarginalInformation | None
    """Marginal information of keyframes outside of the solve."""

    def evaluate(self, estimate: JointEstimate) -> _Evaluated:
        """An estimate with its cost: robust squared residuals (Geman-McClure) and squared deviations from priors."""
        settings = self.settings
        total = 0.0 if self.prior is None else self.prior.cost(shared_parameters(estimate))
        for k, target in enumerate(self.targets):
            sigma, scale = residual_scales(target, settings)
            squared = (reprojection_errors(target, estimate, k) ** 2).sum(-1) / sigma**2
            total += float((squared / (1.0 + squared / scale**2)).sum())
            precision, mean = expression_prior(self.expression_means[k], settings, target.known_expression)
            total += float((precision * (estimate.expressions[k] - mean) ** 2).sum())
        total += settings.identity_weight * float((estimate.identity**2).sum())
        total += float((np.log(estimate.focal / settings.focal_prior) / settings.focal_log_sigma) ** 2)
        return _Evaluated(estimate, total)

    def step(self, at: _Evaluated, damping: float) -> _Evaluated:
        """One damped Gauss-Newton step within the bounds of expressions."""
        estimate = at.estimate
        frames = [self.frame_equations(target, estimate, k, damping) for k, target in enumerate(self.targets)]
        prior_hessian, prior_gradient = self._shared_prior(estimate)
        shared_step = np.zeros(estimate.identity.shape[0] + 1)

        def solve(active: BoolArray, steps: Float64Array) -> tuple[Float64Array, Float64Array]:
            # Eliminate each keyframe's own free parameters, solve for the shared ones, and substitute back.
            reduced = [_reduce(*frame) for frame in zip(frames, active, steps, strict=True)]
            hessian = prior_hessian + np.sum([part.hessian for part in reduced], 0)
            hessian[np.diag_indices_from(hessian)] *= 1.0 + damping
            gradient = prior_gradient + np.sum([part.gradient for part in reduced], 0)
            step = -np.linalg.solve(hessian, gradient)
            shared_step[self.free_shared] = step
            steps = np.stack([part.step(step) for part in reduced])
            gradients = [frame.gradient_after(own, step) for frame, own in zip(frames, steps, strict=True)]
            return steps, np.stack(gradients)

        lower, upper = np.stack([frame.bounds for frame in frames], 1)  # (N, F)
        steps = pivoted_step(solve, np.stack([frame.active for frame in frames]), lower, upper)
        return self.evaluate(stepped(estimate, steps, shared_step))

    def frame_equations(
        self, target: PointTargets, estimate: JointEstimate, index: int, damping: float
    ) -> _FrameEquations:
        """Normal equations of keyframe `index`, its priors included, damped on its own diagonal."""
        linear = linearize(target, estimate, index, self.settings, self.free_shared)
        weighted = linear.frame * linear.weights[:, None]
        hessian = weighted.T @ linear.frame
        gradient = weighted.T @ linear.residual
        precision, mean = expression_prior(self.expression_means[index], self.settings, target.known_expression)
        diagonal = np.arange(POSE_COUNT, hessian.shape[0])
        hessian[diagonal, diagonal] += precision
        gradient[POSE_COUNT:] += precision * (estimate.expressions[index] - mean)
        expression, expression_free = estimate.expressions[index], self.free_parameters.expression
        active = np.ones(len(gradient), bool)
        active[free_indices(expression, gradient[POSE_COUNT:], expression_free)] = False
        hessian[np.diag_indices_from(hessian)] *= 1.0 + damping
        weighted_shared = linear.shared * linear.weights[:, None]
        return _FrameEquations(
            hessian,
            gradient,
            weighted_shared.T @ linear.frame,
            weighted_shared.T @ linear.shared,
            weighted_shared.T @ linear.residual,
            step_bounds(expression, expression_free),
            active,
        )

    def _shared_prior(self, estimate: JointEstimate) -> tuple[Float64Array, Float64Array]:
        """Normal equations (S, S), (S,) of the priors of the free shared parameters."""
        settings, count, free = self.settings, estimate.identity.shape[0], self.free_shared
        precision = np.append(np.full(count, settings.identity_weight), settings.focal_log_sigma**-2.0)[free]
        deviation = np.append(estimate.identity, np.log(estimate.focal / settings.focal_prior))[free]
        hessian, gradient = np.diag(precision), precision * deviation
        if self.prior is not None:
            hessian += self.prior.precision[np.ix_(free, free)]
            gradient += self.prior.gradient(shared_parameters(estimate))[free]
        return hessian, gradient


def _reduce(equations: _FrameEquations, active: BoolArray, step: Float64Array) -> _Reduced:
    """Eliminate a keyframe's own parameters, those of the `active` set (F,) fixed at a `step` (F,)."""
    free = np.flatnonzero(~active)
    cross = equations.cross[:, free]
    gradient = equations.gradient[free] + equations.hessian[np.ix_(free, np.flatnonzero(active))] @ step[active]
    solved = np.linalg.solve(equations.hessian[np.ix_(free, free)], np.column_stack((cross.T, gradient)))
    by_shared, own = np.zeros((len(step), len(cross))), np.where(active, step, 0.0)
    by_shared[free], own[free] = -solved[:, :-1], -solved[:, -1]
    return _Reduced(
        equations.shared_hessian + cross @ by_shared[free],
        equations.shared_gradient + equations.cross @ own,
        by_shared,
        own,
    )

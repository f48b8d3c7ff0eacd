"""Structure from motion on the morphable model: surface points tracked over keyframes, their places on it uncertain.

A match between an image and a render locates a point of the *texture*, and where the texture lies on the mesh is known
only as well as the shape on which it was sampled. That tangential displacement along the surface is common to all
keyframes, so each track has two displacement parameters of its own, under a weak prior. They are eliminated first
(Schur complement, 2 x 2 for each track), which couples the keyframes; what is left, all poses and expressions, identity
and focal length, is one dense system. A track seen T times gives 2T - 2 equations that do not depend on its assumed
place.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fitme.arrays import Float64Array, IndexArray
from fitme.bounded_newton import bounded_step
from fitme.fit.solver.expression_bounds import free_indices, step_bounds
from fitme.fit.solver.joint_estimate import (
    POSE_COUNT,
    JointEstimate,
    SolverSettings,
    expression_prior,
    shared_parameters,
    stepped,
    zero_padded,
)
from fitme.fit.solver.linearization import linearize, reprojection_errors, residual_scales
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.point_targets import MeshPoints, PointTargets
from fitme.levenberg_marquardt import levenberg_marquardt

UNSEEN_PRECISION = 1e-6
"""Added to the diagonal of keyframes' own parameters when they are eliminated from the equations of tracks alone: a
keyframe without tracks has none there."""


@dataclass(frozen=True)
class Tracks:
    """P points of the surface that are tracked over keyframes."""

    points: MeshPoints
    tangents: Float64Array
    """(P, 3, 2) unit directions along the surface, model space."""


@dataclass(frozen=True)
class TrackView:
    """Matches of M tracks in one keyframe."""

    index: IndexArray
    """(M,) which tracks; none twice."""
    pixels: Float64Array
    """(M, 2)."""
    whitening: Float64Array
    """(M, 2, 2) 1/pixels, W: turns errors into standard normal ones, whose covariance is (W^T W)^-1. Along an edge of
    the image a match is less certain than across it."""


@dataclass(frozen=True)
class TrackSolution:
    """Joint solution of tracks and landmarks."""

    estimate: JointEstimate
    tangential_displacements: Float64Array
    """(P, 2) metres along the tracks' tangents."""
    information: MarginalInformation
    """Marginal information of the tracks alone about identity and log focal length."""


@dataclass(frozen=True)
class NormalEquations:
    """Normal equations of all keyframes and tracks at one estimate.

    Unknowns are each keyframe's free parameters, then the S shared ones (n in all), then the tangential displacements.
    """

    free: tuple[IndexArray, ...]
    """Which of its parameters (58 and its observation errors) each keyframe has free."""
    hessian: Float64Array
    """(n, n)."""
    gradient: Float64Array
    """(n,)."""
    displacement_hessian: Float64Array
    """(P, 2, 2)."""
    displacement_gradient: Float64Array
    """(P, 2)."""
    coupling: Float64Array
    """(P, 2, n) between displacements and the rest."""


@dataclass(frozen=True)
class _EliminatedDisplacements:
    """Normal equations once the tangential displacements are eliminated."""

    hessian: Float64Array
    """(n, n) Schur complement."""
    gradient: Float64Array
    """(n,)."""
    inverse_root: Float64Array
    """(P, 2, 2) inverse L^-1 of the lower Cholesky root of the displacements' damped Hessian L L^T."""
    whitened: Float64Array
    """(P, 2, n + 1) L^-1 times coupling and displacement gradient."""

    def displacement_steps(self, step: Float64Array) -> Float64Array:
        """(P, 2) steps of the displacements, given that of everything else (n,)."""
        right = self.whitened[..., :-1] @ step[:, None] + self.whitened[..., -1:]
        return np.asarray((-self.inverse_root.transpose(0, 2, 1) @ right)[..., 0])


@dataclass(frozen=True)
class _Rows:
    """First order of one keyframe's errors, whitened and robustly weighted; R landmarks and then M tracks."""

    frame: Float64Array
    """(R + M, 2, 58 or more)."""
    shared: Float64Array
    """(R + M, 2, S)."""
    displacement: Float64Array
    """(M, 2, 2)."""
    residual: Float64Array
    """(R + M, 2)."""


@dataclass(frozen=True)
class _Evaluated:
    """An estimate with tangential displacements (P, 2) in metres, and its cost."""

    estimate: JointEstimate
    displacements: Float64Array
    cost: float


class TrackProblem:
    """Keyframes with tracks and landmarks, and priors.

    Coefficients of the landmarks' observation errors (`PointErrors`) are found along with the rest: estimates inside
    have columns for them.
    """

    def __init__(
        self,
        tracks: Tracks,
        views: Sequence[TrackView],
        landmarks: Sequence[PointTargets],
        settings: SolverSettings,
        tangential_sigma_m: float,
        prior: MarginalInformation | None = None,
    ) -> None:
        """
        :param views: the tracks of each keyframe.
        :param landmarks: points without tangential displacement of each keyframe.
        :param tangential_sigma_m: standard deviation of a tangential displacement, metres.
        :param prior: marginal information of other frames on identity and focal length.
        """
        self._tangents = tracks.tangents
        self._views = views
        self._settings = settings
        self._displacement_precision = tangential_sigma_m**-2.0
        self._targets = [
            _concatenated(target, tracks.points, view) for target, view in zip(landmarks, views, strict=True)
        ]
        errors = [target.known_errors for target in self._targets]
        self._identity_count = tracks.points.identity.shape[2]
        identity_count = self._identity_count + max(error.shared.shape[2] for error in errors)
        if prior is not None:
            identity_count = max(identity_count, len(prior.potential) - 1)
        expression_count = tracks.points.expression.shape[2] + max(error.own.shape[2] for error in errors)
        self._columns = identity_count, expression_count
        self._prior = None if prior is None else prior.zero_padded(identity_count)
        self._whitening, self._limits = [], []
        for target, view in zip(landmarks, views, strict=True):
            sigma, limit = residual_scales(target, settings)
            self._whitening.append(np.concatenate([np.eye(2) / sigma[:, None, None], view.whitening]))
            self._limits.append(np.append(limit, np.full(len(view.index), settings.robust_scale)))

    def solve(self, start: JointEstimate) -> TrackSolution:
        """Levenberg-Marquardt from `start` with zero displacements, for all of the settings' iterations."""
        padded = zero_padded(start, *self._columns)
        found = levenberg_marquardt(
            self._evaluate(padded, np.zeros((len(self._tangents), 2))),
            lambda at, damping: self._evaluate(*self.step(at.estimate, at.displacements, damping)),
            iterations=self._settings.iterations,
            damping=self._settings.damping,
        )
        information = self._information(found.estimate, found.displacements)
        identity, expressions = len(start.identity), start.expressions.shape[1]
        estimate = replace(
            found.estimate,
            identity=found.estimate.identity[:identity],
            expressions=found.estimate.expressions[:, :expressions],
        )
        return TrackSolution(estimate, found.displacements, information)

    def information(self, start: JointEstimate) -> MarginalInformation:
        """Marginal information of the tracks alone, linearised at `start` with zero displacements."""
        return self._information(zero_padded(start, *self._columns), np.zeros((len(self._tangents), 2)))

    def cost(self, estimate: JointEstimate, displacements: Float64Array) -> float:
        """Robust squared residuals (Geman-McClure) and squared deviations from priors; `displacements` are (P, 2)
        metres."""
        settings = self._settings
        total: float = self._displacement_precision * float((displacements**2).sum())
        for k, (whitening, limit) in enumerate(zip(self._whitening, self._limits, strict=True)):
            error = whitening @ reprojection_errors(self._displaced(k, displacements), estimate, k)[..., None]
            squared = (error**2).sum((1, 2))
            total += float((squared / (1.0 + squared / limit**2)).sum())
            precision, mean = self._expression_prior(k)
            total += float((precision * (estimate.expressions[k] - mean) ** 2).sum())
        total += settings.identity_weight * float((estimate.identity**2).sum())
        total += float((np.log(estimate.focal / settings.focal_prior) / settings.focal_log_sigma) ** 2)
        if self._prior is not None:
            total += self._prior.cost(shared_parameters(estimate))
        return total

    def step(
        self, estimate: JointEstimate, displacements: Float64Array, damping: float
    ) -> tuple[JointEstimate, Float64Array]:
        """Estimate and displacements (P, 2) after one damped Gauss-Newton step within the bounds of expressions."""
        normal = self.normal_equations(estimate, displacements)
        reduced = _eliminate_displacements(normal, damping)
        hessian = reduced.hessian
        hessian[np.diag_indices_from(hessian)] += damping * normal.hessian.diagonal()
        own_count = sum(map(len, normal.free))
        bounds = [step_bounds(estimate.expressions[k], expression_free=True)[:, f] for k, f in enumerate(normal.free)]
        unbounded = np.full((2, len(reduced.gradient) - own_count), [[-np.inf], [np.inf]])
        step = bounded_step(hessian, reduced.gradient, *np.concatenate([*bounds, unbounded], 1))
        # Scatter the free parameters' steps; what is not free does not move.
        frame_steps = np.zeros((len(normal.free), POSE_COUNT + estimate.expressions.shape[1]))
        start = 0
        for k, free in enumerate(normal.free):
            frame_steps[k, free] = step[start : start + len(free)]
            start += len(free)
        moved = stepped(estimate, frame_steps, step[own_count:])
        return moved, displacements + reduced.displacement_steps(step)

    def _expression_prior(self, index: int) -> tuple[Float64Array, Float64Array]:
        """Precision and mean of the prior of the expression of keyframe `index` and of its own observation errors."""
        return expression_prior(np.zeros(self._columns[1]), self._settings, self._targets[index].known_expression)

    def normal_equations(
        self, estimate: JointEstimate, displacements: Float64Array, with_landmarks: bool = True
    ) -> NormalEquations:
        """Gauss-Newton's normal equations, priors included, at an estimate and displacements (P, 2) in metres."""
        rows = [self._rows(k, estimate, displacements, with_landmarks) for k in range(len(self._views))]
        free = []
        for k, part in enumerate(rows):
            slope = np.einsum("rxf,rx->f", part.frame[..., POSE_COUNT:], part.residual)
            precision, mean = self._expression_prior(k)
            slope = slope + precision * (estimate.expressions[k] - mean)
            free.append(free_indices(estimate.expressions[k], slope, expression_free=True))
        starts = np.cumsum([0, *map(len, free)])
        size = int(starts[-1]) + self._columns[0] + 1
        shared = np.arange(starts[-1], size)
        hessian, gradient = np.zeros((size, size)), np.zeros(size)
        displacement_hessian = np.tile(self._displacement_precision * np.eye(2), (len(displacements), 1, 1))
        displacement_gradient = self._displacement_precision * displacements
        coupling = np.zeros((len(displacements), 2, size))
        for k, part in enumerate(rows):
            # Keyframes couple with the shared parameters and with displacements, never with one another.
            own = np.arange(starts[k], starts[k + 1])
            columns = np.concatenate([own, shared])
            jacobian = np.concatenate([part.frame[..., free[k]], part.shared], -1)  # (R + M, 2, f + S)
            flat = jacobian.reshape(-1, len(columns))
            hessian[np.ix_(columns, columns)] += flat.T @ flat
            gradient[columns] += flat.T @ part.residual.ravel()
            chosen, (precision, mean) = free[k][POSE_COUNT:] - POSE_COUNT, self._expression_prior(k)
            hessian[own[POSE_COUNT:], own[POSE_COUNT:]] += precision[chosen]
            gradient[own[POSE_COUNT:]] += precision[chosen] * (estimate.expressions[k] - mean)[chosen]

            index, tail = self._views[k].index, len(flat) // 2 - len(self._views[k].index)  # landmarks come first
            by_displacement = part.displacement.transpose(0, 2, 1)  # (M, 2, 2)
            displacement_hessian[index] += by_displacement @ part.displacement
            displacement_gradient[index] += (by_displacement @ part.residual[tail:, :, None])[..., 0]
            product = by_displacement @ jacobian[tail:]  # (M, 2, f + S)
            coupling[index, :, starts[k] : starts[k + 1]] = product[..., : len(own)]
            coupling[index, :, starts[-1] :] += product[..., len(own) :]
        prior_hessian, prior_gradient = self._shared_prior(estimate)
        hessian[np.ix_(shared, shared)] += prior_hessian
        gradient[shared] += prior_gradient
        return NormalEquations(tuple(free), hessian, gradient, displacement_hessian, displacement_gradient, coupling)

    def _evaluate(self, estimate: JointEstimate, displacements: Float64Array) -> _Evaluated:
        return _Evaluated(estimate, displacements, self.cost(estimate, displacements))

    def _information(self, estimate: JointEstimate, displacements: Float64Array) -> MarginalInformation:
        """Marginal information of the tracks alone about identity and log focal length: landmarks, priors and other
        keyframes are left out, poses, expressions and displacements eliminated."""
        normal = self.normal_equations(estimate, displacements, with_landmarks=False)
        reduced = _eliminate_displacements(normal, 0.0)
        own = len(reduced.gradient) - estimate.identity.shape[0] - 1
        prior_hessian, prior_gradient = self._shared_prior(estimate)
        own_hessian = reduced.hessian[:own, :own]
        own_hessian[np.diag_indices_from(own_hessian)] += UNSEEN_PRECISION
        cross = reduced.hessian[own:, :own]
        solved = np.linalg.solve(own_hessian, np.column_stack((cross.T, reduced.gradient[:own])))  # (own, S + 1)
        precision = reduced.hessian[own:, own:] - cross @ solved[:, :-1] - prior_hessian
        slope = reduced.gradient[own:] - cross @ solved[:, -1] - prior_gradient
        shared = shared_parameters(estimate)
        # Tracks have no observation errors: columns of the landmarks' shared ones are left out.
        kept = np.append(np.arange(self._identity_count), len(shared) - 1)
        precision = precision[np.ix_(kept, kept)]
        return MarginalInformation(precision, precision @ shared[kept] - slope[kept])

    def _shared_prior(self, estimate: JointEstimate) -> tuple[Float64Array, Float64Array]:
        """Hessian (S, S) and gradient (S,) of the priors of identity and log focal length."""
        settings, shared = self._settings, shared_parameters(estimate)
        scale = np.append(np.full(len(estimate.identity), settings.identity_weight), settings.focal_log_sigma**-2.0)
        centre = np.append(np.zeros(len(estimate.identity)), np.log(settings.focal_prior))
        hessian, gradient = np.diag(scale), scale * (shared - centre)
        if self._prior is not None:
            hessian = hessian + self._prior.precision
            gradient = gradient + self._prior.gradient(shared)
        return hessian, gradient

    def _rows(self, k: int, estimate: JointEstimate, displacements: Float64Array, with_landmarks: bool) -> _Rows:
        every = np.arange(len(estimate.identity) + 1)
        linear = linearize(self._displaced(k, displacements), estimate, k, self._settings, every)
        whitening = self._whitening[k]
        count = len(whitening)
        residual = (whitening @ linear.residual.reshape(count, 2, 1))[..., 0]
        root = 1.0 / (1.0 + (residual**2).sum(-1) / self._limits[k] ** 2)  # of the Geman-McClure weights
        index = self._views[k].index
        tail = count - len(index)
        if not with_landmarks:
            root[:tail] = 0.0
        white = root[:, None, None] * whitening
        return _Rows(
            white @ linear.frame.reshape(count, 2, -1),
            white @ linear.shared.reshape(count, 2, -1),
            white[tail:] @ linear.by_model[tail:] @ self._tangents[index],
            root[:, None] * residual,
        )

    def _displaced(self, k: int, displacements: Float64Array) -> PointTargets:
        """Targets of keyframe `k`: its landmarks, then its tracks, moved by displacements (P, 2) in metres."""
        target, index = self._targets[k], self._views[k].index
        mean = target.points.mean.copy()
        mean[len(mean) - len(index) :] += (self._tangents[index] @ displacements[index, :, None])[..., 0]
        return replace(target, points=replace(target.points, mean=mean))


def _eliminate_displacements(normal: NormalEquations, damping: float) -> _EliminatedDisplacements:
    damped = normal.displacement_hessian + damping * normal.displacement_hessian * np.eye(2)
    inverse_root = np.linalg.inv(np.linalg.cholesky(damped))
    whitened = inverse_root @ np.concatenate([normal.coupling, normal.displacement_gradient[..., None]], -1)
    flat = whitened.reshape(-1, whitened.shape[-1])
    product = flat.T @ flat
    return _EliminatedDisplacements(
        normal.hessian - product[:-1, :-1], normal.gradient - product[:-1, -1], inverse_root, whitened
    )


def _concatenated(landmarks: PointTargets, points: MeshPoints, view: TrackView) -> PointTargets:
    """Landmarks, then the tracks of a view at zero displacement, whose standard deviations are placeholders."""
    index = view.index
    tracked = MeshPoints(points.mean[index], points.identity[index], points.expression[index])
    return landmarks.concatenated(PointTargets(tracked, view.pixels, np.ones(len(index)), landmarks.camera))

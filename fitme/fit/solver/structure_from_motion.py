"""Structure from motion on the morphable model: surface points tracked over keyframes, their places on it unknown.

A picture that is matched with a render tells where a point of the *texture* lies, and where the texture lies on the
mesh is known only as well as the shape that it was sampled on. That slip along the surface is the same in all
keyframes, so each track has two tangential slip parameters of its own, under a weak prior. They are eliminated first
(Schur complement, 2 x 2 for each track), which couples the keyframes; what is left, all poses and expressions, identity
and focal length, is one dense system. A track seen T times says 2T - 2 things that do not depend on where it was
believed to lie.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fitme.arrays import Float64Array, IndexArray
from fitme.bounded_newton import bounded_step
from fitme.fit.solver.expression_bounds import free_parameters, room
from fitme.fit.solver.joint_estimate import (
    POSE_COUNT,
    JointEstimate,
    SolverSettings,
    expression_precision,
    shared_parameters,
    stepped,
    zero_padded,
)
from fitme.fit.solver.linearization import linearize, reprojection_errors, trust
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.point_targets import MeshPoints, PointTargets

UNSEEN_PRECISION = 1e-6
"""Added to parameters of keyframes when they are eliminated from what tracks alone say: some may be seen by none."""


@dataclass(frozen=True)
class Tracks:
    """Points of the surface that are looked for in keyframes, P of them."""

    points: MeshPoints
    tangents: Float64Array
    """(P, 3, 2) unit directions along the surface, model space."""


@dataclass(frozen=True)
class TrackView:
    """Where one keyframe shows tracks, M of them."""

    index: IndexArray
    """(M,) which tracks; none twice."""
    pixels: Float64Array
    """(M, 2)."""
    whitening: Float64Array
    """(M, 2, 2) 1/pixels: turns errors into standard normal ones. Their covariance is (W^T W)^-1: along an edge of the
    picture a match says less than across it."""


@dataclass(frozen=True)
class TrackSolution:
    """What tracks and anchors say together."""

    estimate: JointEstimate
    tangential_displacements: Float64Array
    """(P, 2) metres along the tracks' tangents."""
    evidence: MarginalInformation
    """What the tracks alone say of identity and log focal length."""


@dataclass(frozen=True)
class NormalEquations:
    """Of all keyframes and tracks at one estimate. Unknowns: each keyframe's free parameters, then the S shared ones
    (n together), then slips."""

    free: tuple[IndexArray, ...]
    """Which of its 58 parameters each keyframe has free."""
    hessian: Float64Array
    """(n, n)."""
    gradient: Float64Array
    """(n,)."""
    slip_hessian: Float64Array
    """(P, 2, 2)."""
    slip_gradient: Float64Array
    """(P, 2)."""
    coupling: Float64Array
    """(P, 2, n) between slips and the rest."""


@dataclass(frozen=True)
class _Rows:
    """First order of one keyframe's errors, whitened and robustly weighted; R anchors and tracks, M of them tracks."""

    frame: Float64Array
    """(R, 2, 58 or more)."""
    shared: Float64Array
    """(R, 2, S)."""
    tangential_displacement: Float64Array
    """(M, 2, 2)."""
    residual: Float64Array
    """(R, 2)."""


class TrackProblem:
    """Keyframes with tracks and anchors, and what is believed before they are looked at.

    What anchors err together (`PointErrors`) is found along with the rest: estimates inside have columns for it.
    """

    def __init__(
        self,
        tracks: Tracks,
        views: Sequence[TrackView],
        anchors: Sequence[PointTargets],
        settings: SolverSettings,
        tangential_sigma_m: float,
        others: MarginalInformation | None = None,
    ) -> None:
        """`views` and `anchors`, points that do not slip, have an entry for each keyframe. `tangential_sigma_m` is the
        standard deviation of a slip, `others` what is known otherwise of identity and focal length."""
        self._tangents = tracks.tangents
        self._views = views
        self._settings = settings
        self._slip_precision = tangential_sigma_m**-2.0
        self._targets = [
            _concatenated(anchor, tracks.points, view) for anchor, view in zip(anchors, views, strict=True)
        ]
        errors = [target.known_errors for target in self._targets]
        self._identity_count = tracks.points.identity.shape[2]
        identity_count = self._identity_count + max(error.shared.shape[2] for error in errors)
        if others is not None:
            identity_count = max(identity_count, len(others.potential) - 1)
        expression_count = tracks.points.expression.shape[2] + max(error.own.shape[2] for error in errors)
        self._columns = identity_count, expression_count
        self._elsewhere = None if others is None else others.zero_padded(identity_count)
        self._whitening, self._limits = [], []
        for anchor, view in zip(anchors, views, strict=True):
            sigma, limit = trust(anchor, settings)
            self._whitening.append(np.concatenate([np.eye(2) / sigma[:, None, None], view.whitening]))
            self._limits.append(np.append(limit, np.full(len(view.index), settings.robust_scale)))

    def solve(self, start: JointEstimate) -> TrackSolution:
        """Levenberg-Marquardt from `start`, where no track has slipped."""
        estimate, tangential_displacements = zero_padded(start, *self._columns), np.zeros((len(self._tangents), 2))
        damping = self._settings.damping
        cost = self.cost(estimate, tangential_displacements)
        for _ in range(self._settings.iterations):
            candidate, slipped = self.step(estimate, tangential_displacements, damping)
            candidate_cost = self.cost(candidate, slipped)
            if candidate_cost < cost:
                estimate, tangential_displacements, cost, damping = candidate, slipped, candidate_cost, damping * 0.3
            else:
                damping *= 10.0
        evidence = self.evidence(estimate, tangential_displacements)
        identity, expressions = len(start.identity), start.expressions.shape[1]
        found = replace(
            estimate, identity=estimate.identity[:identity], expressions=estimate.expressions[:, :expressions]
        )
        return TrackSolution(found, tangential_displacements, evidence)

    def told(self, start: JointEstimate) -> MarginalInformation:
        """What the tracks alone would say if the solution were near `start`."""
        return self.evidence(zero_padded(start, *self._columns), np.zeros((len(self._tangents), 2)))

    def cost(self, estimate: JointEstimate, tangential_displacements: Float64Array) -> float:
        """Robust squared deviations of everything; `tangential_displacements` are (P, 2) metres."""
        settings = self._settings
        total: float = self._slip_precision * float((tangential_displacements**2).sum())
        for k, (whitening, limit) in enumerate(zip(self._whitening, self._limits, strict=True)):
            error = whitening @ reprojection_errors(self._slipped(k, tangential_displacements), estimate, k)[..., None]
            squared = (error**2).sum((1, 2))
            total += float((squared / (1.0 + squared / limit**2)).sum())
        total += float((expression_precision(self._columns[1], settings) * estimate.expressions**2).sum())
        total += settings.identity_weight * float((estimate.identity**2).sum())
        total += float((np.log(estimate.focal / settings.focal_prior) / settings.focal_log_sigma) ** 2)
        if self._elsewhere is not None:
            total += self._elsewhere.cost(shared_parameters(estimate))
        return total

    def step(
        self, estimate: JointEstimate, tangential_displacements: Float64Array, damping: float
    ) -> tuple[JointEstimate, Float64Array]:
        """One damped Gauss-Newton step within the bounds of expressions, as `bounded_step` makes it."""
        normal = self.normal_equations(estimate, tangential_displacements)
        reduced, gradient, unroot, white = _without_slips(normal, damping)
        reduced[np.diag_indices_from(reduced)] += damping * normal.hessian.diagonal()
        rooms = [room(estimate.expressions[k], expression_free=True)[:, free] for k, free in enumerate(normal.free)]
        shared = np.full((2, len(gradient) - sum(map(len, normal.free))), [[-np.inf], [np.inf]])
        move = bounded_step(reduced, gradient, *np.concatenate([*rooms, shared], 1))
        frame_steps = np.zeros((len(normal.free), POSE_COUNT + estimate.expressions.shape[1]))
        start = 0
        for k, free in enumerate(normal.free):
            frame_steps[k, free] = move[start : start + len(free)]
            start += len(free)
        slip_steps = -unroot.transpose(0, 2, 1) @ (white[..., :-1] @ move[:, None] + white[..., -1:])
        return stepped(estimate, frame_steps, move[start:]), tangential_displacements + slip_steps[..., 0]

    def normal_equations(
        self, estimate: JointEstimate, tangential_displacements: Float64Array, anchored: bool = True
    ) -> NormalEquations:
        """Gauss-Newton's, priors included, at an estimate and slips (P, 2) in metres; without anchors if not
        `anchored`."""
        rows = [self._rows(k, estimate, tangential_displacements, anchored) for k in range(len(self._views))]
        prior = expression_precision(self._columns[1], self._settings)
        free = []
        for k, part in enumerate(rows):
            slope = (
                np.einsum("rxf,rx->f", part.frame[..., POSE_COUNT:], part.residual) + prior * estimate.expressions[k]
            )
            free.append(free_parameters(estimate.expressions[k], slope, expression_free=True))
        starts = np.cumsum([0, *map(len, free)])
        size = int(starts[-1]) + self._columns[0] + 1
        shared = np.arange(starts[-1], size)
        hessian, gradient = np.zeros((size, size)), np.zeros(size)
        slip_hessian = np.tile(self._slip_precision * np.eye(2), (len(tangential_displacements), 1, 1))
        slip_gradient = self._slip_precision * tangential_displacements
        coupling = np.zeros((len(tangential_displacements), 2, size))
        for k, part in enumerate(rows):
            own = np.arange(starts[k], starts[k + 1])
            columns = np.concatenate([own, shared])
            jacobian = np.concatenate([part.frame[..., free[k]], part.shared], -1)  # (R, 2, f + S)
            flat = jacobian.reshape(-1, len(columns))
            hessian[np.ix_(columns, columns)] += flat.T @ flat
            gradient[columns] += flat.T @ part.residual.ravel()
            chosen = free[k][POSE_COUNT:] - POSE_COUNT
            hessian[own[POSE_COUNT:], own[POSE_COUNT:]] += prior[chosen]
            gradient[own[POSE_COUNT:]] += prior[chosen] * estimate.expressions[k][chosen]

            index, tail = self._views[k].index, len(flat) // 2 - len(self._views[k].index)  # anchors come first
            by_slip = part.tangential_displacement.transpose(0, 2, 1)  # (M, 2, 2)
            slip_hessian[index] += by_slip @ part.tangential_displacement
            slip_gradient[index] += (by_slip @ part.residual[tail:, :, None])[..., 0]
            seen = by_slip @ jacobian[tail:]  # (M, 2, f + S)
            coupling[index, :, starts[k] : starts[k + 1]] = seen[..., : len(own)]
            coupling[index, :, starts[-1] :] += seen[..., len(own) :]
        precision, slope = self._beliefs(estimate)
        hessian[np.ix_(shared, shared)] += precision
        gradient[shared] += slope
        return NormalEquations(tuple(free), hessian, gradient, slip_hessian, slip_gradient, coupling)

    def evidence(self, estimate: JointEstimate, tangential_displacements: Float64Array) -> MarginalInformation:
        """What the tracks alone say of identity and log focal length, everything else being free; anchors, priors and
        other keyframes are left out."""
        normal = self.normal_equations(estimate, tangential_displacements, anchored=False)
        reduced, gradient, _, _ = _without_slips(normal, 0.0)
        own = len(gradient) - estimate.identity.shape[0] - 1
        precision, slope = self._beliefs(estimate)
        free = reduced[:own, :own]
        free[np.diag_indices_from(free)] += UNSEEN_PRECISION
        cross = reduced[own:, :own]
        solved = np.linalg.solve(free, np.column_stack((cross.T, gradient[:own])))  # (own, S + 1)
        left = reduced[own:, own:] - cross @ solved[:, :-1] - precision
        rest = gradient[own:] - cross @ solved[:, -1] - slope
        shared = shared_parameters(estimate)
        said = np.append(np.arange(self._identity_count), len(shared) - 1)  # not of what anchors err together
        left = left[np.ix_(said, said)]
        return MarginalInformation(left, left @ shared[said] - rest[said])

    def _beliefs(self, estimate: JointEstimate) -> tuple[Float64Array, Float64Array]:
        """Precision (S, S) of identity and log focal length by priors and other keyframes, and the gradient (S,)."""
        settings, shared = self._settings, shared_parameters(estimate)
        scale = np.append(np.full(len(estimate.identity), settings.identity_weight), settings.focal_log_sigma**-2.0)
        centre = np.append(np.zeros(len(estimate.identity)), np.log(settings.focal_prior))
        precision, slope = np.diag(scale), scale * (shared - centre)
        if self._elsewhere is not None:
            precision = precision + self._elsewhere.precision
            slope = slope + self._elsewhere.gradient(shared)
        return precision, slope

    def _rows(self, k: int, estimate: JointEstimate, tangential_displacements: Float64Array, anchored: bool) -> _Rows:
        every = np.arange(len(estimate.identity) + 1)
        target = self._slipped(k, tangential_displacements)
        linear = linearize(target, estimate, k, self._settings, every)
        whitening = self._whitening[k]
        count = len(whitening)
        residual = (whitening @ linear.residual.reshape(count, 2, 1))[..., 0]
        root = 1.0 / (1.0 + (residual**2).sum(-1) / self._limits[k] ** 2)  # of Geman-McClure's weights
        index = self._views[k].index
        tail = count - len(index)
        if not anchored:
            root[:tail] = 0.0
        white = root[:, None, None] * whitening
        return _Rows(
            white @ linear.frame.reshape(count, 2, -1),
            white @ linear.shared.reshape(count, 2, -1),
            white[tail:] @ linear.by_model[tail:] @ self._tangents[index],
            root[:, None] * residual,
        )

    def _slipped(self, k: int, tangential_displacements: Float64Array) -> PointTargets:
        """Targets of keyframe `k`: its anchors, then its tracks where they have slipped to."""
        target, index = self._targets[k], self._views[k].index
        mean = target.points.mean.copy()
        mean[len(mean) - len(index) :] += (self._tangents[index] @ tangential_displacements[index, :, None])[..., 0]
        return replace(target, points=replace(target.points, mean=mean))


def _without_slips(
    normal: NormalEquations, damping: float
) -> tuple[Float64Array, Float64Array, Float64Array, Float64Array]:
    """Hessian (n, n) and gradient (n,) once slips are eliminated, the inverse (P, 2, 2) of the lower Cholesky root of
    their Hessian, and coupling and gradient multiplied by it (P, 2, n + 1)."""
    damped = normal.slip_hessian + damping * normal.slip_hessian * np.eye(2)
    unroot = np.linalg.inv(np.linalg.cholesky(damped))
    white = unroot @ np.concatenate([normal.coupling, normal.slip_gradient[..., None]], -1)
    flat = white.reshape(-1, white.shape[-1])
    product = flat.T @ flat
    return normal.hessian - product[:-1, :-1], normal.gradient - product[:-1, -1], unroot, white


def _concatenated(anchor: PointTargets, points: MeshPoints, view: TrackView) -> PointTargets:
    """Anchors, then the tracks of a view where they have not slipped; what the latter err by is left open."""
    index = view.index
    tracked = MeshPoints(points.mean[index], points.identity[index], points.expression[index])
    return anchor.concatenated(PointTargets(tracked, view.pixels, np.ones(len(index)), anchor.camera))

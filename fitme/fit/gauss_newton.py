"""Joint Gauss-Newton over keyframes: one identity and focal length, a pose and an expression for each keyframe.

Residuals are reprojection errors of points on the mesh: landmarks, or dense points that an optical flow matched. Every
point is linear in identity and expression before the rigid motion, so the Jacobian is analytic. The blocks of single
keyframes are eliminated first (Schur complement), so that cost grows linearly with the number of keyframes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.linalg import cho_factor, cho_solve

from fitme.fit.point_targets import PointTargets, padded
from fitme.geometry import Camera
from fitme.shape.expressions import EXPRESSION_NAMES

Array = npt.NDArray[np.float64]

POSE_COUNT = 6
"""Parameters of a pose's increment: three of rotation (left-multiplied, view axes), three of translation."""
GAZE = np.array([name.startswith("eyeLook") for name in EXPRESSION_NAMES])
"""(52,) the coefficients that turn the eyeballs. They are not linear in the points, so the solver leaves them alone."""
MINIMAL_DEPTH_M = 0.08
"""No head is nearer to a camera than this; keeps early iterations from stepping through the image plane."""


@dataclass(frozen=True)
class SolverSettings:
    """Weights of priors and numerics of the joint solve."""

    iterations: int = 8
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
    identity: Array
    """(K,) standard deviations."""
    rotations: Array
    """(N, 3, 3) model to view."""
    translations: Array
    """(N, 3) metres."""
    expressions: Array
    """(N, 52) in [0, 1]."""


@dataclass(frozen=True)
class Freedom:
    """What a solve may change; pose and expression are always free."""

    identity: bool = True
    focal: bool = True
    expression: bool = True


@dataclass(frozen=True)
class SharedEvidence:
    """What keyframes outside of a solve say of identity and log focal length: a Gaussian in information form.

    Of keyframes with residuals r, it is what is left of their normal equations once pose and expression are eliminated.
    """

    precision: Array
    """(K + 1, K + 1); log focal length comes last. K counts the errors that the person's frames share."""
    potential: Array
    """(K + 1,): precision times the most likely values."""

    def __add__(self, other: "SharedEvidence | None") -> "SharedEvidence":
        if other is None:
            return self
        count = max(len(self.potential), len(other.potential)) - 1
        a, b = self.widened(count), other.widened(count)
        return SharedEvidence(a.precision + b.precision, a.potential + b.potential)

    def widened(self, identity_count: int) -> "SharedEvidence":
        """The same, saying nothing of columns of identity that it lacks."""
        place = len(self.potential) - 1
        lacking = [place] * max(0, identity_count - place)
        precision = np.insert(np.insert(self.precision, lacking, 0.0, 0), lacking, 0.0, 1)
        return SharedEvidence(precision, np.insert(self.potential, lacking, 0.0))

    def shared_among(self, count: int) -> "SharedEvidence":
        """An equal share of the evidence for each of so many."""
        return SharedEvidence(self.precision / count, self.potential / count)

    def gradient(self, shared: Array) -> Array:
        """(K + 1,) of half the squared deviation at identity and log focal length (K + 1,)."""
        slope: Array = self.precision @ shared - self.potential
        return slope

    def cost(self, shared: Array) -> float:
        """Squared deviation up to a constant."""
        return float(shared @ (self.precision @ shared - 2.0 * self.potential))


def together(parts: Sequence[SharedEvidence | None]) -> SharedEvidence | None:
    """All that is said; None where nothing is."""
    said = [part for part in parts if part is not None]
    return sum(said[1:], said[0]) if said else None


def solve_jointly(
    targets: Sequence[PointTargets],
    start: JointEstimate,
    settings: SolverSettings,
    freedom: Freedom | None = None,
    expression_priors: Array | None = None,
    elsewhere: SharedEvidence | None = None,
) -> JointEstimate:
    """Levenberg-Marquardt from `start` over all keyframes of `targets`.

    `expression_priors` (N, 52) is what expressions are drawn to instead of zero, `elsewhere` what other keyframes say
    of the parameters that all share.
    """
    freedom = freedom or Freedom()
    model_columns = len(start.identity)
    identity_count = model_columns + max(target.known_errors.shared.shape[2] for target in targets)
    expression_count = len(GAZE) + max(target.known_errors.own.shape[2] for target in targets)
    if elsewhere is not None:
        identity_count = max(identity_count, len(elsewhere.potential) - 1)
        elsewhere = elsewhere.widened(identity_count)
    estimate = widened(start, identity_count, expression_count)
    priors = np.zeros_like(estimate.expressions)
    if expression_priors is not None:
        priors[:, : len(GAZE)] = expression_priors
    error_columns = [True] * (identity_count - model_columns)
    moving = np.flatnonzero([freedom.identity] * model_columns + error_columns + [freedom.focal])
    damping = settings.damping
    cost = _cost(targets, estimate, settings, priors, elsewhere)
    for _ in range(settings.iterations):
        candidate = _step(targets, estimate, settings, freedom, moving, priors, damping, elsewhere)
        candidate_cost = _cost(targets, candidate, settings, priors, elsewhere)
        if candidate_cost < cost:
            estimate, cost, damping = candidate, candidate_cost, damping * 0.3
        else:
            damping *= 10.0
    return replace(
        estimate, identity=estimate.identity[:model_columns], expressions=estimate.expressions[:, : len(GAZE)]
    )


def shared_evidence(
    target: PointTargets, estimate: JointEstimate, index: int, settings: SolverSettings
) -> SharedEvidence:
    """What keyframe `index` of an estimate says of identity and focal length, its pose and expression being free."""
    errors = target.known_errors
    estimate = widened(estimate, len(estimate.identity) + errors.shared.shape[2], len(GAZE) + errors.own.shape[2])
    moving = np.arange(estimate.identity.shape[0] + 1)
    priors = np.zeros_like(estimate.expressions)
    reduced = _reduce(target, estimate, index, settings, moving, priors, Freedom(), 0.0)
    shared = shared_parameters(estimate)
    return SharedEvidence(reduced.hessian, reduced.hessian @ shared - reduced.gradient)


def reprojection_errors(target: PointTargets, estimate: JointEstimate, index: int) -> Array:
    """(P, 2) pixels: where keyframe `index` projects its points, minus their targets."""
    return _project(target, estimate, index)[0] - target.pixels


def focal_px(camera: Camera, focal: float) -> float:
    """Focal length in pixels of a focal length relative to the longer side."""
    return focal * max(camera.width, camera.height)


def _project(target: PointTargets, estimate: JointEstimate, index: int) -> tuple[Array, Array, Array]:
    """Pixels (P, 2), view-space points (P, 3), and rotated model points (P, 3) of one keyframe."""
    points = target.points
    identity, shared = np.split(estimate.identity, [points.identity.shape[2]])
    expression, own = np.split(estimate.expressions[index], [points.expression.shape[2]])
    model = points.mean + points.identity @ identity + points.expression @ expression
    rotated = model @ estimate.rotations[index].T
    view = rotated + estimate.translations[index]
    depth = np.maximum(-view[:, 2], MINIMAL_DEPTH_M)
    focal = focal_px(target.camera, estimate.focal)
    pixels = np.stack(
        [
            target.camera.center_x_px + focal * view[:, 0] / depth,
            target.camera.center_y_px - focal * view[:, 1] / depth,
        ],
        -1,
    )
    errors = target.known_errors
    pixels += errors.identity @ identity
    pixels += padded(errors.shared, len(shared)) @ shared + padded(errors.own, len(own)) @ own
    return pixels, view, rotated


def trust(target: PointTargets, settings: SolverSettings) -> tuple[Array, Array]:
    """(P,) standard deviation of the independent part of each error, and (P,) the residual in units of it beyond which
    a point counts less: what they err together is no reason to doubt a point."""
    errors = target.known_errors
    together = (errors.shared**2).sum((1, 2)) / 2.0 + (errors.own**2).sum((1, 2)) / 2.0
    return errors.sigma_px, settings.robust_scale * np.sqrt(1.0 + together / errors.sigma_px**2)


def robust_weights(residual: Array, sigma: Array, scale: float | Array) -> Array:
    """(P,) Geman-McClure weights of residuals (P, 2), already divided by the variance."""
    squared = (residual**2).sum(-1) / sigma**2
    weights: Array = 1.0 / (1.0 + squared / scale**2) ** 2 / sigma**2
    return weights


def _cost(
    targets: Sequence[PointTargets],
    estimate: JointEstimate,
    settings: SolverSettings,
    expression_priors: Array,
    elsewhere: SharedEvidence | None,
) -> float:
    total = 0.0 if elsewhere is None else elsewhere.cost(shared_parameters(estimate))
    for k, target in enumerate(targets):
        sigma, scale = trust(target, settings)
        squared = (reprojection_errors(target, estimate, k) ** 2).sum(-1) / sigma**2
        total += float((squared / (1.0 + squared / scale**2)).sum())
    precision = expression_precision(estimate.expressions.shape[1], settings)
    total += float((precision * (estimate.expressions - expression_priors) ** 2).sum())
    total += settings.identity_weight * float((estimate.identity**2).sum())
    total += float((np.log(estimate.focal / settings.focal_prior) / settings.focal_log_sigma) ** 2)
    return total


def expression_precision(count: int, settings: SolverSettings) -> Array:
    """(count,) of the prior: of expressions first, then of a frame's own errors."""
    return np.append(np.full(len(GAZE), settings.expression_sigma**-2.0), np.ones(count - len(GAZE)))


def widened(estimate: JointEstimate, identity_count: int, expression_count: int) -> JointEstimate:
    """An estimate with zeros for the errors of observation that it does not name."""
    shared, own = identity_count - len(estimate.identity), expression_count - estimate.expressions.shape[1]
    return replace(
        estimate,
        identity=np.pad(estimate.identity, (0, max(0, shared))),
        expressions=np.pad(estimate.expressions, ((0, 0), (0, max(0, own)))),
    )


@dataclass(frozen=True)
class _Reduced:
    """Normal equations of one keyframe with its own parameters eliminated, S shared ones left."""

    hessian: Array
    """(S, S)."""
    gradient: Array
    """(S,)."""
    free: npt.NDArray[np.intp]
    """Indices of the keyframe's parameters that were free."""
    by_shared: Array
    """(free, S) how they follow the shared ones."""
    own: Array
    """(free,) how they move by themselves."""


def shared_parameters(estimate: JointEstimate) -> Array:
    """(K + 1,) identity and log focal length."""
    return np.append(estimate.identity, np.log(estimate.focal))


def _reduce(
    target: PointTargets,
    estimate: JointEstimate,
    index: int,
    settings: SolverSettings,
    moving: npt.NDArray[np.intp],
    expression_priors: Array,
    freedom: Freedom,
    damping: float,
) -> _Reduced:
    linear = linearize(target, estimate, index, settings, moving)
    weighted = linear.frame * linear.weights[:, None]
    hessian = weighted.T @ linear.frame
    gradient = weighted.T @ linear.residual
    prior = expression_precision(estimate.expressions.shape[1], settings)
    diagonal = np.arange(POSE_COUNT, hessian.shape[0])
    hessian[diagonal, diagonal] += prior
    gradient[POSE_COUNT:] += prior * (estimate.expressions[index] - expression_priors[index])
    free = free_parameters(estimate.expressions[index], gradient[POSE_COUNT:], freedom.expression)
    hessian = hessian[np.ix_(free, free)]
    hessian[np.diag_indices_from(hessian)] *= 1.0 + damping
    weighted_shared = linear.shared * linear.weights[:, None]
    cross = weighted_shared.T @ linear.frame[:, free]  # (S, free)
    factor = cho_factor(hessian)
    by_shared = cho_solve(factor, cross.T)  # (free, S)
    own = cho_solve(factor, gradient[free])
    return _Reduced(
        weighted_shared.T @ linear.shared - cross @ by_shared,
        weighted_shared.T @ linear.residual - cross @ own,
        free,
        by_shared,
        own,
    )


def _step(
    targets: Sequence[PointTargets],
    estimate: JointEstimate,
    settings: SolverSettings,
    freedom: Freedom,
    moving: npt.NDArray[np.intp],
    expression_priors: Array,
    damping: float,
    elsewhere: SharedEvidence | None,
) -> JointEstimate:
    """One damped Gauss-Newton step; expressions at a bound that the step would leave stay there (active set)."""
    identity_count = estimate.identity.shape[0]
    reduced = [
        _reduce(target, estimate, k, settings, moving, expression_priors, freedom, damping)
        for k, target in enumerate(targets)
    ]
    shared_hessian = np.sum([part.hessian for part in reduced], 0)
    shared_gradient = np.sum([part.gradient for part in reduced], 0)
    if elsewhere is not None:
        shared_hessian += elsewhere.precision[np.ix_(moving, moving)]
        shared_gradient += elsewhere.gradient(shared_parameters(estimate))[moving]

    # Priors of the shared parameters: identity first, log focal length last.
    precision = np.append(np.full(identity_count, settings.identity_weight), settings.focal_log_sigma**-2.0)[moving]
    deviation = np.append(estimate.identity, np.log(estimate.focal / settings.focal_prior))[moving]
    shared_hessian[np.diag_indices_from(shared_hessian)] += precision
    shared_hessian[np.diag_indices_from(shared_hessian)] *= 1.0 + damping
    shared_step = np.zeros(identity_count + 1)
    shared_step[moving] = -np.linalg.solve(shared_hessian, shared_gradient + precision * deviation)

    frame_steps = np.zeros((len(reduced), POSE_COUNT + estimate.expressions.shape[1]))
    for k, part in enumerate(reduced):
        frame_steps[k, part.free] = -part.own - part.by_shared @ shared_step[moving]
    return stepped(estimate, frame_steps, shared_step)


def stepped(estimate: JointEstimate, frame_steps: Array, shared_step: Array) -> JointEstimate:
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


def free_parameters(expression: Array, gradient: Array, expression_free: bool) -> npt.NDArray[np.intp]:
    """Indices of the pose and of the expression coefficients that are free to move."""
    errors = len(expression) - len(GAZE)
    expression, gradient = expression[: len(GAZE)], gradient[: len(GAZE)]
    held = GAZE | ((expression <= 0.0) & (gradient > 0.0)) | ((expression >= 1.0) & (gradient < 0.0))
    if not expression_free:
        held = np.ones_like(held)
    held = np.append(held, np.zeros(errors, bool))
    return np.concatenate([np.arange(POSE_COUNT), POSE_COUNT + np.flatnonzero(~held)])


@dataclass(frozen=True)
class Linearization:
    """First order of one keyframe's residuals; rows are the points' x and y in turn."""

    frame: Array
    """(2P, 58) Jacobian by the keyframe's pose and expression."""
    shared: Array
    """(2P, S) Jacobian by those of the shared parameters that move."""
    residual: Array
    """(2P,) pixels."""
    weights: Array
    """(2P,) robust ones over the variance."""
    by_model: Array
    """(P, 2, 3) Jacobian by the points' places in model space."""


def linearize(
    target: PointTargets,
    estimate: JointEstimate,
    index: int,
    settings: SolverSettings,
    moving: npt.NDArray[np.intp],
) -> Linearization:
    """Keyframe `index` of an estimate; `moving` (S,) are indices of identity and log focal length."""
    pixels, view, rotated = _project(target, estimate, index)
    focal = focal_px(target.camera, estimate.focal)
    depth = np.maximum(-view[:, 2], MINIMAL_DEPTH_M)
    count = len(view)
    by_view = np.zeros((count, 2, 3))  # d pixel / d view
    by_view[:, 0, 0] = focal / depth
    by_view[:, 1, 1] = -focal / depth
    by_view[:, 0, 2] = focal * view[:, 0] / depth**2
    by_view[:, 1, 2] = -focal * view[:, 1] / depth**2
    cross = np.zeros((count, 3, 3))  # d (exp(w) p) / d w = -[p]x
    cross[:, 0, 1], cross[:, 0, 2] = rotated[:, 2], -rotated[:, 1]
    cross[:, 1, 0], cross[:, 1, 2] = -rotated[:, 2], rotated[:, 0]
    cross[:, 2, 0], cross[:, 2, 1] = rotated[:, 1], -rotated[:, 0]
    by_model = by_view @ estimate.rotations[index]  # (P, 2, 3)
    errors = target.known_errors
    own = padded(errors.own, estimate.expressions.shape[1] - target.points.expression.shape[2])
    frame = np.concatenate([by_view @ cross, by_view, by_model @ target.points.expression, own], -1)
    shared = np.empty((count, 2, len(moving)))
    identity_count = estimate.identity.shape[0]
    if identity_count in moving:
        shared[..., -1] = (focal / depth)[:, None] * view[:, :2] * (1.0, -1.0)
    model_count = target.points.identity.shape[2]
    columns = moving[moving < model_count]
    shared[..., : len(columns)] = by_model @ target.points.identity[..., columns] + errors.identity[..., columns]
    together = moving[(moving >= model_count) & (moving < identity_count)] - model_count
    count_together = identity_count - model_count
    shared[..., len(columns) : len(columns) + len(together)] = padded(errors.shared, count_together)[..., together]
    residual = pixels - target.pixels
    weights = np.repeat(robust_weights(residual, *trust(target, settings)), 2)
    return Linearization(
        frame.reshape(2 * count, -1), shared.reshape(2 * count, len(moving)), residual.reshape(-1), weights, by_model
    )


def rotation_of(axis_angle: Array) -> Array:
    """(3, 3) rotation matrix of an axis-angle vector (3,), by Rodrigues' formula."""
    angle = float(np.linalg.norm(axis_angle))
    if angle < 1e-12:
        return np.eye(3)
    x, y, z = axis_angle / angle
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    matrix: Array = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * cross @ cross
    return matrix

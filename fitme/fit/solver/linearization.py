"""Reprojection errors of a keyframe's points and of the offsets between paired ones, and their first order
(Gauss-Newton) with robust weights."""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float64Array, IndexArray
from fitme.fit.solver.joint_estimate import JointEstimate, SolverSettings
from fitme.fit.solver.point_targets import PointTargets, padded
from fitme.geometry import Camera, cross_matrix

MINIMAL_DEPTH_M = 0.08
"""No head is nearer to a camera than this; keeps early iterations from stepping through the image plane."""


def reprojection_errors(target: PointTargets, estimate: JointEstimate, index: int) -> Float64Array:
    """(P + Q, 2) pixels: projections of the points of keyframe `index`, then offsets of its pairs, minus their
    targets."""
    return _residual(target, _project(target, estimate, index)[0])


def focal_px(camera: Camera, focal: float) -> float:
    """Focal length in pixels of a focal length relative to the longer side of the camera's whole image."""
    return focal * camera.longer_side_px


def _project(
    target: PointTargets, estimate: JointEstimate, index: int
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Pixels (P, 2), view-space points (P, 3), and rotated model points (P, 3) of one keyframe."""
    points = target.points
    # Columns of observation errors follow those of the model: shared errors identity, own errors expression.
    identity, shared = np.split(estimate.identity, [points.identity.shape[2]])
    expression, own = np.split(estimate.expressions[index], [points.expression.shape[2]])
    # One product of a matrix and a vector each: a batch of them takes ten times as long.
    shaped = points.identity.reshape(points.mean.size, len(identity)) @ identity
    moved = points.expression.reshape(points.mean.size, len(expression)) @ expression
    model = points.mean + (shaped + moved).reshape(points.mean.shape)
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


def _residual(target: PointTargets, pixels: Float64Array) -> Float64Array:
    """(P + Q, 2) errors of projections (P, 2) and of their offsets."""
    first, second = target.offsets.pairs.T
    return np.concatenate([pixels - target.pixels, pixels[first] - pixels[second] - target.offsets.pixels])


def residual_scales(target: PointTargets, settings: SolverSettings) -> tuple[Float64Array, Float64Array]:
    """(P + Q,) standard deviation in pixels of the independent part of each error, and (P + Q,) the residual in units
    of it beyond which a point or offset is down-weighted.

    The limit grows with the correlated part of the error, whose coefficients are solved for: a residual of that size
    is no sign of an outlier.
    """
    errors = target.known_errors
    correlated = (errors.shared**2).sum((1, 2)) / 2.0 + (errors.own**2).sum((1, 2)) / 2.0  # (P,) variance, pixels^2
    limit = settings.robust_scale * np.sqrt(1.0 + correlated / errors.sigma_px**2)
    offset_sigma = target.offsets.sigma_px
    return (
        np.concatenate([errors.sigma_px, offset_sigma]),
        np.concatenate([limit, np.full(len(offset_sigma), settings.robust_scale)]),
    )


def robust_weights(residual: Float64Array, sigma: Float64Array, scale: float | Float64Array) -> Float64Array:
    """(P,) Geman-McClure weights of residuals (P, 2) over the variance: sigma^-2 / (1 + |r|^2 / (sigma scale)^2)^2."""
    squared = (residual**2).sum(-1) / sigma**2
    weights: Float64Array = 1.0 / (1.0 + squared / scale**2) ** 2 / sigma**2
    return weights


@dataclass(frozen=True)
class Linearization:
    """First order of one keyframe's residuals; rows are x and y in turn, of P points and then of Q offsets."""

    frame: Float64Array
    """(2(P + Q), 58) Jacobian by the keyframe's pose and expression."""
    shared: Float64Array
    """(2(P + Q), S) Jacobian by the free ones of the shared parameters."""
    residual: Float64Array
    """(2(P + Q),) pixels."""
    weights: Float64Array
    """(2(P + Q),) robust weights over the variance."""
    by_model: Float64Array
    """(P, 2, 3) Jacobian by the points' places in model space."""


def linearize(
    target: PointTargets,
    estimate: JointEstimate,
    index: int,
    settings: SolverSettings,
    free_shared: IndexArray,
) -> Linearization:
    """First order of keyframe `index` at an estimate; `free_shared` (S,) are the indices of free parameters among
    identity and log focal length."""
    pixels, view, rotated = _project(target, estimate, index)
    focal = focal_px(target.camera, estimate.focal)
    depth = np.maximum(-view[:, 2], MINIMAL_DEPTH_M)
    count = len(view)
    # Pixels by view-space points (pinhole projection), then by the pose increment: d exp(w) p / d w = -[p]x.
    by_view = np.zeros((count, 2, 3))
    by_view[:, 0, 0] = focal / depth
    by_view[:, 1, 1] = -focal / depth
    by_view[:, 0, 2] = focal * view[:, 0] / depth**2
    by_view[:, 1, 2] = -focal * view[:, 1] / depth**2
    by_model = by_view @ estimate.rotations[index]  # (P, 2, 3)
    errors = target.known_errors
    own = padded(errors.own, estimate.expressions.shape[1] - target.points.expression.shape[2])
    frame = np.concatenate([by_view @ -cross_matrix(rotated), by_view, by_model @ target.points.expression, own], -1)
    # Columns of the shared parameters: identity, then shared observation errors, then log focal length.
    shared = np.empty((count, 2, len(free_shared)))
    identity_count = estimate.identity.shape[0]
    if identity_count in free_shared:
        shared[..., -1] = (focal / depth)[:, None] * view[:, :2] * (1.0, -1.0)
    model_count = target.points.identity.shape[2]
    columns = free_shared[free_shared < model_count]
    shared[..., : len(columns)] = by_model @ target.points.identity[..., columns] + errors.identity[..., columns]
    error_columns = free_shared[(free_shared >= model_count) & (free_shared < identity_count)] - model_count
    shared_errors = padded(errors.shared, identity_count - model_count)
    shared[..., len(columns) : len(columns) + len(error_columns)] = shared_errors[..., error_columns]
    residual = _residual(target, pixels)
    weights = np.repeat(robust_weights(residual, *residual_scales(target, settings)), 2)
    first, second = target.offsets.pairs.T
    frame, shared = (np.concatenate([rows, rows[first] - rows[second]]) for rows in (frame, shared))
    return Linearization(
        frame.reshape(residual.size, -1),
        shared.reshape(residual.size, len(free_shared)),
        residual.reshape(-1),
        weights,
        by_model,
    )

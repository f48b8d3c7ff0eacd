"""First order of a keyframe's reprojection errors, with the weights that a robust solve gives them."""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float64Array, IndexArray
from fitme.fit.solver.joint_estimate import JointEstimate, SolverSettings
from fitme.fit.solver.point_targets import PointTargets, padded
from fitme.geometry import Camera

MINIMAL_DEPTH_M = 0.08
"""No head is nearer to a camera than this; keeps early iterations from stepping through the image plane."""


def reprojection_errors(target: PointTargets, estimate: JointEstimate, index: int) -> Float64Array:
    """(P, 2) pixels: where keyframe `index` projects its points, minus their targets."""
    return _project(target, estimate, index)[0] - target.pixels


def focal_px(camera: Camera, focal: float) -> float:
    """Focal length in pixels of a focal length relative to the longer side."""
    return focal * max(camera.width, camera.height)


def _project(
    target: PointTargets, estimate: JointEstimate, index: int
) -> tuple[Float64Array, Float64Array, Float64Array]:
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


def trust(target: PointTargets, settings: SolverSettings) -> tuple[Float64Array, Float64Array]:
    """(P,) standard deviation of the independent part of each error, and (P,) the residual in units of it beyond which
    a point counts less: what they err together is no reason to doubt a point."""
    errors = target.known_errors
    together = (errors.shared**2).sum((1, 2)) / 2.0 + (errors.own**2).sum((1, 2)) / 2.0
    return errors.sigma_px, settings.robust_scale * np.sqrt(1.0 + together / errors.sigma_px**2)


def robust_weights(residual: Float64Array, sigma: Float64Array, scale: float | Float64Array) -> Float64Array:
    """(P,) Geman-McClure weights of residuals (P, 2), already divided by the variance."""
    squared = (residual**2).sum(-1) / sigma**2
    weights: Float64Array = 1.0 / (1.0 + squared / scale**2) ** 2 / sigma**2
    return weights


@dataclass(frozen=True)
class Linearization:
    """First order of one keyframe's residuals; rows are the points' x and y in turn."""

    frame: Float64Array
    """(2P, 58) Jacobian by the keyframe's pose and expression."""
    shared: Float64Array
    """(2P, S) Jacobian by those of the shared parameters that move."""
    residual: Float64Array
    """(2P,) pixels."""
    weights: Float64Array
    """(2P,) robust ones over the variance."""
    by_model: Float64Array
    """(P, 2, 3) Jacobian by the points' places in model space."""


def linearize(
    target: PointTargets,
    estimate: JointEstimate,
    index: int,
    settings: SolverSettings,
    moving: IndexArray,
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

"""Pinhole projection of view-space points in numpy, with its derivatives."""

from typing import Final

import numpy as np

from fitme.arrays import Float64Array
from fitme.geometry import Camera, cross_matrix

MINIMAL_DEPTH_M: Final = 0.05
"""Lower bound of depths, so that an early iteration cannot step through the image plane."""


def project(camera: Camera, view: Float64Array) -> Float64Array:
    """Pixels (P, 2) of view-space points (P, 3), metres."""
    depth = np.maximum(-view[:, 2], MINIMAL_DEPTH_M)
    x = camera.center_x_px + camera.focal_px * view[:, 0] / depth
    y = camera.center_y_px - camera.focal_px * view[:, 1] / depth
    return np.stack([x, y], -1)


def projection_jacobian(camera: Camera, view: Float64Array) -> Float64Array:
    """(P, 2, 3) derivative of `project` by the view-space points, pixels per metre."""
    depth = np.maximum(-view[:, 2], MINIMAL_DEPTH_M)
    jacobian = np.zeros((len(view), 2, 3))
    jacobian[:, 0, 0] = camera.focal_px / depth
    jacobian[:, 1, 1] = -camera.focal_px / depth
    jacobian[:, 0, 2] = camera.focal_px * view[:, 0] / depth**2
    jacobian[:, 1, 2] = -camera.focal_px * view[:, 1] / depth**2
    return jacobian


def rigid_jacobian(by_view: Float64Array, rotated: Float64Array) -> Float64Array:
    """(P, 2, 6) derivative of pixels by a pose's increment: rotation vector (left-multiplied, view axes), translation.

    `by_view` (P, 2, 3) is the derivative by view-space points, `rotated` (P, 3) the points before the translation.
    """
    # d exp(w) p / d w = -[p]x
    return np.concatenate([by_view @ -cross_matrix(rotated), by_view], -1)

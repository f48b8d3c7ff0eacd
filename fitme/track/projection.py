"""Pinhole projection of view-space points in numpy."""

from typing import Final

import numpy as np

from fitme.arrays import Float64Array
from fitme.geometry import Camera

MINIMAL_DEPTH_M: Final = 0.05
"""Lower bound of depths, so that an early iteration cannot step through the image plane."""


def project(camera: Camera, view: Float64Array) -> Float64Array:
    """Pixels (P, 2) of view-space points (P, 3), metres."""
    depth = np.maximum(-view[:, 2], MINIMAL_DEPTH_M)
    x = camera.center_x_px + camera.focal_px * view[:, 0] / depth
    y = camera.center_y_px - camera.focal_px * view[:, 1] / depth
    return np.stack([x, y], -1)

"""Several samples a pixel: what is drawn at a multiple of its size, and averaged in linear light as a sensor does.

Renderers antialias silhouettes alone. Edges within a head (lids before eyes, a limbus, lips before teeth) and maps that
are finer than pixels need more samples.
"""

import cv2
import numpy as np

from fitme.arrays import Float32Array
from fitme.geometry import Camera

SUPERSAMPLING = 2
"""Samples along each side of a pixel."""


def finer_camera(camera: Camera) -> Camera:
    """Camera of an image `SUPERSAMPLING` times as wide and high, with the same view."""
    factor, whole = SUPERSAMPLING, camera.whole_side_px
    return Camera(
        camera.focal_px * factor, camera.center_x_px * factor, camera.center_y_px * factor,
        camera.width * factor, camera.height * factor, None if whole is None else whole * factor,
    )  # fmt: skip


def averaged_samples(samples: Float32Array) -> Float32Array:
    """Mean (H, W) or (H, W, C) of the samples of each pixel, `SUPERSAMPLING` as many a side; colours are linear."""
    height, width = (side // SUPERSAMPLING for side in samples.shape[:2])
    return np.asarray(cv2.resize(samples, (width, height), interpolation=cv2.INTER_AREA), np.float32)

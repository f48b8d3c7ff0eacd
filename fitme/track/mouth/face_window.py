"""Window of an image round the points of a face, reduced to one size for all faces, and samples of it."""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, Int64Array, UInt8Array
from fitme.shape.landmark_groups import LEFT_EYE_CORNERS, RIGHT_EYE_CORNERS

MARGIN = 0.1
"""Kept round the points, over the distance of the eyes' outer corners."""


@dataclass(frozen=True)
class FaceWindow:
    """A part of an image, reduced."""

    image: UInt8Array
    """(h, w, 3) sRGB."""
    corner: Int64Array
    """(2,) left and top, pixels of the whole image."""
    scale: Float64Array
    """(2,) pixels of the window per pixel of the image."""

    def sample(self, values: Float32Array, points: Float32Array) -> Float64Array:
        """(N, C) or (N,) values of a map over the window (h, w, C) or (h, w) at points (N, 2), pixels of the image;
        those outside have the value of the border."""
        # OpenCV's pixel centres are at whole numbers, the landmarks' at halves.
        at = ((points - self.corner) * self.scale - 0.5).astype(np.float32)
        seen = cv2.remap(values, at[:, None, 0], at[:, None, 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return np.asarray(seen, np.float64)[:, 0]


def eyes_width_px(landmarks: Float32Array) -> float:
    """Distance of the eyes' outer corners in landmarks (478, 2), pixels, at least 1."""
    return max(float(np.linalg.norm(landmarks[LEFT_EYE_CORNERS[1]] - landmarks[RIGHT_EYE_CORNERS[1]])), 1.0)


def face_window(image: UInt8Array, points: Float32Array, eyes_px: float, reduced_eyes_px: float) -> FaceWindow | None:
    """Window of an image (H, W, 3) sRGB round points (N, 2), pixels; None if they lie outside of the image.

    :param eyes_px: distance of the eyes' outer corners in the image.
    :param reduced_eyes_px: the same in the window, if the face is not smaller.
    """
    low = np.maximum(np.floor(points.min(0) - MARGIN * eyes_px), 0).astype(np.int64)
    high = np.minimum(np.ceil(points.max(0) + MARGIN * eyes_px), image.shape[1::-1]).astype(np.int64)
    if (high - low < 2).any():
        return None
    size = np.maximum(np.rint(min(reduced_eyes_px / eyes_px, 1.0) * (high - low)), 2).astype(int)
    crop = image[low[1] : high[1], low[0] : high[0]]
    reduced = cv2.resize(crop, (int(size[0]), int(size[1])), interpolation=cv2.INTER_AREA)
    return FaceWindow(np.asarray(reduced, np.uint8), low, size / (high - low))

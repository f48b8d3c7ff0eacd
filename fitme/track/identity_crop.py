"""Alignment of faces to the crops of identity networks, by a similarity from MediaPipe's landmarks."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, UInt8Array

DLIB_CHIP_PX: Final = 150
"""Side of dlib's face chips."""
DLIB_PADDING: Final = 0.25
"""Border of dlib's face chips as a share of the mean face's side."""


@dataclass(frozen=True)
class Alignment:
    """Reference points of a network's square crop."""

    groups: tuple[tuple[int, ...], ...]
    """Landmarks of each reference point, which is their mean."""
    template: Float64Array
    """(P, 2) position of each point in the crop, pixels; (0, 0) is the corner of the first pixel."""
    size: int
    """Side of the crop, pixels."""

    def matrix(self, landmarks: Float32Array) -> Float64Array:
        """(2, 3) similarity from the image's pixels to the crop's, by least squares, from landmarks (478, 2)."""
        source = np.stack([landmarks[list(group)].mean(0) for group in self.groups]).astype(np.float64)
        return similarity(source, self.template)

    def crop(self, image: UInt8Array, landmarks: Float32Array) -> UInt8Array:
        """(size, size, 3) aligned crop, sRGB-encoded; pixels outside of `image` are black."""
        return warp(image, self.matrix(landmarks), self.size)


def _dlib_template() -> Float64Array:
    # dlib's mean face (image_transforms/interpolation.h, get_face_chip_details), in its own order of points.
    mean_face = np.array(
        [
            [0.8595674595992, 0.2134981538014],
            [0.6460604764104, 0.2289674387677],
            [0.1205750620789, 0.2137274526848],
            [0.3340850613712, 0.2290642403242],
            [0.4901123135679, 0.6277975316475],
        ]
    )
    # Offset of MediaPipe's points from those of dlib's predictor, mean of 48 frames of six people, made symmetric.
    mediapipe_offset_px = np.array([[0.66, -0.45], [-1.19, 0.0], [-0.66, -0.45], [1.19, 0.0], [0.0, -1.6]])
    template: Float64Array
    template = DLIB_CHIP_PX * (mean_face + DLIB_PADDING) / (1.0 + 2.0 * DLIB_PADDING) + mediapipe_offset_px
    return template


DLIB_ALIGNMENT: Final = Alignment(((263,), (362,), (33,), (133,), (2,)), _dlib_template(), DLIB_CHIP_PX)
"""dlib's 5-point chip: outer and inner corner of the left eye, of the right eye, base of the nose."""

ARCFACE_ALIGNMENT: Final = Alignment(
    ((33, 133), (362, 263), (4,), (61,), (291,)),
    np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]),
    112,
)
"""insightface's 5-point crop: right eye, left eye, tip of the nose, corners of the mouth."""


def similarity(source: Float64Array, target: Float64Array) -> Float64Array:
    """(2, 3) least-squares similarity (rotation, uniform scale, shift) from points (P, 2) to points (P, 2)."""
    source_center = source.mean(0)
    target_center = target.mean(0)
    a, b = source - source_center, target - target_center
    # As complex numbers: target = (alpha + i beta) source.
    spread = float((a * a).sum()) + float(np.finfo(np.float64).tiny)
    alpha = float((a * b).sum()) / spread
    beta = float((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum()) / spread
    linear = np.array([[alpha, -beta], [beta, alpha]])
    return np.concatenate([linear, (target_center - linear @ source_center)[:, None]], 1)


def warp(image: UInt8Array, matrix: Float64Array, size: int) -> UInt8Array:
    """Resample an image by a similarity (2, 3) into (size, size, 3); area-averaged where it shrinks."""
    # The part of the image under the crop.
    inverse = cv2.invertAffineTransform(matrix)
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], np.float64) @ inverse.T
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(corners.min(0)).astype(int) - 2, 0, [width - 1, height - 1])
    right, bottom = np.clip(np.ceil(corners.max(0)).astype(int) + 2, [left + 1, top + 1], [width, height])
    part = image[top:bottom, left:right]
    # Area averaging before the bilinear warp, which would alias where the image shrinks.
    scale = min(1.0, float(np.hypot(matrix[0, 0], matrix[1, 0])))
    shrunk = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
    small = cv2.resize(part, shrunk, interpolation=cv2.INTER_AREA) if scale < 1.0 else part
    ratio = np.array([part.shape[1] / shrunk[0], part.shape[0] / shrunk[1]]) if scale < 1.0 else np.ones(2)
    linear = matrix[:, :2] * ratio
    # cv2 puts (0, 0) at the centre of the first pixel, we at its corner.
    shift = matrix[:, 2] + matrix[:, :2] @ np.array([left, top], np.float64) + linear @ np.full(2, 0.5) - 0.5
    warped = cv2.warpAffine(small, np.concatenate([linear, shift[:, None]], 1), (size, size), flags=cv2.INTER_LINEAR)
    return np.asarray(warped, np.uint8)

"""Sharpness and exposure of a face in a frame."""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from fitme.shape.landmark_groups import FACE_OVAL
from fitme.track.identity_crop import DLIB_ALIGNMENT, warp
from fitme.track.oval import oval_mask

SHARPNESS_OF_A_CRISP_WEBCAM: Final = 0.3
"""Standard deviation of the Laplacian over that of luminance on a crisp 640x480 webcam: the unit of sharpness."""
BLACK_BYTE: Final = 6
"""Encoded luminance at or below which a pixel counts as crushed."""
WHITE_BYTE: Final = 252
"""Encoded channel at or above which a pixel counts as blown."""
_BLACK, _BELOW_WHITE = np.zeros(3), np.full(3, WHITE_BYTE - 1.0)
MINIMAL_CONTRAST: Final = 4.0
"""Lower bound of the standard deviation of luminance, bytes: noise of a flat image is not sharpness."""
INTERIOR: Final = -0.12
"""Growth of the oval, negative to leave out hair and background."""


@dataclass(frozen=True)
class ImageQuality:
    """Fields of `FrameQuality` that pixels alone determine."""

    sharpness: float
    exposure: float
    clipped: float
    face_size_px: float


def image_quality(image: UInt8Array, landmarks: Float32Array) -> ImageQuality:
    """Measure a face with landmarks (478, 2) px in an image (H, W, 3) uint8 sRGB. About 1 ms.

    Sharpness is the standard deviation of the Laplacian over that of luminance, inside the face at a canonical size of
    150 pixels: a larger face is shrunk first and a smaller one blurred by enlarging, so that values compare across
    distances and contrasts.
    """
    matrix = DLIB_ALIGNMENT.matrix(landmarks)
    size = DLIB_ALIGNMENT.size
    crop = warp(image, matrix, size)
    placed = (landmarks @ matrix[:, :2].T + matrix[:, 2]).astype(np.float32)
    inside = oval_mask(placed, size, size, grow=INTERIOR)
    if not _covers(image, matrix, size):
        inside &= _within_image(image, matrix, size)
    size_px = face_size_px(landmarks)
    count = np.count_nonzero(inside)
    if count == 0:
        return ImageQuality(0.0, 0.0, 1.0, size_px)
    luminance = np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY))
    mean, deviation = cv2.meanStdDev(luminance, mask=inside.view(np.uint8))
    _, detail = cv2.meanStdDev(cv2.Laplacian(luminance, cv2.CV_32F), mask=inside.view(np.uint8))
    below_white = np.asarray(cv2.inRange(crop, _BLACK, _BELOW_WHITE))
    clipped = (luminance <= BLACK_BYTE) | (below_white == 0)
    contrast = max(float(deviation[0, 0]), MINIMAL_CONTRAST)
    return ImageQuality(
        sharpness=float(detail[0, 0]) / contrast / SHARPNESS_OF_A_CRISP_WEBCAM,
        exposure=float(mean[0, 0]) / 255.0,
        clipped=np.count_nonzero(clipped & inside) / count,
        face_size_px=size_px,
    )


def face_size_px(landmarks: Float32Array) -> float:
    """Square root of the area of the face's oval, pixels, from landmarks (478, 2), pixels."""
    outline = cv2.convexHull(landmarks[list(FACE_OVAL)].astype(np.float32))
    return float(np.sqrt(cv2.contourArea(outline)))


def _covers(image: UInt8Array, matrix: Float64Array, size: int) -> bool:
    """Whether the image covers the whole crop."""
    corners = np.array([[0, 0, 1], [size, 0, 1], [0, size, 1], [size, size, 1]], np.float64)
    places = corners @ cv2.invertAffineTransform(matrix).T
    return bool((places > 0.0).all() and (places < (image.shape[1], image.shape[0])).all())


def _within_image(image: UInt8Array, matrix: Float64Array, size: int) -> BoolArray:
    """(size, size) mask of the crop's pixels that the image covers."""
    covered = np.full(image.shape[:2], 1, np.uint8)
    shifted = matrix.copy()
    # cv2 puts (0, 0) at the centre of the first pixel, we at its corner.
    shifted[:, 2] += matrix[:, :2] @ np.full(2, 0.5) - 0.5
    placed = cv2.warpAffine(covered, shifted, (size, size), flags=cv2.INTER_NEAREST)
    return np.asarray(placed, np.uint8).astype(np.bool_)

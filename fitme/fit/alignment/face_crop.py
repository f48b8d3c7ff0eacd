"""Square window around the face of a keyframe, resampled to the fixed resolution of the dense stages."""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, UInt8Array
from fitme.fit.keyframe import Keyframe
from fitme.geometry import Camera

WINDOW_MARGIN = 1.45
"""Side of the window over the longer side of the landmarks' bounding box."""


@dataclass(frozen=True)
class FaceCrop:
    """A resampled square window of a keyframe."""

    image: UInt8Array
    """(R, R, 3) sRGB; black outside the image."""
    usable: Float32Array
    """(R, R) in [0, 1]: share of a pixel that shows the person's uncovered face."""
    left_px: float
    top_px: float
    size_px: float
    """Left edge, top edge and side of the window in pixels of the whole image."""

    def camera(self, whole: Camera) -> Camera:
        """Camera of the window, given that of the whole image."""
        return whole.window(self.left_px, self.top_px, self.size_px, self.image.shape[0])

    def to_window(self, pixels: Float64Array) -> Float64Array:
        """Pixel coordinates (..., 2) of the whole image as coordinates of the window."""
        scale = self.image.shape[0] / self.size_px
        moved: Float64Array = (pixels - np.array([self.left_px, self.top_px])) * scale
        return moved

    def to_image(self, pixels: Float64Array) -> Float64Array:
        """Inverse of `to_window`."""
        scaled: Float64Array = pixels * (self.size_px / self.image.shape[0])
        scaled += np.array([self.left_px, self.top_px])
        return scaled


def crop_face(keyframe: Keyframe, usable: Float32Array, resolution: int) -> FaceCrop:
    """Window around the landmarks of a keyframe; `usable` (H, W) as in `FaceCrop`, of the whole image."""
    landmarks = keyframe.observation.landmarks
    low, high = landmarks.min(0), landmarks.max(0)
    size = float((high - low).max()) * WINDOW_MARGIN
    left, top = (low + high) / 2.0 - size / 2.0
    scale = resolution / size
    # Pixel centres lie at half-integers on both sides, while OpenCV counts from centres.
    to_window = np.array(
        [[scale, 0.0, (0.5 - left) * scale - 0.5], [0.0, scale, (0.5 - top) * scale - 0.5]], np.float64
    )
    blurred = _prefilter(keyframe.image, scale)
    side = (resolution, resolution)
    return FaceCrop(
        np.asarray(cv2.warpAffine(blurred, to_window, side, flags=cv2.INTER_LINEAR), np.uint8),
        np.asarray(cv2.warpAffine(usable, to_window, side, flags=cv2.INTER_LINEAR), np.float32),
        float(left),
        float(top),
        size,
    )


def _prefilter(image: UInt8Array, scale: float) -> UInt8Array:
    """An image (H, W, 3) low-passed for shrinking by `scale` without aliasing: the variance of the blur is what a pixel
    of the window lacks of one standard deviation of half a pixel."""
    if scale >= 1.0:
        return image
    sigma = 0.5 * np.sqrt(1.0 / scale**2 - 1.0)
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)

"""Black-and-white images: photographs without colour, and cameras of near infrared."""

import numpy as np

from fitme.arrays import Float32Array, UInt8Array

LARGEST_CHROMA = 3.0
"""Codes of 255 by which hue and saturation move most pixels of a face from one common tint, at most. On 13 colour clips
and portraits `CHROMA_PERCENTILE` was 6.7 to 19.4, on grey JPEGs of the same 0."""
CHROMA_PERCENTILE = 90.0
DARK = 16
"""Mean of the channels, in codes, below which a pixel has no tint."""
LEAST_CONTRAST = 10
"""Range of the mean of the channels, in codes, below which an image is flat."""
_STRIDE_PX = 4


def is_monochrome(face: UInt8Array) -> bool:
    """Whether an image (H, W, 3) uint8 sRGB of a face has no colour of its own: it is grey, or of one tint.

    False for what is dark or has no contrast, which tells nothing.
    """
    pixels = face[::_STRIDE_PX, ::_STRIDE_PX].reshape(-1, 3).astype(np.float32)
    sums = pixels.sum(1, keepdims=True)
    lit = sums[:, 0] > 3 * DARK
    if not lit.any() or np.ptp(sums[lit]) < 3 * LEAST_CONTRAST:
        return False
    shares = pixels[lit] / sums[lit]
    chroma = np.abs(shares - np.median(shares, 0)).max(1) * sums[lit, 0]
    return bool(np.percentile(chroma, CHROMA_PERCENTILE) < LARGEST_CHROMA)


def face_of(image: UInt8Array, landmarks: Float32Array) -> UInt8Array:
    """Part of an image (H, W, 3) within the box of landmarks (N, 2), pixels; the whole image if that is empty."""
    height, width = image.shape[:2]
    left, top = np.clip(np.floor(landmarks.min(0)), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(landmarks.max(0)), 0, (width, height)).astype(int)
    part = image[top:bottom, left:right]
    return part if part.size else image

"""Match of a detected face with its picture: networks find upright faces in pictures that show them upside down.

The score of the detector and the correlation of the face's aligned crop with a mean face are added. On 83 portraits
and frames of clips, as they are and turned by half a turn, the sum was 1.18 to 1.76 where the landmarks were right, and
0.48 to 1.02 where they were upright on a face that was not; of one image turned both ways it differed by 0.23 at least.
"""

from pathlib import Path
from typing import Final

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.track.identity_crop import DLIB_ALIGNMENT
from fitme.track.landmarks import DetectedFace

MEAN_FACE_PATH: Final = Path(__file__).with_name("mean_face.npy")
"""(`SIDE_PX`, `SIDE_PX`) float32, mean `contrast` of synthetic faces: what `fitme.build.mean_face` writes."""
SIDE_PX: Final = 32
UNDETECTED_CONFIDENCE: Final = 0.4
"""Score of a face that no detector found: the least that one must have."""
_FINE, _COARSE = 2.0, 18.75
"""Standard deviations, pixels of the aligned crop, of the blurs between which contrast is measured."""
_LEAST_CONTRAST = 4.0
"""Codes of 255 added to the local contrast, so that noise of flat areas stays small."""
_HALF_AXES = (0.3, 0.36)
"""Half axes of the ellipse in which faces are compared, shares of the crop's side."""


def match(image: UInt8Array, face: DetectedFace) -> float:
    """Detector's score plus correlation with the mean face: in [-1, 2], above 1.1 for faces that match.

    :param image: (H, W, 3) uint8 sRGB in which the face was detected.
    """
    inside = _ellipse()
    crop = contrast(DLIB_ALIGNMENT.crop(image, face.landmarks))[inside]
    mean = np.asarray(np.load(MEAN_FACE_PATH), np.float32)[inside]
    confidence = UNDETECTED_CONFIDENCE if face.confidence is None else face.confidence
    return confidence + _correlation(crop, mean)


def contrast(crop: UInt8Array) -> Float32Array:
    """(`SIDE_PX`, `SIDE_PX`) luminance of an aligned crop, without its local mean, over its local deviation: alike for
    all skins and most lights."""
    grey = _blurred(np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.float32), _FINE)
    detail = grey - _blurred(grey, _COARSE)
    normalized = detail / (np.sqrt(_blurred(detail * detail, _COARSE)) + _LEAST_CONTRAST)
    return np.asarray(cv2.resize(normalized, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA), np.float32)


def _blurred(image: Float32Array, sigma: float) -> Float32Array:
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _ellipse() -> BoolArray:
    ticks = np.arange(SIDE_PX) / SIDE_PX - 0.5
    return np.asarray((ticks[None] / _HALF_AXES[0]) ** 2 + (ticks[:, None] / _HALF_AXES[1]) ** 2 < 1.0)


def _correlation(a: Float32Array, b: Float32Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float((a * b).sum() / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-6))

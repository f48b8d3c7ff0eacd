"""Rows of teeth that meet in an image: a jaw that is closed behind lips that are apart.

Landmarks show where the lips are, and lips that are far apart mean an open jaw to them: a clenched smile would get a
dark gap between its teeth. In the image, teeth that meet fill the mouth's opening from lip to lip with light grey. An
open mouth is dark between them, and lips or a tongue in it are redder than skin.
"""

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.landmark_groups import CHEEKS, LIP_RIMS, MOUTH_CORNERS

JAW_SIGMA = 0.03
"""Standard deviation of `jawOpen` of a jaw whose teeth meet."""
RIM_COUNT = 5
"""Pairs of rims, from the middle of the mouth, between which the opening is looked at: incisors and canines."""
HEIGHTS = np.linspace(0.2, 0.8, 13)
"""Heights in the opening at which it is looked at, 0 at the upper rim; lips shade the teeth next to them."""
LEAST_GAP, LARGEST_GAP = 0.06, 0.35
"""Mean gaps between the rims over the width of the mouth between which the opening may show both rows of teeth. Wider
ones may be filled by a tongue."""
LEAST_SHARE = 0.6
"""Smallest luminance of a height over the largest one where teeth meet: 0.65 to 0.85 in clips and photos of clenched
smiles, 0.15 to 0.4 where jaws are open."""
LARGEST_RED, LEAST_LIGHT = 0.92, 0.6
"""Largest red over green and least luminance of teeth over those of the cheeks, linear: 0.69 to 0.87 and 0.8 to 1.35 of
teeth, 1.5 and 0.4 to 0.8 of tongues."""


def teeth_meet(image: UInt8Array, landmarks: Float32Array) -> bool:
    """Whether an image (H, W, 3) sRGB shows rows of teeth that meet, by the face's landmarks (478, 2), pixels."""
    upper, lower = (landmarks[list(rim)] for rim in zip(*LIP_RIMS[:RIM_COUNT], strict=True))
    first, second = landmarks[list(MOUTH_CORNERS)]
    width = float(np.linalg.norm(first - second))
    if not LEAST_GAP * width <= np.linalg.norm(upper - lower, axis=-1).mean() <= LARGEST_GAP * width:
        return False
    # OpenCV's pixel centres are at whole numbers, the landmarks' at halves.
    places = upper + (lower - upper) * HEIGHTS[:, None, None].astype(np.float32) - np.float32(0.5)  # (T, R, 2)
    seen = cv2.remap(image, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    color = np.median(bytes_to_linear(np.asarray(seen, np.uint8)), axis=1)  # (T, 3)
    at = np.clip(np.rint(landmarks[list(CHEEKS)]).astype(int), 0, np.array(image.shape[1::-1]) - 1)
    cheek = np.median(bytes_to_linear(np.ascontiguousarray(image[at[:, 1], at[:, 0]])), axis=0)  # (3,)
    luminance = color.mean(-1)
    light, filled = luminance.max() >= LEAST_LIGHT * cheek.mean(), luminance.min() >= LEAST_SHARE * luminance.max()
    return bool(light and filled and np.median(_redness(color)) <= LARGEST_RED * _redness(cheek))


def _redness(color: Float32Array) -> Float32Array:
    """Red over green (...) of linear colours (..., 3)."""
    return np.asarray(color[..., 0] / np.maximum(color[..., 1], 1e-4), np.float32)


def closed_jaw_precision() -> Float64Array:
    """(52,) precision about zero of the expression coefficients of somebody whose teeth meet."""
    precision = np.zeros(EXPRESSION_COUNT)
    precision[expression_index("jawOpen")] = JAW_SIGMA**-2.0
    return precision

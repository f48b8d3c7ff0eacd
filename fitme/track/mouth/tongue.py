"""A tongue out of the mouth, from the pixels between and below the lips: no landmark is on it.

Landmarks put the rim of the lower lip into the middle of a tongue that lies on it, and the lip's lower edge at its tip.
Down the middle of the mouth, what shows between these landmarks is then one surface: as red as flesh, of one hue, and
without the edge that lip, teeth and the dark of an open mouth make. All of this must hold, each within a range, and for
some tenths of a second. Colours are taken relative to the cheeks', so that tone and light cancel.
"""

from typing import Final

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.shape.landmark_groups import CHEEKS, MOUTH_CORNERS
from fitme.track.mouth.face_window import eyes_width_px, face_window
from fitme.track.settings import TongueSettings

UPPER_RIM: Final = (82, 13, 312)
"""Inner rim of the upper lip, in the middle."""
LOWER_RIM: Final = (87, 14, 317)
"""Inner rim of the lower lip, below."""
LOWER_EDGE: Final = (84, 17, 314)
"""Outer edge of the lower lip, below."""
CHIN: Final = 152
STEPS: Final = (12, 10, 8)
"""Places of the profile: between the rims, on the lip, and below it."""
BELOW_LIP: Final = 0.5
"""End of the profile, as a share of the way from the lip to the chin's end."""
EYES_WIDTH_PX: Final = 60.0
"""Distance of the eyes' outer corners in the image that profiles are read from: larger faces are reduced."""
BLUR_PX: Final = 0.8
DARKEST: Final = 3e-3
"""Added to linear colours before their logarithm."""
INSIDE: Final = (0.45, 1.7)
"""Part of the profile that a tongue covers: 0 at the upper rim, 1 at the lower one, 2 at the lip's edge."""
SKIN_FROM: Final = 2.2
"""Where the profile has skin again."""
STEP: Final = 2
"""Places between which a step of the luminance is looked at."""
_PLACES: Final = np.concatenate(
    [
        np.linspace(0.0, 1.0, STEPS[0], endpoint=False),
        np.linspace(1.0, 2.0, STEPS[1], endpoint=False),
        np.linspace(2.0, 2.0 + BELOW_LIP, STEPS[2]),
    ]
)
_WITHIN: Final[BoolArray] = np.abs(_PLACES - sum(INSIDE) / 2.0) < (INSIDE[1] - INSIDE[0]) / 2.0
_SKIN: Final[BoolArray] = _PLACES > SKIN_FROM
_LINE: Final = np.column_stack([np.ones(_WITHIN.sum()), _PLACES[_WITHIN]])
_BEND: Final[Float64Array] = np.eye(len(_LINE)) - _LINE @ np.linalg.pinv(_LINE)
"""Projection to what a straight line leaves."""

# Ranges (excluded, certain), measured on renders of 10 heads with a tongue out, and on clips and photos of people.
GAP: Final = (0.07, 0.10)
"""Of the rims, over the distance of the eyes' outer corners."""
WIDTH: Final = (0.36, 0.42)
"""Of the mouth, over that distance: rounded lips show a red inside as well."""
HUE_BEND: Final = (0.05, 0.03)
"""Root mean square by which log red over green differs from a straight line: 0.04 to 0.2 of open mouths."""
LIGHT_BEND: Final = (0.17, 0.11)
"""The same of log luminance."""
HUE_RANGE: Final = (0.42, 0.30)
"""Of log red over green."""
LARGEST_STEP: Final = (0.6, 0.4)
"""Of log luminance between places `STEP` apart."""
LEAST_RED, MOST_RED = (0.06, 0.10), (0.75, 0.60)
"""Mean log red over green, above the cheeks'."""
REDDER_THAN_CHIN: Final = (0.09, 0.13)
"""Mean log red over green, above that of the skin below."""


def tongue_evidence(image: UInt8Array, landmarks: Float32Array) -> float:
    """How surely an image (H, W, 3) sRGB shows a tongue out of the mouth, in [0, 1], by landmarks (478, 2), pixels."""
    eyes = eyes_width_px(landmarks)
    gap = float(np.linalg.norm(landmarks[UPPER_RIM[1]] - landmarks[LOWER_RIM[1]])) / eyes
    width = float(np.linalg.norm(np.subtract(*landmarks[list(MOUTH_CORNERS)]))) / eyes
    shape = min(_ramp(gap, GAP), _ramp(width, WIDTH))
    # Most mouths are closed, and need not be looked at.
    if shape == 0.0:
        return 0.0
    profile = _profile(image, landmarks, eyes)
    if profile is None:
        return 0.0
    light = profile.mean(-1)
    hue = profile[:, 0] - profile[:, 1]
    within, red = light[_WITHIN], hue[_WITHIN]
    return min(
        shape,
        _ramp(_bend(red), HUE_BEND),
        _ramp(_bend(within), LIGHT_BEND),
        _ramp(float(np.ptp(red)), HUE_RANGE),
        _ramp(float(np.abs(within[STEP:] - within[:-STEP]).max()), LARGEST_STEP),
        _ramp(float(red.mean()), LEAST_RED),
        _ramp(float(red.mean()), MOST_RED),
        _ramp(float(red.mean() - hue[_SKIN].mean()), REDDER_THAN_CHIN),
    )


class TongueFilter:
    """Activation of `tongueOut` over the frames of a video: evidence must last."""

    def __init__(self, settings: TongueSettings) -> None:
        self._settings = settings
        self.reset()

    def reset(self) -> None:
        """Forget the tongue."""
        self._level, self._out = 0.0, False
        self._time_s: float | None = None

    def __call__(self, evidence: float, time_s: float) -> float:
        """Activation in [0, 1] by the evidence of a frame at a time in seconds, which must grow."""
        # One frame alone is no proof, however long after the last.
        elapsed_s = 0.0 if self._time_s is None else min(max(time_s - self._time_s, 0.0), self._settings.lag_s / 2.0)
        self._level += (evidence - self._level) * (1.0 - float(np.exp(-elapsed_s / self._settings.lag_s)))
        self._time_s = time_s
        self._out = self._level > (self._settings.stays_from if self._out else self._settings.out_from)
        return self._settings.activation if self._out else 0.0


def _profile(image: UInt8Array, landmarks: Float32Array, eyes_px: float) -> Float64Array | None:
    """(P, 3) logarithms of linear colours over the cheeks', down the middle of the mouth; None outside of the image."""
    upper, lower, edge = (landmarks[list(rim)] for rim in (UPPER_RIM, LOWER_RIM, LOWER_EDGE))
    cheeks = landmarks[list(CHEEKS)]
    outline = np.concatenate([upper, lower, edge, cheeks, landmarks[[CHIN]]])
    window = face_window(image, outline, eyes_px, EYES_WIDTH_PX)
    if window is None:
        return None
    linear = cv2.GaussianBlur(bytes_to_linear(window.image), (0, 0), BLUR_PX)
    place = _PLACES[:, None, None].astype(np.float32)
    down = landmarks[CHIN] - landmarks[LOWER_EDGE[1]]
    path = (
        upper
        + np.clip(place, 0.0, 1.0) * (lower - upper)
        + np.clip(place - 1.0, 0.0, 1.0) * (edge - lower)
        + np.clip(place - 2.0, 0.0, 1.0) * down
    )
    points = np.concatenate([path.reshape(-1, 2), cheeks]).astype(np.float32)
    color = np.log(window.sample(np.asarray(linear, np.float32), points) + DARKEST)
    of_path, of_cheeks = np.split(color, [path.shape[0] * path.shape[1]])
    profile = np.median(of_path.reshape(*path.shape[:2], 3), 1) - np.median(of_cheeks, 0)
    padded = np.pad(profile, ((1, 1), (0, 0)), mode="edge")
    return np.asarray(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:])


def _bend(values: Float64Array) -> float:
    """Root mean square of what a straight line leaves of values (N,) of the profile's inside."""
    return float(np.sqrt(((_BEND @ values) ** 2).mean()))


def _ramp(value: float, limits: tuple[float, float]) -> float:
    """0 at the first limit and beyond, 1 at the second and beyond, linear between."""
    excluded, certain = limits
    return min(max((value - excluded) / (certain - excluded), 0.0), 1.0)

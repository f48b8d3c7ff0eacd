"""The limbus, where iris and white of the eye meet, in a picture.

The integro-differential operator of Daugman (IEEE PAMI 1993, eq. 1): of all ellipses, the rim of the iris is the one
across which brightness rises most. Only its two sides are looked at, since lids cover its top and bottom.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array, UInt8Array
from fitme.geometry import rotation_matrix
from fitme.shape.expressions import expression_index
from fitme.shape.landmark_groups import LEFT_EYE, LEFT_IRIS, RIGHT_EYE, RIGHT_IRIS
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation

RADII = np.exp(np.linspace(np.log(0.6), np.log(1.6), 44))
"""Tried radii over the one that the tracker's landmarks have."""
SIDE_ANGLES = np.radians(np.arange(-35.0, 36.0, 5.0))
"""What counts of each side of the rim, from the horizontal."""
POOLED_RADII = 200
LARGEST_LOG_ERROR = 0.25
"""Logarithm by which a radius in metres may differ from the expected one: three standard deviations of people's irises,
of heads' sizes and of what is measured together. A pupil's rim is sharper than the limbus of a light iris, and lies
farther off."""
UNIT_PX = 24.0
"""Radius that an iris is enlarged to."""
WINDOW_PX = 104
"""Side of the enlarged eye's picture."""
SHIFTS_ACROSS_PX, SHIFTS_DOWN_PX = np.linspace(-8.0, 8.0, 11), np.linspace(-4.0, 4.0, 3)
"""Tried places of the iris's centre about the tracker's, in the enlarged picture."""
RING_PX = 1.5
"""Brightness is compared this far inside and outside of the rim, in the enlarged picture."""
LEAST_SIDE = 5
"""Angles of a side that must show between the lids."""
LEAST_COSINE = 0.95
"""Between gaze and line of sight; beyond, the far side hides."""
LARGEST_BLINK = 0.5
LEAST_CONTRAST = 12.0
"""Of an eye's brightness, of 255: less is noise."""
CONTRAST_PERCENTILES = (5.0, 95.0)


@dataclass(frozen=True, eq=False)
class LimbusView:
    """How well rims of different radii fit one eye in one picture."""

    eye: int
    """0 the left, 1 the right."""
    radius_px: Float64Array
    """(R,) rising, of an iris that is seen from straight ahead."""
    score: Float64Array
    """(R,) rise of brightness across the best rim of that radius over the eye's contrast, not below 0."""


def limbus_views(image: UInt8Array, observation: FaceObservation, model: MorphableModel) -> tuple[LimbusView, ...]:
    """Of the eyes that a picture (H, W, 3) sRGB shows open and from ahead: two, one or none."""
    gray = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    blinks = observation.expression[[expression_index("eyeBlinkLeft"), expression_index("eyeBlinkRight")]]
    cosines = _gaze_cosines(observation, model)
    landmarks = observation.landmarks.astype(np.float64)
    views = []
    for eye, (rim, iris) in enumerate(((LEFT_EYE, LEFT_IRIS), (RIGHT_EYE, RIGHT_IRIS))):
        if blinks[eye] > LARGEST_BLINK or cosines[eye] < LEAST_COSINE:
            continue
        view = _view(gray, landmarks[list(rim)], landmarks[list(iris)], cosines[eye], eye)
        if view is not None:
            views.append(view)
    return tuple(views)


def pooled_radius(views: Sequence[tuple[LimbusView, float]], expected_m: float) -> float | None:
    """The radius in metres, near the expected one, that all views agree on best, given the metres per pixel at each
    eye; None if there is none: no views, or none of whose rims stands out there."""
    if not views:
        return None
    lowest, highest = (np.log([factor * view.radius_px[end] for view, factor in views]).mean() for end in (0, -1))
    tried = np.linspace(lowest, highest, POOLED_RADII)
    total = np.sum([np.interp(tried, np.log(factor * v.radius_px), v.score, 0.0, 0.0) for v, factor in views], 0)
    inner = total[1:-1]
    peaks = (inner > 0.0) & (inner >= total[:-2]) & (inner >= total[2:])
    peaks &= np.abs(tried[1:-1] - np.log(expected_m)) < LARGEST_LOG_ERROR
    if not peaks.any():
        return None
    return float(np.exp(tried[1:-1][np.where(peaks, inner, 0.0).argmax()]))


def _gaze_cosines(observation: FaceObservation, model: MorphableModel) -> Float64Array:
    """(2,) of the horizontal angle between where each eye looks and the line of sight to it."""
    turned = torch.cat(model.eye_rotations(torch.from_numpy(observation.expression)[None])).double()
    head = rotation_matrix(torch.from_numpy(observation.pose.rotation).double())
    gaze = (head @ rotation_matrix(turned)[..., 2, None])[..., 0].numpy()[:, [0, 2]]  # (2, 2) across and towards
    sight = -observation.pose.translation.astype(np.float64)[[0, 2]]
    return np.asarray(gaze @ sight / (np.linalg.norm(gaze, axis=1) * np.linalg.norm(sight)))


def _view(gray: Float32Array, rim: Float64Array, iris: Float64Array, cosine: float, eye: int) -> LimbusView | None:
    """Of lids (16, 2) and an iris's landmarks (5, 2), its centre first."""
    center = iris.mean(0)
    expected = float(np.linalg.norm(iris[1:] - center, axis=1).max())
    scale = UNIT_PX / max(expected, 1.0)
    offset = WINDOW_PX / 2.0 - scale * center
    motion = np.column_stack([scale * np.eye(2), offset])
    # OpenCV's pixel centres are at whole numbers, the tracker's at halves.
    window = cv2.warpAffine(
        gray, motion, (WINDOW_PX, WINDOW_PX), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE
    )
    open_part = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(open_part, [np.rint(scale * rim + offset).astype(np.int32)], (1.0,))
    inside = window[open_part > 0]
    if not len(inside):
        return None
    low, high = np.percentile(inside, CONTRAST_PERCENTILES)
    if high - low < LEAST_CONTRAST:
        return None
    angles = np.concatenate([SIDE_ANGLES, np.pi - SIDE_ANGLES])
    radius = (UNIT_PX * RADII)[:, None] + np.array([-RING_PX, RING_PX])  # (R, 2)
    ring = np.stack([cosine * radius[..., None] * np.cos(angles), radius[..., None] * np.sin(angles)], -1)
    down, across = np.meshgrid(SHIFTS_DOWN_PX, SHIFTS_ACROSS_PX, indexing="ij")
    shifts = np.stack([across.ravel(), down.ravel()], -1) + WINDOW_PX / 2.0  # (S, 2)
    place = (shifts[:, None, None, None] + ring).astype(np.float32)  # (S, R, 2, A, 2)
    shape = place.shape[:-1]
    flat = place.reshape(shape[0] * shape[1], -1, 2)
    value, shown = (
        cv2.remap(image, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR).reshape(shape)
        for image in (window, open_part.astype(np.float32))
    )
    seen = (shown > 0.95).all(2)  # (S, R, A)
    rise = np.where(seen, value[:, :, 1] - value[:, :, 0], 0.0)
    sides = []
    for side in (slice(None, len(SIDE_ANGLES)), slice(len(SIDE_ANGLES), None)):
        count = seen[..., side].sum(-1)
        sides.append(np.where(count >= LEAST_SIDE, rise[..., side].sum(-1) / np.maximum(count, 1), 0.0))
    score = np.maximum(np.minimum(*sides).max(0), 0.0) / (high - low)
    return LimbusView(eye, RADII * expected, score.astype(np.float64))

"""Detection of the limbus, where iris and sclera meet, in an image.

The integro-differential operator of Daugman (IEEE PAMI 1993, eq. 1): of all ellipses, the rim of the iris is the one
across which brightness rises most. Only its left and right side are used, since lids cover its top and bottom.
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
"""(R,) radii that are tried, over that of the tracker's landmarks."""
SIDE_ANGLES = np.radians(np.arange(-35.0, 36.0, 5.0))
"""(A,) angles of the rim's points on either side, radians from the horizontal."""
POOLED_RADII = 200
"""Number of radii, evenly spaced in the logarithm, at which views are pooled."""
LARGEST_LOG_ERROR = 0.25
"""Largest logarithm of a radius in metres over the expected one: three standard deviations of people's irises, of
heads' sizes and of the measurement's common error. A pupil's rim is sharper than the limbus of a light iris, and
farther off."""
UNIT_PX = 24.0
"""Radius of the tracker's iris in the enlarged window, pixels."""
WINDOW_PX = 104
"""Side of the enlarged window of an eye."""
SHIFTS_ACROSS_PX, SHIFTS_DOWN_PX = np.linspace(-8.0, 8.0, 11), np.linspace(-4.0, 4.0, 3)
"""Offsets of the iris's centre from the tracker's that are tried, in the enlarged window."""
RING_PX = 1.5
"""Brightness is compared this far inside and outside of the rim, in the enlarged window."""
FEWEST_ANGLES = 5
"""Smallest number of angles of a side that must show between the lids."""
LEAST_COSINE = 0.95
"""Smallest cosine between gaze and line of sight; below, the far side of the rim is hidden."""
LARGEST_BLINK = 0.5
"""Blink coefficient above which an eye counts as closed."""
LEAST_CONTRAST = 12.0
"""Smallest contrast of an eye, grey values of 255: less is noise."""
CONTRAST_PERCENTILES = (5.0, 95.0)
"""Percentiles of brightness between which contrast is measured."""


@dataclass(frozen=True, eq=False)
class LimbusView:
    """Scores of rims of different radii for one eye in one image."""

    eye: int
    """0 the left, 1 the right."""
    radius_px: Float64Array
    """(R,) ascending radii of an iris in a frontal view."""
    score: Float64Array
    """(R,) rise of brightness across the best rim of each radius, over the eye's contrast, >= 0."""


def limbus_views(image: UInt8Array, observation: FaceObservation, model: MorphableModel) -> tuple[LimbusView, ...]:
    """Limbus scores of the eyes that are open and look ahead in an image (H, W, 3) sRGB: two, one or none."""
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
    """Radius in metres of the highest local maximum, near the expected radius, of the summed scores of all views, given
    the metres per pixel at each eye; None without views or without a local maximum there."""
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
    """(2,) cosines of the horizontal angle between each eye's gaze and the line of sight to it."""
    turned = torch.cat(model.eye_rotations(torch.from_numpy(observation.expression)[None])).double()
    head = rotation_matrix(torch.from_numpy(observation.pose.rotation).double())
    gaze = (head @ rotation_matrix(turned)[..., 2, None])[..., 0].numpy()[:, [0, 2]]  # (2 eyes, x and z)
    sight = -observation.pose.translation.astype(np.float64)[[0, 2]]
    return np.asarray(gaze @ sight / (np.linalg.norm(gaze, axis=1) * np.linalg.norm(sight)))


def _view(gray: Float32Array, rim: Float64Array, iris: Float64Array, cosine: float, eye: int) -> LimbusView | None:
    """Scores of one eye, given landmarks of its lids (16, 2) and of its iris (5, 2), the centre first, in pixels; None
    without contrast between the lids."""
    # Enlarge the eye, so that the tracker's iris has a radius of UNIT_PX.
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
    inside = np.asarray(window[open_part > 0], np.float32)
    if not len(inside):
        return None
    low, high = np.percentile(inside, CONTRAST_PERCENTILES)
    if high - low < LEAST_CONTRAST:
        return None
    # Sample rings just inside and outside of every tried rim, foreshortened by the gaze.
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
    # The rise of brightness outwards, mean over each side's visible angles; a rim is as good as its worse side.
    visible = (shown > 0.95).all(2)  # (S, R, A)
    rise = np.where(visible, value[:, :, 1] - value[:, :, 0], 0.0)
    sides = []
    for side in (slice(None, len(SIDE_ANGLES)), slice(len(SIDE_ANGLES), None)):
        count = visible[..., side].sum(-1)
        sides.append(np.where(count >= FEWEST_ANGLES, rise[..., side].sum(-1) / np.maximum(count, 1), 0.0))
    score = np.maximum(np.minimum(*sides).max(0), 0.0) / (high - low)
    return LimbusView(eye, RADII * expected, score.astype(np.float64))

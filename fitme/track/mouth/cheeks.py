"""Puffed cheeks, from their shading against the same face at rest: landmarks follow them by a fifth of their way.

A puffed cheek turns its surface up, down and aside, and reflects other light than before. The light is known from
the rest of the face: harmonics fitted to the skin's luminance over the normals. They predict by how much each place of
the cheeks brightens or darkens with a left and with a right cheek puffed. Least squares over logarithms of luminance,
against the same places of the face at rest, give both amounts; what another light changes since then is fitted along.
Light that comes evenly from all sides shows no cheeks.
"""

from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
import torch

from fitme.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.geometry import rotation_matrix
from fitme.render.shading import sh_basis
from fitme.shape import landmark_groups
from fitme.shape.expressions import expression_index
from fitme.shape.landmark_groups import LIP_RIMS, MOUTH_CORNERS
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.track.mouth.dead_zone import beyond_dead_zone
from fitme.track.mouth.face_window import eyes_width_px, face_window
from fitme.track.pose import PoseEstimate
from fitme.track.settings import CheekSettings

EYES_WIDTH_PX: Final = 70.0
"""Distance of the eyes' outer corners in the image that is read: larger faces are reduced."""
BLUR_PX: Final = 1.5
DARKEST: Final = 3e-3
"""Added to linear luminances."""
ONE_SIDE_M: Final = 0.006
"""Distance from the face's middle within which one cheek's motion fades."""
LIGHT_ROUNDS, DIFFERENCE_ROUNDS = 3, 3
LIGHT_SCALE, DIFFERENCE_SCALE = 0.2, 0.15
"""Relative residuals of the light, and of the change, from which a place counts half (Geman and McClure)."""
LIGHT_RIDGE: Final = np.array([1e-3, 1e-2, 1e-2, 1e-2, 0.05, 0.05, 0.05, 0.05, 0.05])
"""Damping of the light's harmonics, per place."""
CHANGE_RIDGE: Final = 1e-3
LEAST_LIGHT: Final = 0.15
"""Of a place, over the median, in predictions: where it is darker, shadows are."""
AMOUNT_SIGMA: Final = 0.7
"""Standard deviation of a cheek's amount."""
LUMINANCE_SIGMA: Final = 0.23
"""Standard deviation of a place's logarithm of luminance; neighbours err together, so it is larger than its noise."""
ONE_CHEEK: Final = 2.0
"""Dead zone of a single cheek's amount, over that of both: in clips, that is exceeded as rarely."""
CLOSED_GAP: Final = 0.08
"""Mean gap of the lips over the width of the mouth up to which cheeks can hold air."""
LARGEST_SMILE: Final = 0.4
"""Mean activation of the smile up to which a face is at rest."""
REST_YAW_RAD: Final = np.radians(12.0)
"""Yaw of the head up to which a face at rest is remembered."""
SMILE: Final = (expression_index("mouthSmileLeft"), expression_index("mouthSmileRight"))
NO_SKIN: Final = (
    *landmark_groups.FACE_OVAL, *landmark_groups.OUTER_LIPS, *landmark_groups.INNER_LIPS, *landmark_groups.LEFT_EYE,
    *landmark_groups.RIGHT_EYE, *landmark_groups.UPPER_BROWS,
)  # fmt: skip
_UPPER, _LOWER = (list(rim) for rim in zip(*LIP_RIMS, strict=True))
# Skin of the mean face: half widths and heights, metres, relative to the eyes, of what is left out.
_LIPS: Final = (0.026, -0.085, -0.055)
_NOSTRILS: Final = (0.020, -0.055, -0.035)
_EYES: Final = (0.010, 0.050, 0.016)
_BROWS: Final = (0.012, 0.034)


@dataclass(frozen=True)
class _Appearance:
    """The face's skin in one frame."""

    luminance: Float64Array
    """(S,) linear."""
    rotation: Float64Array
    """(3, 3) model to view."""

    def blended(self, other: "_Appearance", share: float) -> "_Appearance":
        """This one, by a share the other; turned as the one that it is more of."""
        log_light = (1.0 - share) * np.log(self.luminance) + share * np.log(other.luminance)
        return _Appearance(np.exp(log_light), other.rotation if share > 0.5 else self.rotation)


class Cheeks:
    """Measures how far cheeks are puffed over the frames of a video, against the face at rest in earlier ones."""

    def __init__(self, model: MorphableModel, settings: CheekSettings) -> None:
        self._settings = settings
        self._sites = np.flatnonzero(_skin(model))
        puff = model.expression_basis[expression_index("cheekPuff")]
        left = torch.sigmoid(model.mean[:, :1] / ONE_SIDE_M)
        heads = [model.mean, model.mean + left * puff, model.mean + (1.0 - left) * puff]
        self._normals = np.stack([_normals(model, head)[self._sites] for head in heads])  # (rest, left, right), S, 3
        self._damping = np.append(np.full(12, CHANGE_RIDGE), np.full(2, (LUMINANCE_SIGMA / AMOUNT_SIGMA) ** 2))
        self.reset()

    def reset(self) -> None:
        """Forget the face."""
        self._rest: _Appearance | None = None
        self._time_s: float | None = None
        self._levels = np.zeros(2)

    def __call__(self, image: UInt8Array, landmarks: Float32Array, estimate: PoseEstimate, time_s: float) -> float:
        """Activation of `cheekPuff` in [0, 1], one cheek counting half.

        :param image: (H, W, 3) sRGB.
        :param landmarks: (478, 2) pixels, to which `estimate` was solved.
        :param time_s: of the frame, growing.
        """
        settings = self._settings
        elapsed_s = 0.0 if self._time_s is None else max(time_s - self._time_s, 0.0)
        self._time_s = time_s
        amounts = np.zeros(2)
        if _lips_closed(landmarks):
            amounts = self._amounts_of(image, landmarks, estimate, elapsed_s)
        self._levels += (amounts - self._levels) * (1.0 - float(np.exp(-elapsed_s / settings.lag_s)))
        turn_deg = abs(float(np.degrees(estimate.pose.yaw_pitch_roll()[0])))
        zone = settings.dead_zone * (1.0 + turn_deg / settings.turn_deg)
        # Both cheeks err less together than one alone. ARKit's cheekPuff has no side: one cheek is half of it.
        both = beyond_dead_zone(float(self._levels.mean()), zone)
        one = beyond_dead_zone(float(self._levels.max()), ONE_CHEEK * zone) / 2.0
        return min(max(settings.gain * max(both, one), 0.0), 1.0)

    def _amounts_of(
        self, image: UInt8Array, landmarks: Float32Array, estimate: PoseEstimate, elapsed_s: float
    ) -> Float64Array:
        """(2,) amounts of the left and the right cheek in this frame; remembers the face where it is at rest."""
        settings = self._settings
        seen = self._appearance(image, landmarks, estimate)
        if seen is None:
            return np.zeros(2)
        amounts = np.zeros(2) if self._rest is None else self.amounts(seen, self._rest)
        yaw = estimate.pose.yaw_pitch_roll()[0]
        if estimate.expression[list(SMILE)].mean() > LARGEST_SMILE or abs(yaw) > REST_YAW_RAD:
            return amounts
        if self._rest is None or amounts.mean() < -settings.dead_zone:
            # The first one, or what was remembered were puffed cheeks.
            self._rest = seen
            return np.zeros(2)
        if amounts.max() < settings.dead_zone / 2.0:
            share = 1.0 - float(np.exp(-elapsed_s / settings.rest_lag_s))
            self._rest = self._rest.blended(seen, share)
        return amounts

    def amounts(self, seen: _Appearance, rest: _Appearance) -> Float64Array:
        """(2,) amounts of the left and the right cheek, unbounded, of a face against the same at rest."""
        turned = self._normals @ seen.rotation.T  # (3, S, 3)
        basis = sh_basis(torch.from_numpy(turned.reshape(-1, 3))).numpy().reshape(*turned.shape[:2], -1)
        before = sh_basis(torch.from_numpy(self._normals[0] @ rest.rotation.T)).numpy()
        # The light of this frame, and by it the change that either cheek would make.
        light = _light(basis[0], seen.luminance)
        shaded = basis @ light  # (3, S)
        shaded = np.log(np.maximum(shaded, LEAST_LIGHT * max(float(np.median(shaded[0])), DARKEST)))
        rows = np.concatenate([basis[0], before[:, 1:4], (shaded[1:] - shaded[:1]).T], 1)
        change = np.log(seen.luminance) - np.log(rest.luminance)
        weight, found = np.ones(len(change)), np.zeros(rows.shape[1])
        for _ in range(DIFFERENCE_ROUNDS):
            weighted = (rows * weight[:, None]).T
            found = np.linalg.solve(weighted @ rows + np.diag(self._damping), weighted @ change)
            weight = 1.0 / (1.0 + ((change - rows @ found) / DIFFERENCE_SCALE) ** 2) ** 2
        return np.asarray(found[-2:])

    def _appearance(self, image: UInt8Array, landmarks: Float32Array, estimate: PoseEstimate) -> _Appearance | None:
        """The skin; None where the image does not show it."""
        places = landmarks[self._sites]
        window = face_window(image, places, eyes_width_px(landmarks), EYES_WIDTH_PX)
        if window is None:
            return None
        grey = np.asarray(cv2.cvtColor(window.image, cv2.COLOR_RGB2GRAY), np.uint8)
        luminance = cv2.GaussianBlur(bytes_to_linear(grey), (0, 0), BLUR_PX)
        rotation = rotation_matrix(estimate.pose.rotation.astype(np.float64))
        return _Appearance(window.sample(np.asarray(luminance, np.float32), places) + DARKEST, rotation)


def _light(basis: Float64Array, luminance: Float64Array) -> Float64Array:
    """(9,) harmonics of the light on a surface of one albedo, of luminances (S,) over a basis (S, 9) of its normals."""
    ridge = np.diag(LIGHT_RIDGE) * len(luminance)
    weight, light = np.ones(len(luminance)), np.zeros(basis.shape[1])
    dim = 0.2 * float(np.median(luminance))
    for _ in range(LIGHT_ROUNDS):
        weighted = (basis * weight[:, None]).T
        light = np.linalg.solve(weighted @ basis + ridge, weighted @ luminance)
        shaded = basis @ light
        weight = 1.0 / (1.0 + ((luminance - shaded) / (np.maximum(shaded, dim) * LIGHT_SCALE)) ** 2) ** 2
    return light


def _lips_closed(landmarks: Float32Array) -> bool:
    gap = np.linalg.norm(landmarks[_UPPER] - landmarks[_LOWER], axis=-1).mean()
    first, second = landmarks[list(MOUTH_CORNERS)]
    return bool(gap <= CLOSED_GAP * np.linalg.norm(first - second))


def _skin(model: MorphableModel) -> BoolArray:
    """(468,) landmarks on skin that moves little but with cheeks: neither outline nor eyes, brows, nostrils, lips."""
    count = landmark_groups.SURFACE_LANDMARK_COUNT
    x, y = model.landmarks(model.mean[None])[0, :count, :2].double().numpy().T
    x = np.abs(x)
    lips, nostrils = ((x < half) & (y > low) & (y < high) for half, low, high in (_LIPS, _NOSTRILS))
    eyes = (x > _EYES[0]) & (x < _EYES[1]) & (np.abs(y) < _EYES[2])
    brows = (y > _BROWS[0]) & (y < _BROWS[1])
    named = np.isin(np.arange(count), NO_SKIN)
    left_out = lips | nostrils | eyes | brows | named
    return np.asarray(~left_out & model.mediapipe_valid.numpy()[:count])


def _normals(model: MorphableModel, head: torch.Tensor) -> Float64Array:
    """(478, 3) unit normals at the landmarks of a head (V, 3), model space."""
    normals = vertex_normals(head[None], model.triangles)[0]
    corners = normals[model.triangles[model.mediapipe_triangles].long()]  # (478, 3 corners, 3)
    at = (corners * model.mediapipe_barycentric[..., None]).sum(1)
    unit: Float64Array = torch.nn.functional.normalize(at, dim=-1).double().numpy()
    return unit

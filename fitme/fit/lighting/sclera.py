"""Observation of the light on a face by the sclera, a surface of known albedo in the same light.

Its albedo differs little between people of any skin tone, so that its brightness and hue relative to the skin separate
albedo from light. Lids and brow shade it, far more from a ceiling's light than from a screen's: the transfer of light
to each part of it was computed by casting rays from the mean head's eyes (precomputed radiance transfer: Sloan, Kautz
and Snyder, SIGGRAPH 2002). The errors of that prediction were measured on synthetic heads of known albedo and light.
`fitme.build.sclera.measure` writes both as `sclera.json`.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, UInt8Array
from fitme.atomic_file import atomic_file
from fitme.color import LUMINANCE, bytes_to_linear
from fitme.fit.lighting.albedo_scale import DARKEST, SKIN_TONES, LightObservation
from fitme.fit.lighting.spherical_harmonics import LightSettings
from fitme.shape.landmark_groups import LEFT_EYE, LEFT_EYE_CORNERS, LEFT_IRIS, RIGHT_EYE, RIGHT_EYE_CORNERS, RIGHT_IRIS

WINDOW_PX = 96
"""Width of an eye in the enlarged window, which resolves lids, iris and sclera below the pixels of webcams."""
LID_SHRINKING = (0.85, 0.6)
"""Factors on the opening between the lids, across and down, which exclude lashes and corners."""
LIMBUS_GROWTH = 1.25
"""Distance from the iris's centre, in its radii, at which the sclera begins: images are blurred."""
BRIGHTNESS_RANGE = (0.6, 0.9)
"""Quantiles of brightness between which pixels count: below lie lids and shade, above catchlights."""
SMALLEST_AREA_PX = 12.0
"""Smallest number of pixels of sclera in both eyes."""
NARROWEST_EYE = 0.1
"""Smallest area between the lids over the square of the eye's width; it is 0.2 for an open eye."""
FARTHER_EYE = 0.6
"""Smallest width of an eye over the other's; a narrower one is turned away too far."""
LEAST_USABLE = 0.5
"""Smallest share of a pixel that must show the person's uncovered face."""
BLOWN = 0.95
"""Linear colour above which a sensor is saturated."""
SCLERA_LIGHT = LightSettings(directional_ridge=0.002, hue_ridge=0.002, robust_scale=0.08)
"""Estimation of the light on the eyes: with smaller ridges than for textures, since a ridge flattens the light."""
SCLERA_ALBEDO = np.array([0.72, 0.67, 0.63])
"""(3,) linear albedo of the sclera: that of synthetic heads (`fitme.skin.eyes_and_mouth`)."""
LIT_PARTS = 2
"""Number of parts of the sclera, the brightest, that `BRIGHTNESS_RANGE` leaves."""
LID_SHARE = 0.25
"""Share of skin in the pixels of the sclera, by blur: with it, `log_bias` does not depend on the skin tone."""
OTHER_LID_SHARES, OTHER_LIDS = (0.5, 0.75), 0.2
"""Shares of skin of squinting eyes, as further hypotheses, and their prior probability in all. An assumption."""
OTHER_LOG_SIGMA = 0.3
"""Standard deviation of the logarithm of the brightness under these hypotheses. An assumption."""
OUTLIER_PROBABILITY = 0.1
"""Prior probability of an outlier: lashes, glasses, a blink. An assumption."""
OUTLIER_LOG_MEAN, OUTLIER_COVARIANCE = -0.3, 0.25 * np.ones((3, 3)) + 0.09 * np.eye(3)
"""Mean and covariance (3, 3) of the logarithm of an outlier's colour over the skin's: anything darker or brighter of
any hue. An assumption."""
SMALLEST_SHADING = 0.1
"""Lower limit of the sclera's shading over that of the skin: even a brow's shadow is not darker."""
EYE_LEVEL_LOG_SIGMA, EYE_HUE_LOG_SIGMA = 0.10, 0.05
"""Standard deviations by which real eyes differ from synthetic ones, altogether and per channel: lashes and lids of
other shapes, age, redness. An assumption, which bounds the information of many views. The first grows with
`unevenness`."""
SCLERA_STATISTICS_PATH = Path(__file__).with_name("sclera.json")
_EYES = (
    (LEFT_EYE, LEFT_EYE_CORNERS, LEFT_IRIS),
    (RIGHT_EYE, RIGHT_EYE_CORNERS, RIGHT_IRIS),
)


@dataclass(frozen=True, eq=False)
class ScleraStatistics:
    """Transfer of light to the sclera, and errors of its prediction, measured by `fitme.build.sclera.measure`.

    Errors are differences of logarithms of linear colours, between images of synthetic heads and the prediction.
    """

    transfer: Float64Array
    """(4, 9) shading of the sclera to the left and right of either iris, from the image's left, by coefficients of
    `fitme.render.light.Light`; lids, brow and nose block light."""
    openness: Float64Array
    """(4,) share of the surroundings that each part is open to; the rest is skin."""
    log_bias: Float64Array
    """(3,) mean error where the sclera is shaded as the skin is."""
    shading_slope: float
    """Slope of the mean error in the logarithm of the shading. Light estimated on skin is uncertain, so that shading
    far from 1 is likelier nearer to 1."""
    unevenness: float
    """Covariances grow by 1 plus the square of this times the logarithm of the shading: whether a brow hides a lamp is
    a matter of millimetres."""
    people_covariance: Float64Array
    """(3, 3) of the errors' means over a person's views, where the sclera is shaded as the skin is."""
    view_covariance: Float64Array
    """(3, 3) of the errors of a person's views about that mean."""

    def save(self, path: Path) -> None:
        """Write as JSON, atomically: one line for each row of numbers."""
        rows = ",\n".join(f"  {json.dumps(name)}: {_json(value)}" for name, value in asdict(self).items())
        with atomic_file(path) as partial:
            partial.write_text(f"{{\n{rows}\n}}\n")


@functools.cache
def load_sclera_statistics() -> ScleraStatistics:
    """Statistics that ship with the package."""
    loaded = json.loads(SCLERA_STATISTICS_PATH.read_text())
    return ScleraStatistics(
        transfer=np.array(loaded["transfer"]),
        openness=np.array(loaded["openness"]),
        log_bias=np.array(loaded["log_bias"]),
        shading_slope=float(loaded["shading_slope"]),
        unevenness=float(loaded["unevenness"]),
        people_covariance=np.array(loaded["people_covariance"]),
        view_covariance=np.array(loaded["view_covariance"]),
    )


@dataclass(frozen=True)
class ScleraObservation:
    """Colours of sclera and skin in one view, and the light there."""

    sclera: Float32Array
    """(3,) linear, `sclera_color`."""
    skin: Float32Array
    """(3,) linear, median of the face."""
    light: Float32Array
    """(9,) coefficients of `Light.sh` estimated with `SCLERA_LIGHT`, mean of the channels, over the median shading of
    the skin."""


def sclera_color(
    image: UInt8Array,  # (H, W, 3) sRGB
    landmarks: Float32Array,  # (478, 2) pixels
    usable: Float32Array,  # (H, W) in [0, 1]
) -> Float32Array | None:
    """Linear colour (3,) of the sclera of both eyes in an image, as lit; None where too little of it shows, or where it
    is covered or overexposed."""
    widths = [float(np.linalg.norm(landmarks[corners[0]] - landmarks[corners[1]])) for _, corners, _ in _EYES]
    eyes = [
        _sclera_pixels(image, landmarks[list(lids)], landmarks[list(iris)], usable, width)
        for (lids, _, iris), width in zip(_EYES, widths, strict=True)
        if width > 0.0
        and width >= FARTHER_EYE * max(widths)
        and cv2.contourArea(landmarks[list(lids)]) >= NARROWEST_EYE * width**2
    ]
    if sum(area for _, area in eyes) < SMALLEST_AREA_PX:
        return None
    # The mean between two quantiles of brightness leaves out lids and catchlights.
    colors = np.concatenate([color for color, _ in eyes])
    brightness = colors @ LUMINANCE
    low, high = np.quantile(brightness, BRIGHTNESS_RANGE)
    chosen = colors[(brightness >= low) & (brightness <= high)]
    color = np.asarray(chosen.mean(0), np.float32)
    return None if color.max() > BLOWN else color


def observe_light(observations: Sequence[ScleraObservation], face_color: Float32Array) -> LightObservation | None:
    """Observation of the light under which the skin shows `face_color` (3,) linear, from several views; None without.

    Eyes and skin are compared within a view, so that exposure cancels. The median over views is robust to catchlights.
    """
    if not observations:
        return None
    statistics = load_sclera_statistics()
    # Shading of the face = sclera over its predicted reflection, relative to the skin in each view.
    contrasts = [np.log(np.maximum(o.sclera, DARKEST) / np.maximum(o.skin, DARKEST)) for o in observations]
    residuals = [c - log_reflection(o.light) for c, o in zip(contrasts, observations, strict=True)]
    log_shading = np.median(residuals, 0) + np.log(np.maximum(face_color, DARKEST))  # (K, T, 3)
    # Errors that all views of a person share do not average out, and neither does the difference to real eyes.
    level, hue = np.ones((3, 3)), np.eye(3)
    growth = covariance_growth(np.array([np.log(sclera_shading(o.light)).mean() for o in observations])).mean()
    people = EYE_LEVEL_LOG_SIGMA**2 * level + statistics.people_covariance
    inlier = growth * (people + statistics.view_covariance / len(observations)) + EYE_HUE_LOG_SIGMA**2 * hue
    squints = len(OTHER_LID_SHARES)
    covariance = np.stack([inlier, *(squints * [inlier + OTHER_LOG_SIGMA**2 * level])])
    prior = np.array([1.0 - OTHER_LIDS - OUTLIER_PROBABILITY, *(squints * [OTHER_LIDS / squints])])
    deviation = np.median(contrasts, 0) - OUTLIER_LOG_MEAN
    distance = deviation @ np.linalg.solve(OUTLIER_COVARIANCE, deviation)
    log_outlier = np.log(OUTLIER_PROBABILITY) - 0.5 * (distance + np.linalg.slogdet(OUTLIER_COVARIANCE)[1])
    return LightObservation(log_shading, covariance, np.log(prior), float(log_outlier))


def log_reflection(light: Float32Array, tones: Float64Array = SKIN_TONES) -> Float64Array:
    """(K, T, 3) logarithm of the expected colour of the sclera's pixels over the shading of the skin, for `LID_SHARE`
    and each of `OTHER_LID_SHARES`, and skin albedos (T, 3); `light` (9,) is `ScleraObservation.light`."""
    statistics = load_sclera_statistics()
    shading = sclera_shading(light, tones)[:, None]
    lids = np.array([LID_SHARE, *OTHER_LID_SHARES])[:, None, None]
    surfaces = (1.0 - lids) * SCLERA_ALBEDO * shading + lids * tones
    return np.asarray(np.log(surfaces) + statistics.log_bias + statistics.shading_slope * np.log(shading))


def sclera_shading(light: Float32Array, tones: Float64Array = SKIN_TONES) -> Float64Array:
    """(T,) predicted shading of the sclera over that of the skin, in faces of skin albedos (T, 3)."""
    statistics = load_sclera_statistics()
    parts = statistics.transfer @ light.astype(np.float64)  # (4,)
    brightest = np.argsort(parts)[-LIT_PARTS:]
    # The share of the surroundings that is hidden from a part is skin, which reflects light to it.
    around = (1.0 - statistics.openness[brightest]).mean() * tones.mean(-1)  # (T,)
    return np.asarray(np.maximum(parts[brightest].mean() + around, SMALLEST_SHADING))


def covariance_growth(log_shading: Float64Array) -> Float64Array:
    """(N,) factors on the people's and the views' covariance, by logarithms (N,) of the sclera's shading."""
    return np.asarray(1.0 + (load_sclera_statistics().unevenness * log_shading) ** 2)


def _sclera_pixels(
    image: UInt8Array, lids: Float32Array, iris: Float32Array, usable: Float32Array, width: float
) -> tuple[Float64Array, float]:
    """Linear colours (n, 3) between the lids and beside the iris, finely sampled, and the number of pixels that they
    cover, of one eye: landmarks of its lids (16, 2) and of its iris (5, 2), the centre first."""
    scale = WINDOW_PX / width
    low, high = lids.min(0) - 1.0, lids.max(0) + 1.0
    left, top = np.maximum(np.floor(low).astype(int) - 1, 0)
    right, bottom = np.ceil(high).astype(int) + 1
    window = (slice(top, max(bottom, top)), slice(left, max(right, left)))
    if not image[window].size:
        return np.zeros((0, 3)), 0.0
    columns, rows = np.ceil(scale * (high - low)).astype(int)
    # Pixel centres lie at half-integers, while OpenCV counts from centres.
    across, down = np.meshgrid(np.arange(columns) + 0.5, np.arange(rows) + 0.5)
    places = (np.stack([across, down], -1) / scale + low).astype(np.float32)  # (h, w, 2)
    middle = (lids.max(0) + lids.min(0)) / 2.0
    outline = (middle + (lids - middle) * np.array(LID_SHRINKING, np.float32) - low) * scale
    # Between the shrunken lids, beside the grown iris, on uncovered pixels.
    inside = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(inside, [np.round(outline).astype(np.int32)], (1.0,))
    radius = np.linalg.norm(iris[1:] - iris[0], axis=1).mean()
    beside = np.linalg.norm(places - iris[0], axis=-1) > LIMBUS_GROWTH * radius
    pixels = places - np.array([left + 0.5, top + 0.5], np.float32)
    weight = cv2.remap(usable[window], pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    chosen = (inside > 0) & beside & (weight > LEAST_USABLE)
    color = cv2.remap(bytes_to_linear(image[window]), pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR)
    return np.asarray(color[chosen], np.float64), float(chosen.sum()) / scale**2


def _json(value: Float64Array | float) -> str:
    """A number, a row of numbers, or a matrix with a line for each row."""
    if isinstance(value, float) or value.ndim < 2:
        return json.dumps(np.asarray(value).tolist())
    return "[\n" + ",\n".join(f"    {json.dumps(row.tolist())}" for row in value) + "\n  ]"

"""The white of the eye as a picture shows it: a surface of known colour in the light of the face.

Its albedo differs little between people of any skin tone, so how much brighter than the skin it looks, and in what hue,
tells tone from light. Lids and brow shade it, far more from a ceiling's light than from a screen's: what each part of
it gets of any light was found by casting rays from the mean head's eyes (precomputed radiance transfer: Sloan, Kautz
and Snyder, SIGGRAPH 2002). How far that misses was measured on made heads whose skin and light are known. Both are
`fitme.build.sclera.measure`'s.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.fit.lighting.albedo_scale import DARKEST, SKIN_TONES, LightEvidence
from fitme.fit.lighting.spherical_harmonics import LUMINANCE, LightSettings
from fitme.shape.landmark_groups import LEFT_EYE, LEFT_EYE_CORNERS, LEFT_IRIS, RIGHT_EYE, RIGHT_EYE_CORNERS, RIGHT_IRIS

WINDOW_PX = 96
"""Width of an eye when it is looked at: pixels of webcams are enlarged to tell lids, iris and sclera apart."""
LID_SHRINKING = (0.85, 0.6)
"""The opening between the lids, across and down, so that neither lashes nor corners count."""
LIMBUS_GROWTH = 1.25
"""Where the sclera begins, in radii of the iris: the picture is blurred."""
BRIGHTNESS_RANGE = (0.6, 0.9)
"""Quantiles of brightness that count: below lie lids and shade, above catchlights."""
SMALLEST_AREA_PX = 12.0
"""Pixels of sclera, both eyes together, below which nothing is known."""
NARROWEST_EYE = 0.1
"""Area between the lids over the square of the eye's width, below which it is nearly closed; open, it is 0.2."""
FARTHER_EYE = 0.6
"""Width of an eye over the other's below which it is turned away too far."""
LEAST_USABLE = 0.5
"""Of 1: below, a pixel shows a hand or what is not the person."""
BLOWN = 0.95
"""Linear colour above which a sensor says nothing any more."""
SCLERA_LIGHT = LightSettings(directional_ridge=0.002, hue_ridge=0.002, robust_scale=0.08)
"""How the light on the eyes is found: with less of a ridge than textures bear, which hides how steeply it falls."""
SCLERA = np.array([0.72, 0.67, 0.63])
"""Linear albedo: the paint of made heads (`fitme.skin.eyes_and_mouth`)."""
TRANSFER = np.array(
    [
        [0.255, -0.055, 0.395, -0.237, 0.202, -0.154, 0.521, -0.616, 0.277],
        [0.152, 0.007, 0.306, 0.010, -0.033, -0.276, 1.010, 0.156, -0.141],
        [0.152, 0.007, 0.306, -0.010, 0.033, -0.276, 1.010, -0.156, -0.141],
        [0.255, -0.055, 0.395, 0.237, -0.202, -0.154, 0.521, 0.616, 0.277],
    ]
)
"""(4, 9) shading of the sclera to the left and right of either iris by coefficients of `fitme.render.light.Light`, what
lids, brow and nose keep off left out."""
OPENNESS = np.array([0.91, 0.57, 0.57, 0.91])
"""(4,) share of the surroundings that they see; the rest is skin."""
LIT_PARTS = 2
"""Parts, the brightest, that `BRIGHTNESS_RANGE` leaves."""
LID_SHARE = 0.25
"""Share of skin in what counts as sclera, by blur: with it, tone makes no difference to `LOG_LOSS`."""
OTHER_LID_SHARES, OTHER_LIDS = (0.5, 0.75), 0.2
"""Shares that it may also be, where somebody squints; how likely one of them is. An assumption."""
OTHER_LOG_SIGMA = 0.3
"""How unsure the brightness is then. An assumption."""
ANYTHING = 0.1
"""How likely it is to be something else: lashes, glasses, a blink. An assumption."""
ANYTHING_LOG_MEAN, ANYTHING_COVARIANCE = -0.3, 0.25 * np.ones((3, 3)) + 0.09 * np.eye(3)
"""Logarithm of that over the skin, and its covariance (3, 3): anything darker or brighter of any hue. An assumption."""
LOG_LOSS = np.array([-0.045, 0.000, 0.018])
"""(3,) by how much the sclera looks brighter or darker than all that, logarithm, in the mean over made heads."""
SHADING_SLOPE = -0.33
"""How much of that goes with the logarithm of its shading: light that is found on skin is never sure, so that what is
far from 1 is likelier nearer to it."""
PEOPLE_COVARIANCE = np.array([[0.0020, 0.0012, 0.0015], [0.0012, 0.0010, 0.0014], [0.0015, 0.0014, 0.0022]])
"""(3, 3) of what is left between people and lights, where it is shaded as the skin is."""
VIEW_COVARIANCE = np.array([[0.0240, 0.0248, 0.0254], [0.0248, 0.0269, 0.0280], [0.0254, 0.0280, 0.0298]])
"""(3, 3) of that between views of one person under one light."""
UNEVENNESS = 2.8
"""Both grow by 1 plus the square of this times the logarithm of the shading: whether a brow hides a lamp is a matter of
millimetres."""
SMALLEST_SHADING = 0.1
"""Of the sclera, over that of the skin: even a brow's shadow is not darker."""
EYE_LEVEL_LOG_SIGMA, EYE_HUE_LOG_SIGMA = 0.10, 0.05
"""What real eyes differ in beside that, altogether and per channel: lashes and lids of other shapes, age, redness. An
assumption, which keeps many views from saying more than the likeness of made heads and real ones can bear. The first
grows as well."""
_EYES = (
    (LEFT_EYE, LEFT_EYE_CORNERS, LEFT_IRIS),
    (RIGHT_EYE, RIGHT_EYE_CORNERS, RIGHT_IRIS),
)


@dataclass(frozen=True)
class ScleraObservation:
    """The eyes beside the skin in one view."""

    white: Float32Array
    """(3,) linear, `sclera_color`."""
    skin: Float32Array
    """(3,) linear, median of the face."""
    light: Float32Array
    """(9,) `Light.sh` by `SCLERA_LIGHT`, mean of the channels, over the median shading of the skin."""


def sclera_color(
    image: UInt8Array,  # (H, W, 3) sRGB
    landmarks: Float32Array,  # (478, 2) pixels
    usable: Float32Array,  # (H, W) in [0, 1]
) -> Float32Array | None:
    """Linear colour (3,) of the white of the eyes in a picture, light included; None where too little of it is seen, it
    is covered, or blown out."""
    widths = [float(np.linalg.norm(landmarks[corners[0]] - landmarks[corners[1]])) for _, corners, _ in _EYES]
    seen = [
        _white(image, landmarks[list(lids)], landmarks[list(iris)], usable, width)
        for (lids, _, iris), width in zip(_EYES, widths, strict=True)
        if width > 0.0
        and width >= FARTHER_EYE * max(widths)
        and cv2.contourArea(landmarks[list(lids)]) >= NARROWEST_EYE * width**2
    ]
    if sum(area for _, area in seen) < SMALLEST_AREA_PX:
        return None
    colors = np.concatenate([color for color, _ in seen])
    brightness = colors @ LUMINANCE
    low, high = np.quantile(brightness, BRIGHTNESS_RANGE)
    chosen = colors[(brightness >= low) & (brightness <= high)]
    color = np.asarray(chosen.mean(0), np.float32)
    return None if color.max() > BLOWN else color


def light_information(seen: Sequence[ScleraObservation], face_color: Float32Array) -> LightEvidence | None:
    """What the eyes in several views say of the light in which the skin shows `face_color` (3,); None without views.

    Eyes and skin are compared within a view, so that exposure makes no difference. The median over views listens to no
    single catchlight.
    """
    if not seen:
        return None
    contrasts = [np.log(np.maximum(s.white, DARKEST) / np.maximum(s.skin, DARKEST)) for s in seen]
    surplus = [c - log_reflection(s.light) for c, s in zip(contrasts, seen, strict=True)]
    shading = np.median(surplus, 0) + np.log(np.maximum(face_color, DARKEST))  # (K, T, 3)
    level, hue = np.ones((3, 3)), np.eye(3)
    growth = missed_growth(np.array([np.log(sclera_shading(s.light)).mean() for s in seen])).mean()
    people = EYE_LEVEL_LOG_SIGMA**2 * level + PEOPLE_COVARIANCE
    sure = growth * (people + VIEW_COVARIANCE / len(seen)) + EYE_HUE_LOG_SIGMA**2 * hue
    others = len(OTHER_LID_SHARES)
    covariance = np.stack([sure, *(others * [sure + OTHER_LOG_SIGMA**2 * level])])
    share = np.array([1.0 - OTHER_LIDS - ANYTHING, *(others * [OTHER_LIDS / others])])
    off = np.median(contrasts, 0) - ANYTHING_LOG_MEAN
    distance = off @ np.linalg.solve(ANYTHING_COVARIANCE, off)
    otherwise = np.log(ANYTHING) - 0.5 * (distance + np.linalg.slogdet(ANYTHING_COVARIANCE)[1])
    return LightEvidence(shading, covariance, np.log(share), float(otherwise))


def log_reflection(light: Float32Array, tones: Float64Array = SKIN_TONES) -> Float64Array:
    """(K, T, 3) logarithm of what counts as sclera over what a perfect white would show in the place of the skin, for
    `LID_SHARE` and each of `OTHER_LID_SHARES`, and faces of tones (T, 3); `light` (9,) is `ScleraObservation.light`."""
    shading = sclera_shading(light, tones)[:, None]
    lids = np.array([LID_SHARE, *OTHER_LID_SHARES])[:, None, None]
    surfaces = (1.0 - lids) * SCLERA * shading + lids * tones
    return np.asarray(np.log(surfaces) + LOG_LOSS + SHADING_SLOPE * np.log(shading))


def sclera_shading(light: Float32Array, tones: Float64Array = SKIN_TONES) -> Float64Array:
    """(T,) shading of the sclera over that of the skin, as far as `TRANSFER` tells, in faces of tones (T, 3)."""
    parts = TRANSFER @ light.astype(np.float64)  # (4,)
    brightest = np.argsort(parts)[-LIT_PARTS:]
    # What a part does not see of the surroundings is skin, which shines back.
    around = (1.0 - OPENNESS[brightest]).mean() * tones.mean(-1)  # (T,)
    return np.asarray(np.maximum(parts[brightest].mean() + around, SMALLEST_SHADING))


def missed_growth(log_shading: Float64Array) -> Float64Array:
    """(N,) what `PEOPLE_COVARIANCE` and `VIEW_COVARIANCE` are multiplied with, by logarithms (N,) of the sclera's
    shading."""
    return np.asarray(1.0 + (UNEVENNESS * log_shading) ** 2)


def _white(
    image: UInt8Array, lids: Float32Array, iris: Float32Array, usable: Float32Array, width: float
) -> tuple[Float64Array, float]:
    """Colours (n, 3) between the lids and beside the iris, finely sampled, and the pixels that they cover."""
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
    inside = np.zeros((rows, columns), np.uint8)
    cv2.fillPoly(inside, [np.round(outline).astype(np.int32)], (1.0,))
    radius = np.linalg.norm(iris[1:] - iris[0], axis=1).mean()
    beside = np.linalg.norm(places - iris[0], axis=-1) > LIMBUS_GROWTH * radius
    pixels = places - np.array([left + 0.5, top + 0.5], np.float32)
    seen = cv2.remap(usable[window], pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    chosen = (inside > 0) & beside & (seen > LEAST_USABLE)
    color = cv2.remap(bytes_to_linear(image[window]), pixels[..., 0], pixels[..., 1], cv2.INTER_LINEAR)
    return np.asarray(color[chosen], np.float64), float(chosen.sum()) / scale**2

"""Place and radius of a person's iris on the eyeball, found in the head's diffuse map.

The model's eyes all have the same irises, and their rotation is known to a few degrees. What keyframes show lies in the
map where it belongs: a dark disc between the bright halves of the sclera.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.color import LUMINANCE
from fitme.track.gaze import OUTWARD_AHEAD_RAD

POLES_UV = ((0.935, 0.935), (0.065, 0.935))
"""Middle of the left and the right eyeball in the model's layout."""
IRIS_RADIUS = 0.0225
"""Radius of the model's iris in its layout."""
IRIS_DEG = 20.8
"""Polar angle of its rim."""
OUTWARD = float(np.degrees(OUTWARD_AHEAD_RAD)) / IRIS_DEG
"""Offset, outwards, of irises that look ahead, in radii of the model's iris: drawn eyes are turned by it."""
ACROSS, DOWN, RADII = np.linspace(-0.24, 0.24, 7), np.linspace(-0.08, 0.48, 8), np.linspace(0.76, 1.04, 8)
"""Tried offsets of the iris's middle from that one, and tried radii, in radii of the model's iris."""
SIDE_DEG = np.linspace(-32.0, 18.0, 6)
"""Directions from the iris's middle on either side, from the horizontal upwards: between the lids."""
INSIDE, OUTSIDE = np.array((0.72, 0.82, 0.92)), np.array((1.08, 1.18, 1.28))
"""Radii, over the tried one, between which the rim lies."""
EXPECTED, SIGMA = np.array((0.0, 0.1, 0.93)), np.array((0.15, 0.2, 0.08))
"""Mean and standard deviation over people of these."""
RISE_SIGMA = 0.12
"""Standard deviation of the rise of the logarithmic luminance across a rim of irises of one person."""
LEAST_RISE = 0.15
"""Rise below which a map shows no iris."""
LEAST_LUMINANCE = 0.004


@dataclass(frozen=True)
class IrisPlace:
    """Iris on one drawn eyeball, in radii of the model's iris."""

    across: float
    """Offset of its middle along the map's u from the pole of the drawn eyeball, which is turned outwards."""
    down: float
    """The same along v."""
    radius: float
    """Its radius."""


COMMON = IrisPlace(0.0, 0.1, 0.93)
"""Where a map shows no iris."""


def iris_place(diffuse: Float32Array, side: int) -> IrisPlace:
    """Iris of the left (0) or right (1) eye in the head's linear diffuse map (R, R, 3)."""
    luminance = np.log(np.maximum(diffuse @ LUMINANCE, LEAST_LUMINANCE)).astype(np.float32)
    tried = np.stack(np.meshgrid(ACROSS, DOWN, RADII, indexing="ij"), -1).reshape(-1, 3)  # (N, 3)
    in_map = tried + np.array([turned(side), 0.0, 0.0])
    angle = np.deg2rad(np.stack([SIDE_DEG, 180.0 - SIDE_DEG]))  # (2 sides, A)
    direction = np.stack([np.cos(angle), -np.sin(angle)], -1)
    inner, outer = (_mean(luminance, side, in_map, direction, shares) for shares in (INSIDE, OUTSIDE))  # (N, 2)
    # A rim is as good as its worse side: brows and lids are edges, too.
    rise = (outer - inner).min(1)
    deviation = (((tried - EXPECTED) / SIGMA) ** 2).sum(1)
    best = int(np.argmax(rise / RISE_SIGMA - 0.5 * deviation))
    if rise[best] < LEAST_RISE:
        return COMMON
    across, down, radius = tried[best]
    return IrisPlace(float(across), float(down), float(radius))


def turned(side: int) -> float:
    """Offset along the map's u of the pole of the drawn left (0) or right (1) eyeball."""
    return OUTWARD if side == 0 else -OUTWARD


def _mean(
    values: Float32Array, side: int, tried: Float64Array, direction: Float64Array, shares: Float64Array
) -> Float64Array:
    """(N, 2) mean of a map (R, R) over each side of rings at `shares` (S,) of the radii of discs (N, 3)."""
    radius = tried[:, None, None, None, None, 2] * shares[:, None]
    places = tried[:, None, None, None, :2] + radius * direction[:, :, None]  # (N, 2, A, S, 2)
    pixels = (np.array(POLES_UV[side]) + IRIS_RADIUS * places) * values.shape[0] - 0.5
    flat = pixels.reshape(len(tried), -1, 2).astype(np.float32)
    found = cv2.remap(values, flat[..., 0], flat[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    sides = np.asarray(found, np.float64).reshape(len(tried), 2, -1)
    return np.asarray(sides.mean(-1))

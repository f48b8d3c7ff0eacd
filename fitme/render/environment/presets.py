"""Surroundings made by the program: soft-edged emitters before a sky that changes from floor over horizon to zenith.

`client/renderer/environment/environment_presets.js` is the same table for the page; a test holds both equal.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.render.environment.panorama import COLUMNS, ROWS, Environment, environment_of, panorama_directions

Color = tuple[float, float, float]

FLOOR_DEG, ZENITH_DEG = -60.0, 70.0
"""Elevations from which downwards and upwards the sky has its lowest and highest colour."""


@dataclass(frozen=True)
class Emitter:
    """A bright rectangle, in angles."""

    azimuth_deg: float
    """From the camera's side towards the viewer's right: 0 is straight before the face."""
    elevation_deg: float
    half_width_deg: float
    half_height_deg: float
    softness_deg: float
    """Width of its edge."""
    color: Color
    """Radiance, linear."""


@dataclass(frozen=True)
class Preset:
    """Sky and emitters."""

    floor: Color
    horizon: Color
    zenith: Color
    emitters: tuple[Emitter, ...]


PRESETS: Mapping[str, Preset] = {
    # A softbox to the left, a broad weak one to the right, a strip light behind the head.
    "studio": Preset(
        (0.1, 0.1, 0.1), (0.2, 0.2, 0.205), (0.3, 0.3, 0.31),
        (
            Emitter(-42.0, 34.0, 9.0, 9.0, 5.0, (18.0, 17.4, 16.6)),
            Emitter(65.0, 10.0, 12.0, 25.0, 20.0, (0.55, 0.58, 0.66)),
            Emitter(155.0, 30.0, 6.0, 26.0, 8.0, (2.6, 2.7, 3.0)),
        ),
    ),
    # A room with one window to the right, and its light on the opposite wall.
    "window": Preset(
        (0.08, 0.07, 0.06), (0.15, 0.135, 0.12), (0.2, 0.185, 0.17),
        (
            Emitter(58.0, 14.0, 11.0, 15.0, 3.0, (9.0, 10.2, 12.2)),
            Emitter(58.0, 14.0, 1.0, 15.0, 1.0, (-6.0, -6.8, -8.2)),
            Emitter(-95.0, -4.0, 10.0, 5.0, 50.0, (0.3, 0.27, 0.23)),
        ),
    ),
    # A covered sky, brighter above, over pale ground.
    "overcast": Preset(
        (0.2, 0.2, 0.185), (0.62, 0.65, 0.7), (1.0, 1.05, 1.12),
        (Emitter(-25.0, 50.0, 0.0, 0.0, 80.0, (0.45, 0.46, 0.46)),),
    ),
    # The low sun to the left, a warm glow round it, blue above.
    "sunset": Preset(
        (0.07, 0.055, 0.05), (0.36, 0.27, 0.25), (0.12, 0.18, 0.34),
        (
            Emitter(-58.0, 11.0, 2.0, 2.0, 2.5, (330.0, 190.0, 84.0)),
            Emitter(-58.0, 5.0, 10.0, 0.0, 45.0, (1.7, 0.85, 0.32)),
        ),
    ),
    # Dark, with a magenta and a cyan lamp from the sides and a warm one behind.
    "club": Preset(
        (0.015, 0.01, 0.025), (0.04, 0.028, 0.06), (0.03, 0.022, 0.055),
        (
            Emitter(-58.0, 26.0, 4.0, 4.0, 4.0, (80.0, 8.0, 66.0)),
            Emitter(66.0, 14.0, 4.0, 4.0, 4.0, (4.2, 48.0, 74.0)),
            Emitter(-58.0, 26.0, 0.0, 0.0, 50.0, (0.35, 0.05, 0.3)),
            Emitter(66.0, 14.0, 0.0, 0.0, 50.0, (0.03, 0.25, 0.38)),
            Emitter(170.0, 40.0, 10.0, 6.0, 14.0, (3.0, 1.5, 0.5)),
        ),
    ),
}  # fmt: skip
"""By name."""


@cache
def preset_environment(name: str) -> Environment:
    """Surroundings of a preset; KeyError if there is none of that name."""
    return environment_of(preset_panorama(PRESETS[name]), normalized=False)


def preset_panorama(preset: Preset) -> Float32Array:
    """(`ROWS`, `COLUMNS`, 3) radiance of a preset."""
    x, y, z = np.moveaxis(panorama_directions(ROWS, COLUMNS), -1, 0)
    elevation, azimuth = np.degrees(np.arcsin(y)), np.degrees(np.arctan2(x, z))
    # Sky: from the horizon to either side.
    upward, downward = _rise(elevation / ZENITH_DEG), _rise(elevation / FLOOR_DEG)
    horizon = np.array(preset.horizon)
    radiance = horizon + upward[..., None] * (np.array(preset.zenith) - horizon)
    radiance = radiance + downward[..., None] * (np.array(preset.floor) - horizon)
    for emitter in preset.emitters:
        # Angles on the sphere: a degree of azimuth is shorter the higher it lies.
        across = np.abs((azimuth - emitter.azimuth_deg + 180.0) % 360.0 - 180.0) * np.sqrt(np.maximum(1.0 - y * y, 0.0))
        above = np.abs(elevation - emitter.elevation_deg)
        inside = _edge(across, emitter.half_width_deg, emitter.softness_deg)
        inside = inside * _edge(above, emitter.half_height_deg, emitter.softness_deg)
        radiance = radiance + inside[..., None] * np.array(emitter.color)
    return np.asarray(np.maximum(radiance, 0.0), np.float32)


def _rise(share: Float64Array) -> Float64Array:
    """Smooth step from 0 to 1 over [0, 1]."""
    t = np.clip(share, 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t))


def _edge(distance: Float64Array, half: float, softness: float) -> Float64Array:
    """1 inside `half` degrees, 0 outside `half` + `softness`."""
    return _rise(1.0 - (distance - half) / softness)

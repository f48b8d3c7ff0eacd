"""Map of one eye: sclera, iris and pupil from the colours that the head's map has of them.

Images show half an iris below a lid, lids where the sclera turns out from under them, and the room's reflection in the
pupil. So an eye is drawn: rings of the person's colours, with fibres, a dark limbus and fine vessels that are common to
all.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.color import LUMINANCE
from fitme.parts.iris_place import IRIS_DEG, IRIS_RADIUS, POLES_UV, IrisPlace, iris_place, turned

MAP_DEG = 80.0
"""Polar angle from the pole of the cornea at the edge of the map."""
MAP_PX = 192
"""Side of the map."""
RINGS = np.linspace(0.4, 0.75, 5)
"""Radii at which the iris is sampled, in its radii: between pupil and limbus, whose dark ring is drawn."""
SEEN_DEG = np.concatenate([np.arange(-75.0, 16.0, 7.5), 180.0 - np.arange(-75.0, 16.0, 7.5)])
"""Directions from the iris's middle in which it is sampled, from the horizontal upwards: below the upper lid."""
SCLERA_RINGS = np.linspace(1.25, 1.8, 5)
SCLERA_DEG = np.concatenate([np.arange(-25.0, 16.0, 8.0), 180.0 - np.arange(-25.0, 16.0, 8.0)])
"""The same of the sclera: beside the iris."""
SCLERA = (0.66, 0.60, 0.56)
"""Linear albedo of the sclera where nothing is known."""
SCLERA_LUMINANCE = (0.25, 0.52)
"""Range of the luminance of the sclera's albedo."""
HUE_SHARE = 0.4
"""Share of the person's hue in the sclera; lids and light tint what images show."""
IRIS_LUMINANCE = (0.012, 0.22)
"""Range of the mean luminance of irises."""
PUPIL_RADIUS, PUPIL = 0.26, (0.005, 0.004, 0.004)
"""Radius in radii of the iris, and linear albedo."""
LIMBUS_WIDTH, LIMBUS_SHADE = 0.16, 0.55
"""Width of the dark ring in radii of the iris, and its albedo over the iris's."""
COLLARETTE, FIBRES = 0.35, 0.22
"""Rise of albedo at the collarette, and standard deviation of its logarithm by fibres."""
FAR_SHADE = (0.80, 0.62, 0.56)
"""Albedo of the sclera at the map's edge over that beside the iris: conjunctiva and vessels."""
FIBRE_COLUMNS = 256
"""Directions of the pattern of fibres."""
VESSELS = (0.0, 0.12, 0.14)
"""Absorption by the densest vessels."""


@dataclass(frozen=True, eq=False)
class _Pattern:
    """What all eyes share, but for the place of the iris, (H, W) each."""

    radius: Float32Array
    """Distance from the iris's middle in its radii."""
    polar: Float32Array
    """Distance from the map's middle in radii of the model's iris."""
    fibres: Float32Array
    """Standard normal."""
    vessels: Float32Array
    """In [0, 1]."""


def eye_map(diffuse: Float32Array, side: int) -> Float32Array:
    """(H, W, 3) linear albedo of the left (0) or right (1) eye from the head's diffuse map (R, R, 3)."""
    place = iris_place(diffuse, side)
    pattern = _placed(_noise(side), place)
    rings = np.median(_samples(diffuse, side, place, RINGS, SEEN_DEG), axis=1)  # (5, 3)
    level = np.maximum(rings @ LUMINANCE, 1e-4)
    mean = float(np.exp(np.log(level).mean()))
    rings *= float(np.clip(mean, *IRIS_LUMINANCE)) / mean
    iris = np.stack([np.interp(pattern.radius, RINGS, rings[:, channel]) for channel in range(3)], -1)
    collarette = 1.0 + COLLARETTE * np.exp(-0.5 * ((pattern.radius - 0.52) / 0.09) ** 2)
    limbus = 1.0 - (1.0 - LIMBUS_SHADE) * np.exp(-0.5 * ((pattern.radius - 1.0) / LIMBUS_WIDTH) ** 2)
    iris *= (np.exp(FIBRES * pattern.fibres) * collarette * limbus)[..., None]
    eye = _sclera(diffuse, side, place, pattern)
    eye = _mixed(eye, iris.astype(np.float32), np.clip((1.0 - pattern.radius) / (0.6 * LIMBUS_WIDTH) + 0.5, 0.0, 1.0))
    pupil = np.broadcast_to(np.array(PUPIL, np.float32), eye.shape)
    return _mixed(eye, pupil, np.clip((PUPIL_RADIUS - pattern.radius) / 0.05 + 0.5, 0.0, 1.0)).astype(np.float32)


def _sclera(diffuse: Float32Array, side: int, place: IrisPlace, pattern: _Pattern) -> Float32Array:
    """(H, W, 3) sclera with vessels, redder away from the iris."""
    seen = _samples(diffuse, side, place, SCLERA_RINGS, SCLERA_DEG).reshape(-1, 3)
    bright = np.quantile(seen, 0.7, axis=0)
    usual, level = np.array(SCLERA), float(bright @ LUMINANCE)
    color = np.exp((1.0 - HUE_SHARE) * np.log(usual) + HUE_SHARE * np.log(np.maximum(bright, 1e-3)))
    color *= float(np.clip(level, *SCLERA_LUMINANCE)) / float(color @ LUMINANCE)
    outwards = np.clip((pattern.polar - 1.0) / (MAP_DEG / IRIS_DEG - 1.0), 0.0, 1.0)[..., None]
    shade = 1.0 - (1.0 - np.array(FAR_SHADE)) * outwards
    vessels = np.exp(-np.array(VESSELS) * (pattern.vessels[..., None] * np.minimum(3.0 * outwards, 1.0)))
    return np.asarray(color * shade * vessels, np.float32)


def _samples(
    diffuse: Float32Array, side: int, place: IrisPlace, radii: Float64Array, degrees: Float64Array
) -> Float32Array:
    """(A, B, 3) colours of the head's map at radii (A,) of an iris and in directions (B,)."""
    angle = np.deg2rad(degrees)
    across = turned(side) + place.across + place.radius * radii[:, None] * np.cos(angle)
    u = POLES_UV[side][0] + IRIS_RADIUS * across
    v = POLES_UV[side][1] + IRIS_RADIUS * (place.down - place.radius * radii[:, None] * np.sin(angle))
    size = diffuse.shape[0]
    x, y = (np.asarray(places * size - 0.5, np.float32) for places in (u, v))
    return np.asarray(cv2.remap(diffuse, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


@dataclass(frozen=True, eq=False)
class _Noise:
    """Random patterns of one eye."""

    fibres: Float32Array
    """(24, `FIBRE_COLUMNS`) over radius and direction, standard normal, long along the radius."""
    vessels: Float32Array
    """(H, W) in [0, 1]."""


@lru_cache(maxsize=2)
def _noise(side: int) -> _Noise:
    generator = np.random.default_rng(side)
    tiled = np.tile(generator.standard_normal((24, FIBRE_COLUMNS)), (1, 3))
    fibres = cv2.GaussianBlur(tiled, (0, 0), 1.3, sigmaY=5.0)
    fibres = (fibres / fibres.std())[:, FIBRE_COLUMNS : 2 * FIBRE_COLUMNS].astype(np.float32)
    # Vessels: zero lines of smooth noise, which branch.
    smooth = cv2.GaussianBlur(generator.standard_normal((MAP_PX, MAP_PX)), (0, 0), 5.0)
    smooth = smooth + 0.5 * cv2.GaussianBlur(generator.standard_normal((MAP_PX, MAP_PX)), (0, 0), 2.5)
    return _Noise(fibres, np.exp(-0.5 * (smooth / smooth.std() / 0.1) ** 2).astype(np.float32))


def _placed(noise: _Noise, place: IrisPlace) -> _Pattern:
    """Pattern of an eye whose iris has a place."""
    y, x = ((np.mgrid[:MAP_PX, :MAP_PX] + 0.5) / MAP_PX - 0.5) / 0.5 * MAP_DEG / IRIS_DEG
    radius = np.hypot(x - place.across, y - place.down) / place.radius
    turn = np.arctan2(y - place.down, x - place.across) / (2.0 * np.pi) + 0.5
    at = (turn * (FIBRE_COLUMNS - 1)).astype(np.float32)
    fibres = cv2.remap(noise.fibres, at, np.clip(radius * 20.0, 0.0, 23.0).astype(np.float32), cv2.INTER_LINEAR)
    polar = np.hypot(x, y).astype(np.float32)
    return _Pattern(radius.astype(np.float32), polar, np.asarray(fibres, np.float32), noise.vessels)


def _mixed(a: Float32Array, b: Float32Array, share: Float32Array) -> Float32Array:
    return np.asarray(a + (b - a) * share[..., None], np.float32)

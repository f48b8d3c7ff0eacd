"""Lights of the benchmark's frames, as scripts for the path tracer, and the unseen light for relighting."""

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np


class LightKind(StrEnum):
    """Kind of lighting of a frame."""

    WINDOW = "window"
    CEILING = "ceiling"
    LAMP = "lamp"
    OUTDOORS = "outdoors"
    SCREEN = "screen"
    FLASH = "flash"
    LOW_SUN = "low sun"
    TWO_LAMPS = "two lamps"


WEBCAM_KINDS = (LightKind.WINDOW, LightKind.CEILING, LightKind.LAMP, LightKind.OUTDOORS, LightKind.SCREEN)
"""Lights of the subjects. Their order is part of the benchmark's version."""
HARD_KINDS = (LightKind.FLASH, LightKind.LOW_SUN)
"""Lights whose shadows have sharp edges."""
SOFT_KIND = LightKind.WINDOW
"""Light that difficult ones are compared with."""
VIOLET = (0.8, 0.3, 1.3)
"""Radiance of a coloured lamp over that of a white one as bright, linear sRGB."""
FLASH_SIDE_M, FLASH_IRRADIANCE = 0.04, 12.0
"""Side of a flash's reflector, and its irradiance on the face over that of a room of radiance 1."""
SUN_DISTANCE_M, SUN_SIDE_M, SUN_IRRADIANCE = 20.0, 0.19, 2.5
"""A rectangle that appears as large as the sun, 0.53 degrees, and its irradiance."""


@dataclass(frozen=True)
class LightSource:
    """Rectangular area light that faces the head."""

    direction: tuple[float, float, float]
    """Unit vector from the head to the light, view axes."""
    distance_m: float
    side_m: float
    radiance: tuple[float, float, float]
    """Radiance, linear sRGB."""


@dataclass(frozen=True)
class LightScript:
    """Lighting of a group of frames, before the camera's exposure."""

    kind: LightKind
    seed: int
    """Seed of the environment map."""
    surroundings: tuple[float, float, float]
    """Mean radiance of the room, linear sRGB."""
    sun: float
    """Brightness of the sky's brightest part over `surroundings`; 0 indoors."""
    sources: tuple[LightSource, ...]


@dataclass(frozen=True)
class UnseenLight:
    """Light that no frame of a fit has, ambient plus directional, which both renderers model exactly."""

    ambient: float
    """Uniform radiance: irradiance / pi on every surface."""
    direction: tuple[float, float, float]
    """Unit vector from the head to the light, view axes."""
    color: tuple[float, float, float]
    """Irradiance / pi on a surface that faces the light, linear sRGB."""


def draw_light(kind: LightKind, g: np.random.Generator) -> LightScript:
    """Draw a light of a kind: its place, colour temperature and brightness."""
    side = 1.0 if g.random() < 0.5 else -1.0
    room = float(g.uniform(0.1, 0.35))
    seed = int(g.integers(2**31))
    if kind is LightKind.WINDOW:
        source = _source((side * g.uniform(0.7, 1.2), g.uniform(0.0, 0.4), g.uniform(0.3, 0.9)), 1.6, 1.1, 6.0, 6500, g)
        return LightScript(kind, seed, _tinted(room, 5500), 0.0, (source,))
    if kind is LightKind.CEILING:
        sources = tuple(
            _source((offset + g.normal(0.0, 0.1), 1.0, g.uniform(0.2, 0.6)), 1.5, 0.7, 6.0, 4000, g)
            for offset in (-0.5, 0.5)
        )
        return LightScript(kind, seed, _tinted(room, 3800), 0.0, sources)
    if kind is LightKind.LAMP:
        source = _source(
            (side * g.uniform(0.5, 1.0), g.uniform(0.2, 0.7), g.uniform(0.5, 0.9)), 0.9, 0.2, 30.0, 2900, g
        )
        return LightScript(kind, seed, _tinted(room, 3000), 0.0, (source,))
    if kind is LightKind.OUTDOORS:
        return LightScript(kind, seed, _tinted(3.0 * room, 7500), float(g.uniform(8.0, 30.0)), ())
    if kind is LightKind.FLASH:
        direction = (side * g.uniform(0.15, 0.35), g.uniform(0.05, 0.3), 1.0)
        distance_m = float(g.uniform(0.8, 1.2))
        level = FLASH_IRRADIANCE * (distance_m / FLASH_SIDE_M) ** 2
        source = _source(direction, distance_m, FLASH_SIDE_M, level, 5500, g)
        return LightScript(kind, seed, _tinted(room, 4000), 0.0, (source,))
    if kind is LightKind.LOW_SUN:
        direction = (side * g.uniform(0.5, 1.0), g.uniform(0.15, 0.5), g.uniform(0.6, 1.0))
        level = SUN_IRRADIANCE * (SUN_DISTANCE_M / SUN_SIDE_M) ** 2
        source = _source(direction, SUN_DISTANCE_M, SUN_SIDE_M, level, 4500, g)
        return LightScript(kind, seed, _tinted(2.0 * room, 8000), 1.0, (source,))
    if kind is LightKind.TWO_LAMPS:
        warm = _source((side * g.uniform(0.6, 1.1), g.uniform(0.0, 0.4), g.uniform(0.4, 0.8)), 1.2, 0.4, 12.0, 2700, g)
        other = _source(
            (-side * g.uniform(0.6, 1.1), g.uniform(0.0, 0.4), g.uniform(0.4, 0.8)), 1.2, 0.4, 12.0, 6500, g
        )
        red, green, blue = np.multiply(other.radiance, VIOLET).tolist()
        return LightScript(kind, seed, _tinted(room, 4000), 0.0, (warm, replace(other, radiance=(red, green, blue))))
    screen = _source((g.normal(0.0, 0.1), -0.25, 1.0), 0.7, 0.5, 2.5, 7500, g)
    back = _source((side, 0.6, 0.4), 1.8, 0.8, 4.0, 3500, g)
    return LightScript(kind, seed, _tinted(room, 3500), 0.0, (screen, back))


def _source(
    direction: tuple[float, float, float], distance_m: float, side_m: float, level: float, kelvin: float,
    g: np.random.Generator,
) -> LightSource:  # fmt: skip
    unit = np.array(direction) / np.linalg.norm(direction)
    radiance = _tinted(level * float(g.uniform(0.7, 1.4)), kelvin * float(np.exp(g.normal(0.0, 0.08))))
    return LightSource((float(unit[0]), float(unit[1]), float(unit[2])), distance_m, side_m, radiance)


def _tinted(level: float, kelvin: float) -> tuple[float, float, float]:
    """Linear sRGB of a colour temperature whose green is `level`: log-linear in 1 / T between daylight, white at
    6,500 K, and candlelight (1.0, 0.42, 0.09 at 2,000 K, Planck's law)."""
    share = (1.0 / kelvin - 1.0 / 6500.0) / (1.0 / 2000.0 - 1.0 / 6500.0)
    red, blue = (1.0 / 0.42) ** share, (0.09 / 0.42) ** share
    return level * red, level, level * blue


def unseen_light(number: int) -> UnseenLight:
    """Unseen light of a subject; from the left for even numbers, otherwise from the right."""
    g = np.random.default_rng([number, 7])
    side = 1.0 if number % 2 else -1.0
    direction = np.array([side * g.uniform(0.5, 1.0), g.uniform(0.2, 0.6), g.uniform(0.6, 0.9)])
    x, y, z = (direction / np.linalg.norm(direction)).tolist()
    warmth = g.uniform(-0.08, 0.08)
    level = g.uniform(0.7, 0.95)
    return UnseenLight(float(g.uniform(0.2, 0.35)), (x, y, z), (level * (1 + warmth), level, level * (1 - warmth)))

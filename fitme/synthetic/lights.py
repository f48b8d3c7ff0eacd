"""Random lights for synthetic views: distributions of illumination for training, asset builders and tests.

All follow `Light`'s conventions (view space, linear, irradiance / pi) and favour light from the front and from above.
Networks are trained on a wide distribution; assets are measured under typical room lights.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.arrays import Float64Array
from fitme.geometry import unit_vectors
from fitme.render.light import Light
from fitme.render.reflection import SH_BAND_0, SH_COUNT
from fitme.render.shading import sh_irradiance_of_directional

BUNDLE_AMBIENT_SHARE = (0.1, 0.9)
"""Range of the share of `ray_bundle_light` that is ambient."""
BUNDLE_FROM_ABOVE = 0.3
"""Mean upward gradient of the ambient light relative to its level, and standard deviation along each axis."""
BUNDLE_LAMPS, BUNDLE_RAYS, BUNDLE_SPREAD = 2, 6, 0.15
"""Largest number of lamps, rays per lamp, and their standard deviation about the lamp's direction in radians."""
BUNDLE_DIRECTIONS = ((-1.2, 1.2), (-0.3, 1.6), (0.2, 1.0))
"""Range of the lamps' directions to the right, up and to the front, before normalisation."""
ROOM_LAMPS = 2
"""Largest number of lamps of `room_light`."""
ROOM_DIRECTIONS = ((-1.2, 1.2), (-0.3, 0.9), (0.3, 1.0))
"""Range of directions to the right, up and to the front, before normalisation."""


@dataclass(frozen=True)
class RayLight:
    """Achromatic ambient light and directional rays with a total irradiance / pi of about 1."""

    ambient: Float64Array
    """(9,) coefficients as in one channel of `Light.sh`."""
    directions: Float64Array
    """(L, 3) unit vectors towards the rays."""
    levels: Float64Array
    """(L,) intensity of each ray."""


def ray_bundle_light(g: np.random.Generator) -> RayLight:
    """Draw a room or a sky with one or two lamps or windows, each a bundle of `BUNDLE_RAYS` rays.

    Rays, unlike harmonics of order 2, are sharp enough for a brow to shadow an eye.
    """
    share = float(g.uniform(*BUNDLE_AMBIENT_SHARE))
    ambient = np.zeros(SH_COUNT)
    ambient[0] = share / SH_BAND_0
    # Order 1: up, front, right. Norms of orders 0 and 1 differ by sqrt(3).
    ambient[1:4] = g.normal([BUNDLE_FROM_ABOVE, 0.0, 0.0], BUNDLE_FROM_ABOVE) * ambient[0] / np.sqrt(3.0)
    lamps = int(g.integers(1, BUNDLE_LAMPS + 1))
    middles = unit_vectors(np.stack([g.uniform(low, high, lamps) for low, high in BUNDLE_DIRECTIONS], -1))
    spread = BUNDLE_SPREAD * g.standard_normal((lamps * BUNDLE_RAYS, 3))
    rays: Float64Array = unit_vectors(np.repeat(middles, BUNDLE_RAYS, 0) + spread)
    brightness = g.uniform(0.3, 1.0, lamps)
    return RayLight(ambient, rays, np.repeat((1.0 - share) * brightness / brightness.sum(), BUNDLE_RAYS) / BUNDLE_RAYS)


def room_light(g: np.random.Generator) -> Light:
    """Draw ambient light with a gradient and one or two directional lamps, all of a common random tint; batch of 1."""
    tint = torch.from_numpy(np.exp(g.normal(0.0, [0.1, 0.0, 0.15])).astype(np.float32))
    sh = Light.ambient(float(g.uniform(0.15, 0.6))).sh.clone()
    sh[0, 1:4] = torch.from_numpy(g.normal(0.0, 0.12, (3, 1)).astype(np.float32)) * sh[0, 0]
    lamps = int(g.integers(1, ROOM_LAMPS + 1))
    directions = torch.from_numpy(np.stack([g.uniform(low, high, lamps) for low, high in ROOM_DIRECTIONS], -1)).float()
    colors = torch.from_numpy(g.uniform(0.2, 1.0, (lamps, 1))).float() * tint
    return Light(sh * tint, functional.normalize(directions, dim=-1)[None], colors[None])


def smooth_lights(
    batch: int, directional_share: tuple[float, float], tint_log_sigma: float, random: torch.Generator
) -> Tensor:
    """Draw ambient light and two wide lights, as spherical harmonics (B, 9, 3) in `Light.sh`'s convention.

    :param directional_share: range of the share of the two wide lights.
    :param tint_log_sigma: standard deviation of the logarithm of each light's warmth.
    """
    low, high = directional_share
    share = low + (high - low) * torch.rand(batch, generator=random)
    light = torch.zeros(batch, SH_COUNT, 3)
    light[:, 0] = (1.0 - share)[:, None] / SH_BAND_0 * _tints(batch, tint_log_sigma, random)
    split = torch.rand(batch, generator=random)
    for part in (split, 1.0 - split):
        direction = functional.normalize(
            torch.randn(batch, 3, generator=random) + torch.tensor([0.0, 0.5, 0.8]), dim=-1
        )
        color = (share * part)[:, None] * 1.5 * _tints(batch, tint_log_sigma, random)
        light = light + sh_irradiance_of_directional(direction, color)
    return light


def smooth_and_sharp_lights(
    batch: int, directional_share: tuple[float, float], tint_log_sigma: float, random: torch.Generator
) -> Light:
    """Draw ambient light, a wide light and one that is half wide and half directional, for highlights.

    :param directional_share: range of the share of the two lights that are not ambient.
    :param tint_log_sigma: standard deviation of the logarithm of each light's warmth.
    """
    low, high = directional_share
    share = low + (high - low) * torch.rand(batch, 1, generator=random)
    sh = torch.zeros(batch, SH_COUNT, 3)
    sh[:, 0] = (1.0 - share) / SH_BAND_0 * _tints(batch, tint_log_sigma, random)
    split = torch.rand(batch, 1, generator=random)
    wide, sharp = (
        functional.normalize(torch.randn(batch, 3, generator=random) + torch.tensor([0.0, 0.4, 0.8]), dim=-1)
        for _ in range(2)
    )
    sh = sh + sh_irradiance_of_directional(wide, 2.0 * share * split * _tints(batch, tint_log_sigma, random))
    color = 2.0 * share * (1.0 - split) * _tints(batch, tint_log_sigma, random)
    # Half of the sharp light is as wide as the other, so that the edges of attached shadows vary.
    sh = sh + sh_irradiance_of_directional(sharp, 0.5 * color)
    return Light(sh, sharp[:, None], 0.5 * color[:, None])


def _tints(batch: int, log_sigma: float, random: torch.Generator) -> Tensor:
    """Colours (B, 3) of light from warm to cold, green 1, linear."""
    warmth = log_sigma * torch.randn(batch, generator=random)
    return torch.stack([warmth, torch.zeros(batch), -warmth], -1).exp()

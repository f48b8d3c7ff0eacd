"""Light by picture: an equirectangular panorama as spherical harmonics and directional lights.

Harmonics of order 2 hold all that a diffuse surface sees of soft surroundings (Ramamoorthi and Hanrahan, "An Efficient
Representation for Irradiance Environment Maps", SIGGRAPH 2001), but no shadow. Small bright sources, such as the sun
and lamps, are therefore taken out of the panorama and become directional lights, which cast shadows (lights in place of
texels: Debevec, "A Median Cut Algorithm for Light Probe Sampling", SIGGRAPH 2005 poster).

A panorama's middle lies straight ahead of the camera, behind the head: direction -z of the view frame. Its right is +x,
its top +y; the light on a face comes from its left and right edges. The page has the same in
`client/renderer/environment/panorama.js`.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import torch

from fitme.arrays import BoolArray, Float32Array, Float64Array
from fitme.color import LUMINANCE
from fitme.render.light import Light
from fitme.render.shading import sh_basis

ROWS, COLUMNS = 128, 256
"""Size to which every panorama is reduced: 1.4 degrees a texel."""
MEAN_RADIANCE = 0.5
"""Mean over all directions of a panorama of unknown exposure: shading of a white surface under its mean light."""
MAX_SOURCES = 2
"""Directional lights that are taken out of one panorama at most."""
SOURCE_RADIUS_DEG, RING_RADIUS_DEG = 18.0, 25.0
"""Radius of a source, and of the ring round it whose mean radiance remains in its place."""
MEAN_SHIFTS = 5
"""Steps from a source's brightest texel to its middle."""
LEAST_CONTRAST = 4.0
"""Peak of a source over the panorama's mean luminance."""
LEAST_SHARE = 0.5
"""Shading by a source, where it falls straight on, over the panorama's mean luminance: weaker ones stay."""
LEAST_COMPACTNESS = 0.6
"""Share of the light within twice the radius that a source has within it: broader ones, such as skies, stay."""


@dataclass(frozen=True, eq=False)
class Environment:
    """Surroundings of a head: the panorama without its small bright sources, and those as directional lights."""

    panorama: Float32Array
    """(`ROWS`, `COLUMNS`, 3) radiance, linear sRGB primaries: a uniform radiance of 1 shades a white surface to 1."""
    directions: Float32Array
    """(L, 3) unit, towards the sources, in the panorama's frame: the view frame before it is turned."""
    colors: Float32Array
    """(L, 3) shading of a white surface that faces the source."""

    def light(self, turn_rad: float = 0.0) -> Light:
        """Light of a head in the view frame, as a batch of one.

        :param turn_rad: by which the surroundings turn about the vertical axis, counter-clockwise seen from above.
        """
        turned = _turned(_directions(), turn_rad)
        basis = sh_basis(torch.from_numpy(turned)).numpy()  # (R, C, 9)
        radiance = np.einsum("rc,rck,rcd->kd", _solid_angles(), basis, self.panorama)
        # Convolution with the clamped cosine, over pi: factors 1, 2 / 3, 1 / 4 of the bands.
        bands = np.array([1.0] + [2.0 / 3.0] * 3 + [0.25] * 5)
        sh = torch.from_numpy((bands[:, None] * radiance).astype(np.float32))
        directions = torch.from_numpy(_turned(self.directions.astype(np.float64), turn_rad).astype(np.float32))
        return Light(sh[None], directions[None], torch.from_numpy(self.colors)[None])


def environment_of(panorama: Float32Array, *, normalized: bool = True) -> Environment:
    """Surroundings of a panorama (H, W, 3), linear, of any size.

    :param normalized: scale it to `MEAN_RADIANCE`, since most panoramas have arbitrary units.
    """
    reduced = cv2.resize(np.ascontiguousarray(panorama, np.float32), (COLUMNS, ROWS), interpolation=cv2.INTER_AREA)
    radiance: Float64Array = np.maximum(reduced, 0.0).astype(np.float64)
    if normalized:
        mean = float((_solid_angles() * (radiance @ LUMINANCE)).sum() / (4.0 * np.pi))
        radiance *= MEAN_RADIANCE / max(mean, 1e-9)
    directions, colors = [], []
    for _ in range(MAX_SOURCES):
        source = _brightest_source(radiance)
        if source is None:
            break
        direction, color, radiance = source
        directions.append(direction)
        colors.append(color)
    return Environment(
        radiance.astype(np.float32),
        np.array(directions, np.float32).reshape(-1, 3),
        np.array(colors, np.float32).reshape(-1, 3),
    )


def panorama_place(direction: Float64Array) -> Float64Array:
    """Places (..., 2) in [0, 1] on a panorama, from its top left, of unit vectors (..., 3)."""
    x, y, z = np.moveaxis(direction, -1, 0)
    u = 0.5 + np.arctan2(x, -z) / (2.0 * np.pi)
    return np.stack([u, np.arccos(np.clip(y, -1.0, 1.0)) / np.pi], -1)


def panorama_directions(rows: int, columns: int) -> Float64Array:
    """Unit vectors (R, C, 3) of the texels of a panorama."""
    azimuth = 2.0 * np.pi * ((np.arange(columns) + 0.5) / columns - 0.5)
    polar = np.pi * (np.arange(rows) + 0.5)[:, None] / rows
    x, z = np.sin(polar) * np.sin(azimuth), -np.sin(polar) * np.cos(azimuth)
    return np.stack([x, np.broadcast_to(np.cos(polar), x.shape), z], -1)


def texel_solid_angles(rows: int, columns: int) -> Float64Array:
    """(R, 1) steradians of the texels of each row; their sum over all texels is 4 pi."""
    edges = np.cos(np.pi * np.arange(rows + 1) / rows)
    return np.asarray((edges[:-1] - edges[1:])[:, None] * (2.0 * np.pi / columns))


@cache
def _directions() -> Float64Array:
    return panorama_directions(ROWS, COLUMNS)


@cache
def _solid_angles() -> Float64Array:
    """(`ROWS`, `COLUMNS`) steradians."""
    return np.repeat(texel_solid_angles(ROWS, COLUMNS), COLUMNS, 1)


def _turned(directions: Float64Array, turn_rad: float) -> Float64Array:
    """Unit vectors (..., 3) turned about the vertical axis."""
    x, y, z = np.moveaxis(directions, -1, 0)
    cos, sin = np.cos(turn_rad), np.sin(turn_rad)
    return np.stack([cos * x + sin * z, y, cos * z - sin * x], -1)


def _brightest_source(panorama: Float64Array) -> tuple[Float64Array, Float64Array, Float64Array] | None:
    """Direction (3,) and colour (3,) of the brightest small source, and the panorama without it; None without one."""
    luminance = panorama @ LUMINANCE
    solid = _solid_angles()
    mean = float((solid * luminance).sum() / (4.0 * np.pi))
    peak = np.unravel_index(int(luminance.argmax()), luminance.shape)
    if luminance[peak] < LEAST_CONTRAST * mean:
        return None
    # The source's middle is that of the light round it: mean shift from the brightest texel.
    middle = _directions()[peak]
    for _ in range(MEAN_SHIFTS):
        near = np.where(_cap(middle, SOURCE_RADIUS_DEG), solid * luminance, 0.0)
        middle = (near[..., None] * _directions()).sum((0, 1))
        middle /= np.linalg.norm(middle)
    inside = _cap(middle, SOURCE_RADIUS_DEG)
    ring = _cap(middle, RING_RADIUS_DEG) & ~inside
    around = (solid[ring, None] * panorama[ring]).sum(0) / solid[ring].sum()
    excess = np.maximum(panorama - around, 0.0) * solid[..., None] / np.pi
    color = excess[inside].sum(0)
    level = float(color @ LUMINANCE)
    vicinity = float(excess[_cap(middle, 2.0 * SOURCE_RADIUS_DEG)].sum(0) @ LUMINANCE)
    if level < LEAST_SHARE * mean or level < LEAST_COMPACTNESS * vicinity:
        return None
    remaining = np.where(inside[..., None], np.minimum(panorama, around), panorama)
    return middle, color, remaining


def _cap(middle: Float64Array, radius_deg: float) -> BoolArray:
    """(`ROWS`, `COLUMNS`) whether a texel lies within an angle of a unit vector (3,)."""
    return np.asarray(_directions() @ middle >= np.cos(np.radians(radius_deg)))

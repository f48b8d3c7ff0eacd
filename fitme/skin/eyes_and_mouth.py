"""Diffuse albedo of eyes and mouth interior: eyeballs, teeth, tongue and gums. Colours are linear sRGB."""

import numpy as np

from fitme.arrays import Float32Array
from fitme.shape.regions import Region
from fitme.skin.attributes import SkinAttributes
from fitme.skin.texel_geometry import TexelGeometry

SCLERA = (0.72, 0.67, 0.63)
VEINS = (0.62, 0.33, 0.28)
BROWN_IRIS, BLUE_IRIS, GREEN_IRIS = (0.055, 0.024, 0.010), (0.13, 0.19, 0.27), (0.16, 0.17, 0.09)
PUPIL = (0.006, 0.005, 0.005)
PUPIL_RADIUS, LIMBUS_RADIUS = 0.38, 0.97
"""Radii of pupil and limbus in radii of the iris."""
TOOTH_YOUNG, TOOTH_OLD = (0.74, 0.68, 0.57), (0.62, 0.52, 0.36)
GUM, TONGUE, THROAT = (0.42, 0.17, 0.15), (0.38, 0.15, 0.14), (0.10, 0.025, 0.022)
TEETH_PER_HALF_ROW, ROW_HALF_LENGTH = 7, 0.14
"""Teeth along half a row, and its extent along u in layout units."""
TONGUE_HALF_WIDTH_M = 0.024
IRIS_RADIUS = 0.0225
"""Radius of the iris in layout units."""


def _blend(a: Float32Array, b: Float32Array, amount: Float32Array) -> Float32Array:
    """Linear interpolation from colours a to b (H, W, 3) by amounts (H, W)."""
    return np.asarray(a + (b - a) * amount[..., None], np.float32)


def _flat(geometry: TexelGeometry, color: tuple[float, float, float]) -> Float32Array:
    """Map (H, W, 3) of one colour."""
    return np.broadcast_to(np.asarray(color, np.float32), (*geometry.u.shape, 3))


def eyeball_albedo(geometry: TexelGeometry, attributes: SkinAttributes, fibres: Float32Array) -> Float32Array:
    """Albedo (H, W, 3) of the eyeballs: sclera with vessels, redder and darker away from the iris; iris with a dark
    limbal ring, a lighter collarette and the given radial fibres (H, W); pupil."""
    radius = geometry.iris
    # Sclera: white with vessels along the zero lines of a noise field.
    outwards = np.clip((radius - 1.1) * 0.45, 0.0, 1.0)
    vessels = np.exp(-0.5 * (geometry.fine[0] / 0.16) ** 2) * np.clip(geometry.middle[0] + 0.3, 0.0, 1.0)
    redness = outwards * (0.10 + 0.35 * attributes.sclera_redness + (0.15 + 0.6 * attributes.sclera_redness) * vessels)
    sclera = _flat(geometry, SCLERA) * (1.0 - 0.25 * outwards)[..., None]
    eye = _blend(sclera, _flat(geometry, VEINS), np.clip(redness, 0.0, 1.0))
    light = _blend(_flat(geometry, BLUE_IRIS), _flat(geometry, GREEN_IRIS), np.full_like(radius, attributes.iris_green))
    color = light * (np.array(BROWN_IRIS, np.float32) / light) ** np.float32(attributes.iris_melanin)
    fibrous = np.exp(0.28 * np.clip(fibres, -2.0, 2.0))
    collarette = 1.0 + 0.5 * np.exp(-0.5 * ((radius - 0.5) / 0.1) ** 2)
    rim = 1.0 - 0.75 * np.exp(-0.5 * ((radius - 0.98) / 0.1) ** 2)
    iris = color * (fibrous * collarette * rim)[..., None]
    half_texel = 0.5 / (IRIS_RADIUS * geometry.resolution)  # softens the edges in coarse maps, in radii of the iris
    eye = _blend(eye, iris, _soft_disc(radius, LIMBUS_RADIUS, 0.1 + half_texel))
    return _blend(eye, _flat(geometry, PUPIL), _soft_disc(radius, PUPIL_RADIUS, 0.03 + half_texel))


def mouth_albedo(geometry: TexelGeometry, attributes: SkinAttributes) -> Float32Array:
    """Albedo (H, W, 3) of the mouth interior: teeth side by side along each row, darker where they meet; tongue and
    gums, darker towards the throat.

    The gaps between teeth follow the layout, whose u runs along the rows: planes through the head would cut the curved
    rows into contour lines.
    """
    x, z = geometry.position[..., 0], geometry.position[..., 2]
    tooth = np.array(TOOTH_YOUNG) + (np.array(TOOTH_OLD) - np.array(TOOTH_YOUNG)) * attributes.age
    place = geometry.u / (ROW_HALF_LENGTH / TEETH_PER_HALF_ROW)
    gap = np.exp(-0.5 * ((np.abs(place % 1.0 - 0.5) - 0.5) / 0.05) ** 2)
    back = np.clip(place / TEETH_PER_HALF_ROW, 0.0, 1.0)
    teeth = tooth * ((1.0 - 0.45 * gap) * (1.0 - 0.5 * back**1.5))[..., None]
    tongue = 1.0 / (1.0 + np.exp((np.abs(x) - TONGUE_HALF_WIDTH_M) / 0.0015))
    flesh = np.array(GUM) + (np.array(TONGUE) - np.array(GUM)) * tongue[..., None]
    depth = np.clip((0.010 - z) / 0.045, 0.0, 1.0)
    inside = flesh + (np.array(THROAT) - flesh) * depth[..., None]
    mottled = inside * (1.0 + 0.08 * geometry.middle[1] * tongue + 0.05 * geometry.fine[1] * tongue)[..., None]
    return np.where(geometry.is_region(Region.TEETH)[..., None], teeth, mottled).astype(np.float32)


def _soft_disc(radius: Float32Array, edge: float, softness: float) -> Float32Array:
    """Mask (H, W) of a disc in polar coordinates, with an edge of the given width."""
    return np.clip((edge - radius) / softness + 0.5, 0.0, 1.0).astype(np.float32)

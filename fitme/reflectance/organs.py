"""Looks of what is not skin: eyeballs, teeth, tongue and the inside of the mouth. Linear sRGB albedos (H, W, 3)."""

import numpy as np

from fitme.reflectance.atlas import FloatArray, SkinAtlas
from fitme.reflectance.traits import SkinTraits
from fitme.shape.regions import Region

SCLERA = (0.72, 0.67, 0.63)
VEINS = (0.62, 0.33, 0.28)
BROWN_IRIS, BLUE_IRIS, GREEN_IRIS = (0.055, 0.024, 0.010), (0.13, 0.19, 0.27), (0.16, 0.17, 0.09)
PUPIL = (0.006, 0.005, 0.005)
PUPIL_RADIUS, LIMBUS_RADIUS = 0.38, 0.97
"""In radii of the iris."""
TOOTH_YOUNG, TOOTH_OLD = (0.74, 0.68, 0.57), (0.62, 0.52, 0.36)
GUM, TONGUE, THROAT = (0.40, 0.13, 0.12), (0.36, 0.13, 0.12), (0.10, 0.025, 0.022)
TOOTH_WIDTH_M = 0.0078
TONGUE_HALF_WIDTH_M = 0.024


def _blend(a: FloatArray, b: FloatArray, amount: FloatArray) -> FloatArray:
    return np.asarray(a + (b - a) * amount[..., None], np.float32)


def _flat(atlas: SkinAtlas, color: tuple[float, float, float]) -> FloatArray:
    return np.broadcast_to(np.asarray(color, np.float32), (*atlas.u.shape, 3))


def eyeball_albedo(atlas: SkinAtlas, traits: SkinTraits) -> FloatArray:
    """Sclera, redder away from the iris; iris with a dark rim and radial fibres; pupil."""
    radius = atlas.iris
    redness = np.clip((radius - 1.1) * 0.3, 0.0, 1.0) * (0.15 + 0.6 * traits.sclera_redness)
    redness = redness * (0.6 + 0.4 * np.clip(atlas.middle[0], -1.0, 1.0))
    eye = _blend(_flat(atlas, SCLERA), _flat(atlas, VEINS), redness)
    light = _blend(_flat(atlas, BLUE_IRIS), _flat(atlas, GREEN_IRIS), np.full_like(radius, traits.iris_green))
    color = light * (np.array(BROWN_IRIS, np.float32) / light) ** np.float32(traits.iris_melanin)
    fibres = 1.0 + 0.22 * np.sin(13.0 * atlas.iris_angle) * np.sin(29.0 * atlas.iris_angle + 1.0)
    collarette = 1.0 + 0.35 * np.exp(-0.5 * ((radius - 0.55) / 0.12) ** 2)
    rim = 1.0 - 0.6 * np.exp(-0.5 * ((radius - 0.95) / 0.13) ** 2)
    iris = color * (fibres * collarette * rim)[..., None]
    pixel = 0.5 / (0.0225 * atlas.resolution)  # half a texel in radii of the iris
    eye = _blend(eye, iris, _soft_disc(radius, LIMBUS_RADIUS, 0.08 + pixel))
    return _blend(eye, _flat(atlas, PUPIL), _soft_disc(radius, PUPIL_RADIUS, 0.03 + pixel))


def mouth_albedo(atlas: SkinAtlas, traits: SkinTraits) -> FloatArray:
    """Teeth with the gaps between them; tongue and gums, darker towards the throat."""
    x, z = atlas.position[..., 0], atlas.position[..., 2]
    tooth = np.array(TOOTH_YOUNG) + (np.array(TOOTH_OLD) - np.array(TOOTH_YOUNG)) * traits.age
    gap = np.exp(-0.5 * ((np.abs((x / TOOTH_WIDTH_M) % 1.0 - 0.5) - 0.5) / 0.06) ** 2)
    back = np.clip((0.012 - z) / 0.04, 0.0, 1.0)
    teeth = tooth * ((1.0 - 0.35 * gap) * (1.0 - 0.5 * back))[..., None]
    tongue = np.abs(x) < TONGUE_HALF_WIDTH_M
    flesh = np.where(tongue[..., None], np.array(TONGUE), np.array(GUM))
    depth = np.clip((0.010 - z) / 0.045, 0.0, 1.0)
    inside = flesh + (np.array(THROAT) - flesh) * depth[..., None]
    mottled = inside * (1.0 + 0.08 * atlas.middle[1])[..., None]
    return np.where(atlas.is_region(Region.TEETH)[..., None], teeth, mottled).astype(np.float32)


def _soft_disc(radius: FloatArray, edge: float, softness: float) -> FloatArray:
    return np.clip((edge - radius) / softness + 0.5, 0.0, 1.0).astype(np.float32)

"""Melanin and blood of a synthetic head per texel, in the units of `pigments.skin_color`. Arrays are (H, W)."""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.skin.attributes import SkinAttributes
from fitme.skin.layers import NoiseMixtures, SkinLayers, facial_factor
from fitme.skin.pigments import melanin_of_ita
from fitme.skin.texel_geometry import TexelGeometry

MOTTLE_DAMPING = 7.0
"""Damping of relative changes of melanin by its amount: on dark skin an equal change shows more."""
VESSEL_DETAIL, FOREHEAD_VESSELS = 1.0, -0.9
"""Additional strength in fine maps of the noise of blood at the resolution limit of coarse maps, and on the forehead
compared with the cheeks. A coarse map's slopes are differences over whole waves of such noise, and too small."""


@dataclass(frozen=True, eq=False)
class _Areas:
    """Smooth masks of parts of the face, in [0, 1] or a little above."""

    cheek: Float32Array
    nose: Float32Array
    chin: Float32Array
    forehead: Float32Array
    ears: Float32Array
    lids: Float32Array
    under_eyes: Float32Array
    philtrum: Float32Array


def pigment_maps(
    geometry: TexelGeometry,
    attributes: SkinAttributes,
    noise: NoiseMixtures,
    layers: SkinLayers,
    generator: np.random.Generator,
) -> tuple[Float64Array, Float64Array]:
    """Melanin and blood (H, W); `generator` places moles, then blemishes."""
    areas = _areas(geometry)
    melanin = _melanin(geometry, attributes, noise, layers, areas, generator)
    blood = _blood(geometry, attributes, noise, layers, areas, generator)
    # Creases expose less stretched skin, denser in melanin.
    return melanin.astype(np.float64) * (1.0 + 0.35 * layers.wrinkles), blood.astype(np.float64)


def _areas(geometry: TexelGeometry) -> _Areas:
    eye = geometry.landmark(159, 145, 386, 374)
    nose_tip = geometry.blob(geometry.landmark(4), 0.035, 0.03)
    return _Areas(
        cheek=geometry.blob(geometry.landmark(50, 280), 0.05, 0.04),
        nose=nose_tip + 0.8 * geometry.blob(geometry.landmark(64, 294), 0.018, 0.022),
        chin=geometry.blob(geometry.landmark(199), 0.04, 0.03),
        forehead=geometry.blob(geometry.landmark(151), 0.13, 0.05),
        ears=geometry.blob((0.415, 0.38), 0.035, 0.06),
        lids=np.exp(-0.5 * (np.maximum(geometry.eyelids, 0.0) / 0.014) ** 2) * geometry.skin_like,
        under_eyes=geometry.blob((eye[0], eye[1] + 0.032), 0.038, 0.013),
        philtrum=geometry.blob(geometry.landmark(164), 0.05, 0.02),
    )


def _melanin(
    geometry: TexelGeometry,
    attributes: SkinAttributes,
    noise: NoiseMixtures,
    layers: SkinLayers,
    areas: _Areas,
    generator: np.random.Generator,
) -> Float32Array:
    low, middle, fine, grain = noise.low, noise.middle, noise.fine, noise.grain
    # The level comes from the ITA, so that the finished skin has the attribute's class of skin tone.
    base = melanin_of_ita(attributes.ita_deg, attributes.blood)
    damping = 1.0 / (1.0 + MOTTLE_DAMPING * base)
    # Mottling and regional differences multiply it.
    mottle = damping * (
        0.16 * low[0] + (0.05 + 0.10 * attributes.mottling) * middle[0] + 0.035 * fine[0] + 0.03 * grain[0]
    )
    sun = attributes.tan_lines * (areas.forehead + 0.6 * areas.nose)
    dark_lids = (0.15 + 0.55 * attributes.eyelid_darkness) * (0.6 * areas.lids + 0.8 * areas.under_eyes)
    regional = 0.22 * sun + dark_lids - 0.10 * areas.cheek + 0.12 * areas.philtrum
    neck = np.clip((geometry.v - 0.68) / 0.1, 0.0, 1.0) * -0.25 * attributes.tan_lines
    melanin = (base + 0.004) * np.exp(mottle + damping * (regional + neck)) + 0.012 * attributes.eyelid_darkness * (
        areas.lids + areas.under_eyes
    )
    # Freckles, the pale vermilion and moles lie on top.
    freckle_zone = np.clip(areas.cheek + areas.nose + 0.3 * areas.forehead, 0.0, 1.0)
    freckled = np.clip(1.3 * fine[1] + 0.5 * grain[0] + 0.35 * middle[1] - 1.3, 0.0, 1.0) * freckle_zone
    melanin = melanin * (1.0 + 0.8 * attributes.freckles * freckled) + 0.08 * attributes.freckles * freckled
    moles = _spots(geometry, generator, attributes.moles, 0.0026, 0.0052)
    return np.asarray(melanin * (1.0 - 0.35 * layers.lips) + 0.35 * moles)


def _blood(
    geometry: TexelGeometry,
    attributes: SkinAttributes,
    noise: NoiseMixtures,
    layers: SkinLayers,
    areas: _Areas,
    generator: np.random.Generator,
) -> Float32Array:
    low, middle, fine, grain = noise.low, noise.middle, noise.fine, noise.grain
    # Flushed regions and mottling multiply the base level.
    flush = (
        attributes.flush
        * (1.4 * areas.cheek + 1.5 * areas.nose + 0.7 * areas.chin + 0.7 * areas.ears + 0.5 * geometry.ear_hollow)
        + 0.45 * areas.lids
        + 0.25 * areas.under_eyes
    )
    vessels = 0.16 * low[1] + (0.06 + 0.16 * attributes.mottling) * middle[1] + 0.07 * fine[1]
    strength = 1.0 + VESSEL_DETAIL * geometry.detail * facial_factor(geometry, 0.0, FOREHEAD_VESSELS)
    vessels = vessels + 0.05 * strength * grain[1]
    blood = attributes.blood * np.exp(vessels) * (1.0 + flush + 0.5 * layers.wrinkles)
    # The vermilion and the rims of the lids have thin skin.
    rims = np.exp(-0.5 * ((geometry.eyelids + 0.004) / 0.005) ** 2) * geometry.skin_like
    inwards = np.clip(-geometry.lips / 0.03, 0.0, 1.0)
    vermilion = layers.lips * (0.6 + 0.5 * inwards) * np.exp(0.1 * noise.lip_folds)
    blood = blood * (1.0 + (attributes.lip_blood - 1.0) * vermilion) + 0.012 * rims
    # Visible vessels run along the zero lines of a noise field, on flushed cheeks and nose.
    fine_vessels = np.exp(-0.5 * (middle[2] / 0.12) ** 2) * np.clip(low[2] + 0.5, 0.0, 1.0)
    blood = blood * (
        1.0 + 0.5 * attributes.flush * attributes.mottling * fine_vessels * np.clip(areas.cheek + areas.nose, 0.0, 1.0)
    )
    return np.asarray(blood + 0.045 * _spots(geometry, generator, attributes.blemishes, 0.003, 0.007))


def _spots(
    geometry: TexelGeometry, generator: np.random.Generator, count: int, smallest: float, largest: float
) -> Float32Array:
    """Round spots (H, W), `count` of them, at random places on the face and neck; radii in layout units."""
    total = np.zeros_like(geometry.u)
    signed_u = np.sign(np.arange(geometry.resolution) - geometry.resolution / 2 + 0.5)[None] * geometry.u + 0.5
    for _ in range(count):
        u, v = generator.uniform(0.24, 0.76), generator.uniform(0.13, 0.8)
        radius, strength = generator.uniform(smallest, largest), generator.uniform(0.3, 1.0)
        distance = np.hypot(signed_u - u, geometry.v - v) / radius
        total = np.maximum(total, strength * np.exp(-(distance**2.0)))
    return np.where(geometry.skin_like, total, 0.0).astype(np.float32)

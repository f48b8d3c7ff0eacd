"""Specular albedo of a synthetic head: smooth, oily forehead and nose, moist lips; less on hair, eyelids, creases and
pores. 1 reflects 4 % at normal incidence (glTF's specular factor)."""

import numpy as np

from fitme.arrays import Float32Array
from fitme.shape.regions import Region
from fitme.skin.attributes import SkinAttributes
from fitme.skin.layers import NoiseMixtures, SkinLayers, facial_factor
from fitme.skin.texel_geometry import TexelGeometry

SKIN_SPECULAR, HAIR_SPECULAR, EYE_SPECULAR, TOOTH_SPECULAR, MOUTH_SPECULAR = 0.55, 0.25, 0.35, 0.60, 0.45
PORE_SPECULAR_LOSS, GRIT_SPECULAR, FURROW_SPECULAR = 0.010, 0.018, 0.016
"""Standard deviations, in fine maps only, of the logarithm of the skin's specular albedo by the openings of pores, the
grain between them, and the furrows between the plateaus of the skin."""
LIP_CREASE_SPECULAR_LOSS, LIP_GRIT_SPECULAR = 0.036, 0.028
"""Standard deviations, in fine maps only, of the logarithm of the lips' specular albedo by creases and grain."""
SPECULAR_DETAIL = -0.4
"""Additional strength in fine maps of the noise at the resolution limit of coarse maps."""
NOSE_SPECULAR, FOREHEAD_SPECULAR = 0.3, 0.5
"""Additional strength of fine structure on the nose and the forehead, compared with the cheeks."""


def specular_albedo(
    geometry: TexelGeometry, attributes: SkinAttributes, noise: NoiseMixtures, layers: SkinLayers
) -> Float32Array:
    """Specular albedo (H, W) of a head, not yet clamped."""
    low, middle, grain = noise.low, noise.middle, noise.grain
    nose_tip = geometry.landmark(4)
    oily = geometry.blob(geometry.landmark(151), 0.12, 0.05) + geometry.blob(nose_tip, 0.03, 0.08)
    oily = np.clip(oily + 0.5 * geometry.blob(geometry.landmark(199), 0.04, 0.03), 0.0, 1.0)
    lids = np.exp(-0.5 * (np.maximum(geometry.eyelids, 0.0) / 0.02) ** 2) * geometry.skin_like
    strength = 1.0 + SPECULAR_DETAIL * geometry.detail
    texture = 0.035 * low[1] + 0.03 * middle[2] + 0.025 * strength * grain[0]
    skin = SKIN_SPECULAR * (1.0 + (0.05 + 0.2 * attributes.oil) * oily + texture) * (1.0 - 0.2 * lids)
    # Cavities and hairs hold no smooth film of oil.
    skin = (
        skin
        * (1.0 - 0.3 * layers.wrinkles)
        * (1.0 - 0.7 * layers.nostrils)
        * (1.0 - 0.4 * layers.lashes)
        * (1.0 - 0.35 * geometry.ear_hollow)
    )
    nose = geometry.blob(nose_tip, 0.035, 0.045)
    alar_crease = geometry.blob(geometry.landmark(129, 358), 0.008, 0.014)
    fine = _fine_structure(geometry, noise, layers)
    skin = skin * np.exp(nose * (0.06 * strength * grain[1] + 0.04 * middle[1]) + fine) * (1.0 - 0.35 * alar_crease)
    skin = skin * np.exp(0.05 * strength * layers.lips * (noise.lip_folds + grain[1]))
    skin = skin * (1.0 + layers.lips * (0.18 * attributes.moisture - 0.05)) * (1.0 - 0.3 * layers.lip_line)
    # Hair covers the skin; eyes, mouth and teeth replace it.
    skin = skin + (HAIR_SPECULAR - skin) * layers.hair
    skin = np.where(geometry.is_region(Region.EYES), EYE_SPECULAR, skin)
    skin = np.where(geometry.is_region(Region.MOUTH_INTERIOR), MOUTH_SPECULAR, skin)
    return np.where(geometry.is_region(Region.TEETH), TOOTH_SPECULAR, skin).astype(np.float32)


def _fine_structure(geometry: TexelGeometry, noise: NoiseMixtures, layers: SkinLayers) -> Float32Array:
    """Logarithm (H, W) of the factor by which structure of fine maps changes the specular albedo."""
    skin = GRIT_SPECULAR * noise.grit[2] + FURROW_SPECULAR * noise.pores[1] - PORE_SPECULAR_LOSS * noise.openings
    lips = LIP_GRIT_SPECULAR * noise.grit[2] - LIP_CREASE_SPECULAR_LOSS * noise.lip_creases
    skin = layers.bare * facial_factor(geometry, NOSE_SPECULAR, FOREHEAD_SPECULAR) * skin
    return np.asarray(skin + layers.creased * lips, np.float32)

"""Fine relief of the skin as a height field, and its tangent-space normals."""

import numpy as np

from fitme.arrays import Float32Array
from fitme.skin.attributes import SkinAttributes
from fitme.skin.hair import beard_area
from fitme.skin.layers import NoiseMixtures, SkinLayers, facial_factor
from fitme.skin.texel_geometry import TexelGeometry

PORE_DEPTH_M, STRAND_HEIGHT_M, WRINKLE_DEPTH_M, LIP_CREASE_M = 1.1e-4, 2.2e-4, 9e-4, 1.6e-4
NORMAL_LIMIT = 1.2
"""Steepest slope."""
FURROW_RELIEF, GRIT_RELIEF, PIT_RELIEF = 0.20, 0.15, 0.05
"""Heights of furrows, grain and openings of pores, in depths of a pore."""
LIP_CREASE_RELIEF, LIP_GRIT_RELIEF = 0.17, 0.10
"""Heights of creases and grain of the lips, in depths of a fold."""
RELIEF_DETAIL, LIP_FOLD_DETAIL = -0.5, -0.5
"""Additional strength in fine maps of the noise at the resolution limit of coarse maps, on skin and lips."""
NOSE_RELIEF, FOREHEAD_RELIEF = -0.2, 0.35
"""Additional strength of fine structure on the nose and the forehead, compared with the cheeks."""


def height_field(
    geometry: TexelGeometry, attributes: SkinAttributes, noise: NoiseMixtures, layers: SkinLayers
) -> Float32Array:
    """Height (H, W) in metres above the smooth surface."""
    # Pores do not show under hair and on lips; they are deepest on the nose.
    rough = (1.0 - layers.hair) * layers.bare * (1.0 + 0.8 * geometry.blob(geometry.landmark(4), 0.035, 0.03))
    height = PORE_DEPTH_M * (0.35 + attributes.pores) * _pore_relief(geometry, noise) * rough
    shaved = 0.15 * beard_area(geometry) * attributes.beard_shadow * noise.fine[1]
    strands = noise.strands * layers.scalp + 1.2 * layers.beard_strands + 0.8 * layers.brows + shaved
    lip_folds = layers.creased * _lip_relief(geometry, noise)
    height = height + STRAND_HEIGHT_M * strands - WRINKLE_DEPTH_M * layers.wrinkles + LIP_CREASE_M * lip_folds
    return np.where(geometry.skin_like, height, 0.0).astype(np.float32)


def normals_of_height(geometry: TexelGeometry, height: Float32Array) -> Float32Array:
    """Unit normals (H, W, 3), float32, of a height field (H, W) in metres: tangent space as in
    `ReflectanceMaps.normals`, slopes limited to `NORMAL_LIMIT`."""
    du = np.gradient(height, axis=1) / geometry.texel_m[0]
    dv = np.gradient(height, axis=0) / geometry.texel_m[1]
    slopes = np.clip(np.stack([-du, dv], -1), -NORMAL_LIMIT, NORMAL_LIMIT)
    normals = np.concatenate([slopes, np.ones_like(slopes[..., :1])], -1)
    return np.asarray(normals / np.linalg.norm(normals, axis=-1, keepdims=True), np.float32)


def _pore_relief(geometry: TexelGeometry, noise: NoiseMixtures) -> Float32Array:
    """Relief (H, W) of the skin in depths of a pore."""
    strength = 1.0 + RELIEF_DETAIL * geometry.detail
    coarse = 0.05 * noise.middle[0] + 0.12 * noise.fine[0] + 0.13 * strength * noise.grain[0]
    furrows = facial_factor(geometry, NOSE_RELIEF, 0.0) * FURROW_RELIEF * np.abs(noise.pores[0])
    finest = GRIT_RELIEF * noise.grit[0] - PIT_RELIEF * noise.openings
    return np.asarray(coarse - furrows + facial_factor(geometry, NOSE_RELIEF, FOREHEAD_RELIEF) * finest, np.float32)


def _lip_relief(geometry: TexelGeometry, noise: NoiseMixtures) -> Float32Array:
    """Relief (H, W) of the lips in depths of a fold."""
    strength = 1.0 + LIP_FOLD_DETAIL * geometry.detail
    creases = LIP_CREASE_RELIEF * noise.lip_creases
    return np.asarray(strength * noise.lip_folds - creases + LIP_GRIT_RELIEF * noise.grit[0], np.float32)

"""Fine relief of the skin as a height field, and its tangent-space normals."""

from functools import lru_cache

import numpy as np

from fitme.arrays import Float32Array
from fitme.skin.attributes import SkinAttributes
from fitme.skin.texel_geometry import TexelGeometry, curve_coordinates

PORE_DEPTH_M, STRAND_HEIGHT_M, WRINKLE_DEPTH_M, LIP_CREASE_M = 1.1e-4, 2.2e-4, 9e-4, 1.6e-4
NORMAL_LIMIT = 1.2
"""Steepest slope."""

WRINKLES = (
    ((0.0, 0.135), (0.06, 0.137), (0.13, 0.147)),
    ((0.0, 0.160), (0.06, 0.161), (0.14, 0.173)),
    ((0.0, 0.185), (0.05, 0.185), (0.12, 0.194)),
    ((0.014, 0.225), (0.016, 0.250), (0.012, 0.268)),
    ((0.170, 0.283), (0.195, 0.272), (0.215, 0.262)),
    ((0.172, 0.297), (0.200, 0.297), (0.225, 0.297)),
    ((0.168, 0.310), (0.190, 0.322), (0.212, 0.334)),
    ((0.060, 0.425), (0.085, 0.465), (0.105, 0.510), (0.112, 0.545)),
    ((0.078, 0.318), (0.105, 0.335), (0.140, 0.337)),
    ((0.100, 0.575), (0.115, 0.610), (0.118, 0.645)),
)
"""Creases that age deepens as (|u - 0.5|, v): forehead, glabella, crow's feet, nasolabial, under the eye,
marionette."""
CREASE_OF_EVERYONE = 7
"""Index of the crease (nasolabial) that the young have too."""
WRINKLE_WIDTH = 0.0035
"""Standard deviation across, layout units."""


@lru_cache(maxsize=4)
def _crease_templates(geometry: TexelGeometry) -> Float32Array:
    """Profile (len(WRINKLES), H, W) of each crease at full depth."""
    templates = []
    for points in WRINKLES:
        curve = curve_coordinates(
            geometry.u + 0.0015 * geometry.low[2],
            geometry.v + 0.002 * geometry.low[3],
            np.array(points),
        )
        ends = np.clip(np.minimum(curve.along, 1.0 - curve.along) * 6.0, 0.0, 1.0)
        if points[0][0] == 0.0:  # goes on beyond the axis of symmetry
            ends = np.clip((1.0 - curve.along) * 6.0, 0.0, 1.0)
        templates.append(ends * np.exp(-0.5 * (curve.across / WRINKLE_WIDTH) ** 2) * geometry.skin_like)
    return np.asarray(np.stack(templates), np.float32)


def wrinkle_field(geometry: TexelGeometry, attributes: SkinAttributes, amounts: Float32Array) -> Float32Array:
    """Depth of creases (H, W) in [0, 1]; `amounts` (len(WRINKLES),) varies them."""
    depths = np.full(len(WRINKLES), attributes.wrinkles**1.5)
    depths[CREASE_OF_EVERYONE] = 0.25 + 0.75 * attributes.wrinkles
    total = np.tensordot(depths * amounts, _crease_templates(geometry), 1)
    return np.clip(total, 0.0, 1.0).astype(np.float32)


def height_field(
    geometry: TexelGeometry,
    attributes: SkinAttributes,
    *,
    pores: Float32Array,  # (H, W) noise
    strands: Float32Array,  # (H, W) noise along the hair, times its coverage
    wrinkles: Float32Array,  # (H, W)
    lip_folds: Float32Array,  # (H, W) noise, times the lips
    rough: Float32Array,  # (H, W) where pores show
) -> Float32Array:
    """Height (H, W) in metres above the smooth surface."""
    height = PORE_DEPTH_M * (0.35 + attributes.pores) * pores * rough
    height = height + STRAND_HEIGHT_M * strands - WRINKLE_DEPTH_M * wrinkles + LIP_CREASE_M * lip_folds
    return np.where(geometry.skin_like, height, 0.0).astype(np.float32)


def normals_of_height(geometry: TexelGeometry, height: Float32Array) -> Float32Array:
    """Unit tangent-space normals (H, W, 3) as `ReflectanceMaps.normals` has them."""
    du = np.gradient(height, axis=1) / geometry.texel_m[0]
    dv = np.gradient(height, axis=0) / geometry.texel_m[1]
    slopes = np.clip(np.stack([-du, dv], -1), -NORMAL_LIMIT, NORMAL_LIMIT)
    normals = np.concatenate([slopes, np.ones_like(slopes[..., :1])], -1)
    return np.asarray(normals / np.linalg.norm(normals, axis=-1, keepdims=True), np.float32)

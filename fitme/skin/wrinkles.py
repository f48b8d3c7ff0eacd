"""Wrinkles: creases of a fixed course whose depth grows with age."""

from functools import lru_cache

import numpy as np

from fitme.arrays import Float32Array
from fitme.skin.attributes import SkinAttributes
from fitme.skin.texel_geometry import TexelGeometry, curve_coordinates

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
"""Polylines of the creases as (|u - 0.5|, v): forehead, glabella, crow's feet, nasolabial fold, under the eye,
marionette line."""
NASOLABIAL_FOLD = 7
"""Index in `WRINKLES` of the crease that young faces have, too."""
WRINKLE_WIDTH = 0.0035
"""Standard deviation of a crease's profile across, layout units."""


def wrinkle_field(geometry: TexelGeometry, attributes: SkinAttributes, amounts: Float32Array) -> Float32Array:
    """Depth of creases (H, W) in [0, 1]; `amounts` (len(WRINKLES),) are factors on the single creases."""
    depths = np.full(len(WRINKLES), attributes.wrinkles**1.5)
    depths[NASOLABIAL_FOLD] = 0.25 + 0.75 * attributes.wrinkles
    total = np.tensordot(depths * amounts, _crease_templates(geometry), 1)
    return np.clip(total, 0.0, 1.0).astype(np.float32)


@lru_cache(maxsize=4)
def _crease_templates(geometry: TexelGeometry) -> Float32Array:
    """Profiles (len(WRINKLES), H, W) of the creases at full depth."""
    templates = []
    for points in WRINKLES:
        # Noise bends the polylines, so that creases are not straight.
        curve = curve_coordinates(
            geometry.u + 0.0015 * geometry.low[2], geometry.v + 0.002 * geometry.low[3], np.array(points)
        )
        ends = np.clip(np.minimum(curve.along, 1.0 - curve.along) * 6.0, 0.0, 1.0)
        if points[0][0] == 0.0:  # continues across the axis of symmetry
            ends = np.clip((1.0 - curve.along) * 6.0, 0.0, 1.0)
        templates.append(ends * np.exp(-0.5 * (curve.across / WRINKLE_WIDTH) ** 2) * geometry.skin_like)
    return np.asarray(np.stack(templates), np.float32)

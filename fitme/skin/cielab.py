"""CIELAB of linear sRGB under the illuminant D65 (CIE 15:2004; sRGB: IEC 61966-2-1)."""

import numpy as np

from fitme.arrays import Float64Array, RealArray

XYZ_TO_SRGB: Float64Array = np.array(
    [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]], np.float64
)
"""Matrix from CIE 1931 XYZ to linear sRGB."""
D65_WHITE_XYZ = (0.9505, 1.0, 1.089)
"""White point."""
_KNEE = 6.0 / 29.0
"""Root below which CIELAB is linear in XYZ."""


def lab_of_linear(linear: RealArray) -> Float64Array:
    """CIELAB (..., 3) under D65 of linear sRGB (..., 3)."""
    xyz = np.asarray(linear, np.float64) @ np.linalg.inv(XYZ_TO_SRGB).T / np.array(D65_WHITE_XYZ)
    f = np.where(xyz > _KNEE**3, np.cbrt(np.maximum(xyz, _KNEE**3)), xyz / (3.0 * _KNEE**2) + 4.0 / 29.0)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], -1)


def linear_of_lab(lab: RealArray) -> Float64Array:
    """Linear sRGB (..., 3) of CIELAB (..., 3) under D65; may be outside [0, 1]."""
    y = (lab[..., 0] + 16.0) / 116.0
    f = np.stack([y + lab[..., 1] / 500.0, y, y - lab[..., 2] / 200.0], -1)
    xyz = np.where(f > _KNEE, f**3, 3.0 * _KNEE**2 * (f - 4.0 / 29.0))
    return np.asarray(xyz * np.array(D65_WHITE_XYZ) @ XYZ_TO_SRGB.T, np.float64)

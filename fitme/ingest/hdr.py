"""Conversion of HDR video (HLG, PQ) to display-referred linear light with sRGB primaries.

Sources: ITU-R BT.2100-2 (transfer functions, tables 4 and 5), ITU-R BT.2408-7 (SDR white at 203 cd/m2),
ITU-R BT.2087-0 (primaries of BT.2020 to those of BT.709, which are sRGB's).
"""

import numpy as np

from fitme.arrays import Float32Array

SDR_WHITE_CD_M2 = 203.0
"""Luminance of HDR's diffuse white, which becomes 1 (BT.2408)."""
HLG_PEAK_CD_M2 = 1000.0
"""Peak luminance of the reference display, for which the system gamma is `HLG_SYSTEM_GAMMA`."""
HLG_SYSTEM_GAMMA = 1.2
_HLG_A, _HLG_B, _HLG_C = 0.17883277, 0.28466892, 0.55991073
_PQ_PEAK_CD_M2 = 10_000.0
_PQ_M1, _PQ_M2 = 2610.0 / 16384.0, 2523.0 / 4096.0 * 128.0
_PQ_C1, _PQ_C2, _PQ_C3 = 3424.0 / 4096.0, 2413.0 / 4096.0 * 32.0, 2392.0 / 4096.0 * 32.0
_LUMINANCE_BT2020 = np.array([0.2627, 0.6780, 0.0593], np.float32)
_BT709_OF_BT2020 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)


def linear_of_hlg(encoded: Float32Array) -> Float32Array:
    """Display light over SDR white, of hybrid log-gamma values (..., 3) in [0, 1] with BT.2020 primaries."""
    # Inverse OETF, then the OOTF of the reference display on the scene's luminance.
    scene = np.where(encoded <= 0.5, encoded**2 / 3.0, (np.exp((encoded - _HLG_C) / _HLG_A) + _HLG_B) / 12.0)
    luminance = np.maximum(scene @ _LUMINANCE_BT2020, 1e-6)[..., None]
    light = scene * luminance ** (HLG_SYSTEM_GAMMA - 1.0) * (HLG_PEAK_CD_M2 / SDR_WHITE_CD_M2)
    return np.asarray(light, np.float32)


def linear_of_pq(encoded: Float32Array) -> Float32Array:
    """Display light over SDR white, of perceptual-quantizer values (..., 3) in [0, 1]."""
    power = np.clip(encoded, 0.0, 1.0) ** (1.0 / _PQ_M2)
    ratio = np.maximum(power - _PQ_C1, 0.0) / (_PQ_C2 - _PQ_C3 * power)
    light: Float32Array = (ratio ** (1.0 / _PQ_M1) * (_PQ_PEAK_CD_M2 / SDR_WHITE_CD_M2)).astype(np.float32)
    return light


def srgb_primaries_of_bt2020(linear: Float32Array) -> Float32Array:
    """Linear light (..., 3) with sRGB primaries, of linear light with BT.2020's; out of gamut below 0 or above 1."""
    converted: Float32Array = linear @ _BT709_OF_BT2020.T
    return converted

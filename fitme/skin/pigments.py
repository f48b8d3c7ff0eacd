"""Skin colour from its pigments: melanin in the epidermis over blood in the dermis, spectrally, to linear sRGB.

The epidermis absorbs on the way in and out (Beer and Lambert), the dermis reflects as a semi-infinite scattering medium
(Jensen et al., "A Practical Model for Subsurface Light Transport", SIGGRAPH 2001, eq. 3 integrated: total diffuse
reflectance). Coefficients are those of Donner and Jensen, "A Spectral BSSRDF for Shading Human Skin" (EGSR 2006);
extinction of haemoglobin is the compilation of S. Prahl (Oregon Medical Laser Center, 1999); colour matching
functions are the fits of Wyman, Sloan and Shirley (JCGT 2013).
"""

from functools import cache
from typing import cast

import numpy as np
from scipy.ndimage import map_coordinates

from fitme.arrays import Float32Array, Float64Array
from fitme.skin.cielab import D65_WHITE_XYZ, XYZ_TO_SRGB, lab_of_linear

WAVELENGTHS_NM: Float64Array = np.arange(400.0, 701.0, 10.0)

_OXYGENATED = (
    266232, 466840, 480360, 246072, 102580, 62816, 44480, 33209, 26629, 23684, 20933, 20035, 24202, 39957, 53236,
    43016, 32613, 44496, 50104, 14401, 3200, 1506, 942, 610, 442, 368, 320, 294, 278, 276, 290,
)  # fmt: skip
"""Molar extinction of oxygenated haemoglobin, 1 / (cm M), at `WAVELENGTHS_NM`."""
_DEOXYGENATED = (
    223296, 303956, 407560, 528600, 413280, 103292, 23389, 16156, 14550, 16684, 20862, 25774, 31590, 39036, 46592,
    53412, 53788, 45072, 37020, 28324, 14677, 9444, 6510, 5149, 4345, 3750, 3227, 2795, 2408, 2052, 1794,
)  # fmt: skip
_DAYLIGHT_D65 = (
    82.8, 91.5, 93.4, 86.7, 104.9, 117.0, 117.8, 114.9, 115.9, 108.8, 109.4, 107.8, 104.8, 107.7, 104.4, 104.0, 100.0,
    96.3, 95.8, 88.7, 90.0, 89.6, 87.7, 83.3, 83.7, 80.0, 80.2, 82.3, 78.3, 69.7, 71.6,
)  # fmt: skip
"""CIE standard illuminant D65 at `WAVELENGTHS_NM`, relative."""

EPIDERMIS_PATH_MM = 0.16
"""Path length of light through the melanin layer, down and up, slant included."""
OXYGENATION = 0.75
"""Share of oxygenated haemoglobin."""
REFERENCE_NM, PATH_EXPONENT = 550.0, 1.0
"""Wavelength of `EPIDERMIS_PATH_MM`, and exponent of the path length over wavelength: light of short wavelength
scatters back on a shorter path. The exponent is set such that tan and brown skin are as saturated as measured skin."""
EUMELANIN_SHARE = 0.92
"""Share of eumelanin in the melanin; the rest is the redder pheomelanin."""
EPIDERMIS_BACKSCATTER = 0.028
"""Reflectance of an opaque layer of melanosomes; keeps the darkest skin from pure red."""
REFRACTION = 1.4
"""Refractive index of skin."""

MELANIN_LIMITS = (0.002, 1.4)
"""Melanin of the palest and the darkest skin: volume fraction times thickness in units of the reference layer."""
BLOOD_LIMITS = (0.002, 0.35)
"""Least and greatest volume fraction of blood in the dermis."""
_TABLE_SIZE = 64

ITA_CLASSES = {
    "very light": (55.0, 70.0), "light": (41.0, 55.0), "intermediate": (28.0, 41.0), "tan": (10.0, 28.0),
    "brown": (-30.0, 10.0), "dark": (-65.0, -30.0),
}  # fmt: skip
"""Classes of skin tone: lower and upper bound of the individual typology angle (ITA) in degrees (Chardon et al. 1991;
Del Bino and Bernerd 2013)."""


def skin_color(melanin: Float64Array, blood: Float64Array) -> Float32Array:
    """Linear sRGB albedo (..., 3), float32, of skin with the given pigment amounts (...), clamped to their limits."""
    table = _table()
    melanin, blood = np.broadcast_arrays(np.asarray(melanin), np.asarray(blood))
    position = np.stack([_position(melanin, MELANIN_LIMITS), _position(blood, BLOOD_LIMITS)]).reshape(2, -1)
    channels = [map_coordinates(table[..., k], position, order=1, mode="nearest") for k in range(3)]
    return np.asarray(np.stack(channels, -1).reshape(*melanin.shape, 3), np.float32)


def ita_of_albedo(albedo: Float32Array) -> Float64Array:
    """Individual typology angle (ITA) in degrees (...) of linear sRGB albedos (..., 3): atan((L* - 50) / b*),
    CIELAB."""
    lab = lab_of_linear(albedo)
    lightness, b = lab[..., 0], lab[..., 2]
    return cast("Float64Array", np.degrees(np.arctan2(lightness - 50.0, np.maximum(b, 1e-6))))


def melanin_of_ita(angle_deg: float, blood: float) -> float:
    """Melanin at which skin with this volume fraction of blood has the given ITA, or the nearest ITA within the
    limits."""
    amounts = _levels(MELANIN_LIMITS, 512)
    angles = ita_of_albedo(skin_color(amounts, np.full_like(amounts, blood)))
    return float(amounts[np.abs(angles - angle_deg).argmin()])


def hair_color(eumelanin: float, pheomelanin: float) -> Float64Array:
    """Linear sRGB albedo (3,) of a mass of hair: absorption by pigment after d'Eon et al. (EGSR 2011),
    multiple-scattering albedo by absorption after Chiang et al. (EGSR 2016), azimuthal roughness 0.3."""
    return cast("Float64Array", np.exp(-5.9 * np.sqrt(hair_absorption(eumelanin, pheomelanin))))


def hair_absorption(eumelanin: float, pheomelanin: float) -> Float64Array:
    """Absorption (3,) of red, green and blue light in a strand by its pigments, over the inverse of its radius (d'Eon
    et al., "An Energy-Conserving Hair Reflectance Model", EGSR 2011)."""
    return np.asarray(eumelanin * np.array([0.419, 0.697, 1.37]) + pheomelanin * np.array([0.187, 0.4, 1.05]))


def reflectance_spectrum(melanin: Float64Array, blood: Float64Array) -> Float64Array:
    """Diffuse reflectance (..., 31) at `WAVELENGTHS_NM` of skin with pigment amounts (...)."""
    wavelength = WAVELENGTHS_NM
    # Absorption coefficients, 1 / mm, after Donner and Jensen.
    eumelanin = 6.6e10 * wavelength**-3.33
    pheomelanin = 2.9e14 * wavelength**-4.75
    pigment = EUMELANIN_SHARE * eumelanin + (1.0 - EUMELANIN_SHARE) * pheomelanin
    background = 0.0244 + 8.53 * np.exp(-(wavelength - 154.0) / 66.2)
    grams_per_litre, grams_per_mole, per_cm_to_per_mm = 150.0, 64500.0, 0.1
    mix = OXYGENATION * np.array(_OXYGENATED) + (1.0 - OXYGENATION) * np.array(_DEOXYGENATED)
    haemoglobin = np.log(10.0) * mix * grams_per_litre / grams_per_mole * per_cm_to_per_mm

    # Beer and Lambert: the epidermis absorbs on the way in and out.
    path = EPIDERMIS_PATH_MM * (wavelength / REFERENCE_NM) ** PATH_EXPONENT
    transmission = np.exp(-(melanin[..., None] * pigment + 0.2 * background) * path)
    absorption = blood[..., None] * haemoglobin + (1.0 - blood[..., None]) * background * 0.25
    # Jensen et al., total diffuse reflectance of the dermis, a semi-infinite scattering medium.
    scattering = 14.74 * wavelength**-0.22 + 2.2e11 * wavelength**-4.0
    albedo = scattering / (scattering + absorption)
    fresnel = -1.440 / REFRACTION**2 + 0.710 / REFRACTION + 0.668 + 0.0636 * REFRACTION
    inner = (1.0 + fresnel) / (1.0 - fresnel)
    root = np.sqrt(3.0 * (1.0 - albedo))
    dermis = albedo / 2.0 * (1.0 + np.exp(-4.0 / 3.0 * inner * root)) * np.exp(-root)
    return cast("Float64Array", transmission * dermis + (1.0 - transmission) * EPIDERMIS_BACKSCATTER)


@cache
def _table() -> Float64Array:
    """Linear sRGB albedo (64, 64, 3) over the square roots of melanin and blood."""
    melanin, blood = np.meshgrid(
        _levels(MELANIN_LIMITS, _TABLE_SIZE), _levels(BLOOD_LIMITS, _TABLE_SIZE), indexing="ij"
    )
    spectrum = reflectance_spectrum(melanin, blood)
    weights = _matching_functions() * np.array(_DAYLIGHT_D65)[:, None]
    xyz = spectrum @ weights / weights.sum(0) * np.array(D65_WHITE_XYZ)
    return cast("Float64Array", np.clip(xyz @ XYZ_TO_SRGB.T, 0.002, 0.95))


def _levels(limits: tuple[float, float], count: int) -> Float64Array:
    """Amounts (count,) whose square roots are evenly spaced."""
    roots: Float64Array = np.linspace(np.sqrt(limits[0]), np.sqrt(limits[1]), count)
    return np.square(roots)


def _position(amount: Float64Array, limits: tuple[float, float]) -> Float64Array:
    """Fractional index of amounts (...) into an axis of the table."""
    low, high = np.sqrt(limits[0]), np.sqrt(limits[1])
    return cast("Float64Array", (np.sqrt(np.maximum(amount, 0.0)) - low) / (high - low) * (_TABLE_SIZE - 1))


def _matching_functions() -> Float64Array:
    """CIE 1931 colour matching functions x, y, z (31, 3): the multi-lobe fits of Wyman et al."""

    def lobe(centre: float, below: float, above: float) -> Float64Array:
        t = WAVELENGTHS_NM - centre
        return cast("Float64Array", np.exp(-0.5 * (t * np.where(t < 0.0, below, above)) ** 2))

    x = 0.362 * lobe(442.0, 0.0624, 0.0374) + 1.056 * lobe(599.8, 0.0264, 0.0323) - 0.065 * lobe(501.1, 0.0490, 0.0382)
    y = 0.821 * lobe(568.8, 0.0213, 0.0247) + 0.286 * lobe(530.9, 0.0613, 0.0322)
    z = 1.217 * lobe(437.0, 0.0845, 0.0278) + 0.681 * lobe(459.0, 0.0385, 0.0725)
    return np.asarray(np.stack([x, y, z], -1), np.float64)

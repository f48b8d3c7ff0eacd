"""Rectangles of skin measured by spatial frequency: power of each map per octave."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fitme.arrays import Float64Array
from fitme.color import LUMINANCE

BANDS_PER_MM = ((0.1875, 0.375), (0.375, 0.75), (0.75, 1.5))
"""Octaves in cycles per millimetre, up to what a map of 1024 texels holds on the face."""
MAPS = ("diffuse", "specular", "normals")
SMALLEST_ALBEDO = 0.01
TREND_ORDER = 2
"""Degree of the polynomial that is subtracted: windows are only a few waves of the coarsest band wide, so smooth
shading across them would leak into this band."""
STEEPEST_NORMAL_Z = 0.1


@dataclass(frozen=True, eq=False)
class SkinPatch:
    """Rectangle of the reflectance maps, as logarithms and slopes."""

    log_diffuse: Float64Array
    """(H, W) logarithm of the luminance of the albedo."""
    log_specular: Float64Array
    """(H, W) logarithm of the specular albedo."""
    slopes: Float64Array
    """(2, H, W) along u and upwards."""
    texel_mm: tuple[float, float]
    """Width and height of a texel on the skin."""

    def powers(self, limits_per_mm: tuple[float, float]) -> Float64Array:
        """Variance (len(MAPS), len(BANDS_PER_MM)) per map and band, summed over both slopes."""
        fields = ((self.log_diffuse,), (self.log_specular,), tuple(self.slopes))
        return np.array([sum(band_power(f, self.texel_mm, limits_per_mm) for f in group) for group in fields])


def skin_patch(
    diffuse: npt.NDArray[np.floating[Any]],  # (H, W, 3) linear
    specular: npt.NDArray[np.floating[Any]],  # (H, W)
    normals: npt.NDArray[np.floating[Any]],  # (H, W, 3) tangent space
    texel_mm: tuple[float, float],
) -> SkinPatch:
    """Patch of reflectance maps of one rectangle."""
    slopes = normals[..., :2].astype(np.float64) / np.maximum(normals[..., 2:], STEEPEST_NORMAL_Z)
    return SkinPatch(
        np.log(np.maximum(diffuse.astype(np.float64) @ LUMINANCE, SMALLEST_ALBEDO)),
        np.log(np.maximum(specular.astype(np.float64), SMALLEST_ALBEDO)),
        np.moveaxis(slopes, -1, 0),
        texel_mm,
    )


def nyquist_per_mm(patches: Sequence[SkinPatch]) -> tuple[float, float]:
    """Lowest Nyquist frequencies of all patches along u and v."""
    widest, highest = (max(patch.texel_mm[axis] for patch in patches) for axis in (0, 1))
    return 0.5 / widest, 0.5 / highest


def band_power(
    field: Float64Array, texel_mm: tuple[float, float], limits_per_mm: tuple[float, float] = (np.inf, np.inf)
) -> Float64Array:
    """Variance (len(BANDS_PER_MM),) of a patch (H, W) in each band, of frequencies below the limits along u and v:
    periodogram under a Hann window, after the trend is subtracted."""
    spectrum, frequency = _spectrum(field, texel_mm, limits_per_mm)
    power = np.abs(spectrum) ** 2
    return np.array([power[(frequency >= low) & (frequency < high)].sum() for low, high in BANDS_PER_MM])


def _spectrum(
    field: Float64Array, texel_mm: tuple[float, float], limits_per_mm: tuple[float, float]
) -> tuple[npt.NDArray[np.complex128], Float64Array]:
    """Fourier coefficients (H, W) whose squares sum to the variance, 0 beyond the limits, and their frequencies."""
    window = np.outer(*(np.hanning(size + 2)[1:-1] for size in field.shape))
    flat = _without_trend(field)
    centred = flat - (flat * window).sum() / window.sum()
    spectrum = np.fft.fft2(centred * window) / np.sqrt(field.size * np.square(window).sum())
    fx = np.fft.fftfreq(field.shape[1], texel_mm[0])[None]
    fy = np.fft.fftfreq(field.shape[0], texel_mm[1])[:, None]
    below_limits = (np.abs(fx) < limits_per_mm[0]) & (np.abs(fy) < limits_per_mm[1])
    return np.where(below_limits, spectrum, 0.0), np.hypot(fx, fy)


def _without_trend(field: Float64Array) -> Float64Array:
    height, width = field.shape
    y, x = np.meshgrid(np.linspace(-1.0, 1.0, height), np.linspace(-1.0, 1.0, width), indexing="ij")
    powers = [(i, j) for i in range(TREND_ORDER + 1) for j in range(TREND_ORDER + 1 - i)]
    terms = np.stack([(x**i * y**j).ravel() for i, j in powers], -1)  # (H W, terms)
    coefficients = np.linalg.lstsq(terms, field.ravel(), rcond=None)[0]
    return np.asarray(field - (terms @ coefficients).reshape(field.shape), np.float64)

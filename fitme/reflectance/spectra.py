"""Fine structure of reflectance maps beside a captured subject: power per region and octave band of spatial frequency.

Diffuse and specular albedo are compared as logarithms, so that their unknown exposure drops out; normals as slopes. The
captured albedo is taken to be sRGB-encoded: its colour ratios are those of skin only then.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from fitme.color import bytes_to_linear
from fitme.errors import InputError
from fitme.reflectance.atlas import default_atlas
from fitme.reflectance.skin import synthesize_skin

RealArray = npt.NDArray[np.float64]

BANDS_PER_MM = ((0.1875, 0.375), (0.375, 0.75), (0.75, 1.5))
"""Octaves in cycles per millimetre, up to what a map of 1024 texels holds on the face."""
MAPS = ("diffuse", "specular", "normals")
MADE_RESOLUTION = 1024
MADE_SEEDS = (23, 27, 30, 108)
"""The first heads whose traits are the subject's: pale, below 45 years, a man with hair and a beard."""
LUMINANCE = (0.2126, 0.7152, 0.0722)
REFERENCE_SHAPE = (1024, 1536)
REFERENCE_TEXEL_MM = 0.19
"""From the distance of its eyes' centres, 368 texels, which lie about 70 mm apart along the face."""
REFERENCE_WINDOWS = {
    "cheek": (360, 440, 330, 480), "forehead": (80, 150, 560, 800), "nose": (280, 400, 700, 840),
    "lips": (512, 536, 720, 800),
}  # fmt: skip
"""First and last row, first and last column."""
MADE_WINDOWS = {
    "cheek": (0.39, 0.44, 0.32, 0.40), "forehead": (0.16, 0.20, 0.44, 0.56), "nose": (0.36, 0.43, 0.47, 0.53),
    "lips": (0.507, 0.523, 0.46, 0.54),
}  # fmt: skip
"""The same in layout units."""
SMALLEST_ALBEDO = 0.01


@dataclass(frozen=True)
class SpectrumRatio:
    """Power of made maps beside that of the captured ones."""

    region: str
    map_name: str
    band_per_mm: tuple[float, float]
    made: float
    """Variance in the band: of the logarithm of an albedo, or of slopes."""
    reference: float

    @property
    def ratio(self) -> float:
        """Made over reference."""
        return self.made / self.reference

    @property
    def within_factor_two(self) -> bool:
        """What is asked of every band."""
        return 0.5 <= self.ratio <= 2.0


def band_power(field: RealArray, texel_mm: tuple[float, float]) -> RealArray:
    """Variance (len(BANDS_PER_MM),) that a patch (H, W), with texels of this width and height, has in each band:
    periodogram under a Hann window, after its mean is taken away."""
    window = np.outer(*(np.hanning(size + 2)[1:-1] for size in field.shape))
    centred = field - (field * window).sum() / window.sum()
    power = np.abs(np.fft.fft2(centred * window)) ** 2 / (field.size * np.square(window).sum())
    fy = np.fft.fftfreq(field.shape[0], texel_mm[1])
    fx = np.fft.fftfreq(field.shape[1], texel_mm[0])
    frequency = np.hypot(fy[:, None], fx[None])
    return np.array([power[(frequency >= low) & (frequency < high)].sum() for low, high in BANDS_PER_MM])


def spectra_rows(reference_folder: Path, seeds: tuple[int, ...] = MADE_SEEDS) -> list[SpectrumRatio]:
    """Ratios per region, map and band, the made power averaged over `seeds`. InputError where a map of the subject is
    missing or of another size."""
    reference = _layers(*_read_reference(reference_folder))
    made = [_made_powers(seed) for seed in seeds]
    rows = []
    for region, (top, bottom, left, right) in REFERENCE_WINDOWS.items():
        for name in MAPS:
            patch = [layer[top:bottom, left:right] for layer in reference[name]]
            captured = sum(band_power(layer, (REFERENCE_TEXEL_MM,) * 2) for layer in patch)
            average = np.mean([powers[region, name] for powers in made], axis=0)
            for band, ours, theirs in zip(BANDS_PER_MM, average, np.asarray(captured), strict=True):
                rows.append(SpectrumRatio(region, name, band, float(ours), float(theirs)))
    return rows


def _made_powers(seed: int) -> dict[tuple[str, str], RealArray]:
    skin, atlas = synthesize_skin(seed, MADE_RESOLUTION), default_atlas(MADE_RESOLUTION)
    layers = _layers(skin.diffuse.astype(np.float64), skin.specular[..., 0].astype(np.float64), skin.normals)
    powers = {}
    for region, window in MADE_WINDOWS.items():
        top, bottom, left, right = (round(edge * MADE_RESOLUTION) for edge in window)
        width, height = (1e3 * float(size[top:bottom, left:right].mean()) for size in atlas.texel_m)
        for name in MAPS:
            patches = [layer[top:bottom, left:right] for layer in layers[name]]
            powers[region, name] = np.sum([band_power(patch, (width, height)) for patch in patches], axis=0)
    return powers


def _layers(diffuse: RealArray, specular: RealArray, normals: npt.NDArray[Any]) -> dict[str, list[RealArray]]:
    slopes = normals[..., :2].astype(np.float64) / np.maximum(normals[..., 2:], 0.1)
    return {
        "diffuse": [np.log(np.maximum(diffuse @ np.array(LUMINANCE), SMALLEST_ALBEDO))],
        "specular": [np.log(np.maximum(specular, SMALLEST_ALBEDO))],
        "normals": [slopes[..., 0], slopes[..., 1]],
    }


def _read_reference(folder: Path) -> tuple[RealArray, RealArray, RealArray]:
    """Linear diffuse albedo (H, W, 3), specular albedo (H, W) and normals (H, W, 3) of the captured subject."""
    diffuse, specular, normals = (
        _read(folder / name, mode)
        for name, mode in (("s1.png", "RGB"), ("s1_specAlbedo.png", "L"), ("s1_tangentNormals.png", "RGB"))
    )
    linear = np.asarray(bytes_to_linear(diffuse), np.float64)
    return linear, specular / 255.0, normals / 127.5 - 1.0


def _read(path: Path, mode: str) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert(mode))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error}): give the folder of the captured subject") from error
    if pixels.shape[:2] != REFERENCE_SHAPE:
        raise InputError(f"{path} is {pixels.shape[:2]}, expected {REFERENCE_SHAPE}: windows are measured on that size")
    return pixels

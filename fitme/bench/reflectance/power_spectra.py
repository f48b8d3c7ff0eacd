"""Power spectra of synthetic reflectance maps relative to a captured subject's, per region and octave band.

Diffuse and specular albedo are compared as logarithms, so that the unknown exposure cancels; normals as slopes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitme.arrays import Float32Array
from fitme.bench.reflectance.captured_subject import captured_patches
from fitme.bench.reflectance.patches import BANDS_PER_MM, MAPS, SkinPatch, nyquist_per_mm, skin_patch
from fitme.skin.painter import synthesize_skin
from fitme.skin.texel_geometry import default_texel_geometry

SYNTHETIC_RESOLUTION = 1024
SYNTHETIC_SEEDS = (47, 77, 105, 286, 290)
"""First seeds whose heads have bare skin like the subject's in every window: pale men below 40 years, without beard or
a low hairline, and hardly a freckle."""
SYNTHETIC_WINDOWS = {
    "cheek": ((0.39, 0.44, 0.32, 0.40),),
    "forehead": ((0.165, 0.205, 0.44, 0.56),),
    "nose": ((0.36, 0.43, 0.47, 0.53),),
    "lips": ((0.506, 0.521, 0.46, 0.54), (0.583, 0.598, 0.46, 0.54)),
}
"""First and last row, first and last column in layout units; the lips' are the upper and the lower one."""


@dataclass(frozen=True)
class SpectrumRatio:
    """Power of synthetic and captured maps in one region and band."""

    region: str
    map_name: str
    band_per_mm: tuple[float, float]
    synthetic: float
    """Variance in the band: of the logarithm of an albedo, or of slopes."""
    reference: float

    @property
    def ratio(self) -> float:
        """Synthetic over reference power."""
        return self.synthetic / self.reference

    @property
    def within_factor_two(self) -> bool:
        """Whether the ratio is in [0.5, 2], the target of every band."""
        return 0.5 <= self.ratio <= 2.0


def power_ratios(
    reference_folder: Path, seeds: tuple[int, ...] = SYNTHETIC_SEEDS, resolution: int = SYNTHETIC_RESOLUTION
) -> list[SpectrumRatio]:
    """Power ratios by region, map and band: medians over the heads of `seeds` and the windows of a region.

    Frequencies above the Nyquist limit of either side are left out of both, bands with their middle above it entirely.

    :param reference_folder: maps of the captured subject.
    :param seeds: synthetic heads, painted at `resolution` texels a side.
    :raises InputError: a map of the subject is missing or of another size.
    """
    # Patches of both sides; captured windows have texels of several sizes.
    captured = captured_patches(reference_folder)
    synthetic: dict[str, list[SkinPatch]] = {region: [] for region in SYNTHETIC_WINDOWS}
    for seed in seeds:
        for region, patches in _synthetic_patches(seed, resolution).items():
            synthetic[region] += patches
    ratios: list[SpectrumRatio] = []
    for region in SYNTHETIC_WINDOWS:
        # Only frequencies that every patch of the region can represent are compared.
        limits = nyquist_per_mm([*synthetic[region], *captured[region]])
        ours, theirs = (
            np.median([patch.powers(limits) for patch in group[region]], axis=0) for group in (synthetic, captured)
        )  # (MAPS, BANDS)
        ratios += [
            SpectrumRatio(region, name, band, float(ours[m, b]), float(theirs[m, b]))
            for m, name in enumerate(MAPS)
            for b, band in enumerate(BANDS_PER_MM)
            if np.sqrt(band[0] * band[1]) < min(limits)
        ]
    return ratios


def _synthetic_patches(seed: int, resolution: int) -> dict[str, list[SkinPatch]]:
    """Patches of one synthetic head per region."""
    skin = synthesize_skin(seed, resolution)
    return head_patches(skin.diffuse, skin.specular, skin.normals)


def head_patches(
    diffuse: Float32Array,  # (R, R, 3) linear
    specular: Float32Array,  # (R, R, 1)
    normals: Float32Array,  # (R, R, 3) tangent space
) -> dict[str, list[SkinPatch]]:
    """Patches of a head's maps in `SYNTHETIC_WINDOWS`, by region, with the mean texel size of each window."""
    resolution = len(diffuse)
    texel_geometry = default_texel_geometry(resolution)
    patches: dict[str, list[SkinPatch]] = {}
    for region, windows in SYNTHETIC_WINDOWS.items():
        patches[region] = []
        for window in windows:
            top, bottom, left, right = (round(edge * resolution) for edge in window)
            at = np.s_[top:bottom, left:right]
            width, height = (1e3 * float(size[at].mean()) for size in texel_geometry.texel_m)
            patches[region].append(skin_patch(diffuse[at], specular[at][..., 0], normals[at], (width, height)))
    return patches

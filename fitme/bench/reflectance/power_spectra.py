"""Power spectra of synthetic reflectance maps relative to a captured subject's: power per region and octave band of
spatial frequency, levels, contrast, and correlations between maps.

Diffuse and specular albedo are compared as logarithms, levels relative to the cheeks', so that the unknown exposure
cancels; normals as slopes.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitme.bench.reflectance.captured_subject import captured_patches
from fitme.bench.reflectance.patches import BANDS_PER_MM, SkinPatch, nyquist_per_mm, skin_patch
from fitme.bench.reflectance.patches import MAPS as MAPS
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
LEVEL_REGION = "cheek"


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


@dataclass(frozen=True)
class Statistic:
    """Statistic of synthetic and captured maps in one region."""

    region: str
    name: str
    """`level MAP`: logarithm of its mean over the cheeks'; `contrast MAP`: standard deviation over all bands;
    `correlation MAP MAP` over all bands, "bulge" being minus the curvature of the relief."""
    synthetic: float
    reference: float


@dataclass(frozen=True)
class Comparison:
    """Comparison of synthetic maps with a captured subject."""

    spectra: tuple[SpectrumRatio, ...]
    statistics: tuple[Statistic, ...]


def spectra_rows(
    reference_folder: Path, seeds: tuple[int, ...] = SYNTHETIC_SEEDS, resolution: int = SYNTHETIC_RESOLUTION
) -> list[SpectrumRatio]:
    """Power ratios of `compare`, by region, map and band."""
    return list(compare(reference_folder, seeds, resolution).spectra)


def compare(
    reference_folder: Path, seeds: tuple[int, ...] = SYNTHETIC_SEEDS, resolution: int = SYNTHETIC_RESOLUTION
) -> Comparison:
    """Medians over the heads of `seeds`, painted at `resolution`, and over the windows of a region, compared with the
    subject's. Frequencies above the Nyquist limit of either are left out of both, bands with their middle above it
    entirely. Raises InputError where a map of the subject is missing or of another size."""
    # Patches of both sides; captured windows have texels of several sizes.
    captured = captured_patches(reference_folder)
    synthetic: dict[str, list[SkinPatch]] = {region: [] for region in SYNTHETIC_WINDOWS}
    for seed in seeds:
        for region, patches in _synthetic_patches(seed, resolution).items():
            synthetic[region] += patches
    spectra: list[SpectrumRatio] = []
    statistics: list[Statistic] = []
    for region in SYNTHETIC_WINDOWS:
        # Only frequencies that every patch of the region can represent are compared.
        limits = nyquist_per_mm([*synthetic[region], *captured[region]])
        ours, theirs = (
            np.median([patch.powers(limits) for patch in group[region]], axis=0) for group in (synthetic, captured)
        )  # (MAPS, BANDS)
        spectra += [
            SpectrumRatio(region, name, band, float(ours[m, b]), float(theirs[m, b]))
            for m, name in enumerate(MAPS)
            for b, band in enumerate(BANDS_PER_MM)
            if np.sqrt(band[0] * band[1]) < min(limits)
        ]
        for m, name in enumerate(MAPS):
            contrasts = (float(np.sqrt(powers[m].sum())) for powers in (ours, theirs))
            statistics.append(Statistic(region, f"contrast {name}", *contrasts))
        for name in ("diffuse", "specular"):
            levels = (
                _level(group[region], name) - _level(group[LEVEL_REGION], name) for group in (synthetic, captured)
            )
            statistics.append(Statistic(region, f"level {name}", *levels))
        both = [[patch.correlations(limits) for patch in group[region]] for group in (synthetic, captured)]
        statistics += [
            Statistic(region, f"correlation {a} {b}", *(float(np.median([c[a, b] for c in group])) for group in both))
            for a, b in both[0][0]
        ]
    return Comparison(tuple(spectra), tuple(statistics))


def _level(patches: list[SkinPatch], name: str) -> float:
    return float(np.median([patch.level(name) for patch in patches]))


def _synthetic_patches(seed: int, resolution: int) -> dict[str, list[SkinPatch]]:
    """Patches of one synthetic head per region, with the mean texel size of each window."""
    skin, texel_geometry = synthesize_skin(seed, resolution), default_texel_geometry(resolution)
    patches: dict[str, list[SkinPatch]] = {}
    for region, windows in SYNTHETIC_WINDOWS.items():
        patches[region] = []
        for window in windows:
            top, bottom, left, right = (round(edge * resolution) for edge in window)
            at = np.s_[top:bottom, left:right]
            width, height = (1e3 * float(size[at].mean()) for size in texel_geometry.texel_m)
            patches[region].append(
                skin_patch(skin.diffuse[at], skin.specular[at][..., 0], skin.normals[at], (width, height))
            )
    return patches

"""Power spectra of skin patches: bands, trend, limits; and their ratios to the captured subject's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fitme.bench.reflectance.captured_subject import MAP_SIZE, WINDOWS, captured_patches
from fitme.bench.reflectance.patches import BANDS_PER_MM, MAPS, SkinPatch, band_power, nyquist_per_mm, skin_patch
from fitme.bench.reflectance.power_spectra import SYNTHETIC_SEEDS, SYNTHETIC_WINDOWS, power_ratios
from fitme.errors import InputError
from fitme.skin.factors import draw_factors

REFERENCE = Path(__file__).parents[4] / "shared" / "data" / "reference_subject"
UNLIMITED = (np.inf, np.inf)


def wave(per_mm: float, texel_mm: float, shape=(160, 200)) -> np.ndarray:
    x = np.arange(shape[1]) * texel_mm
    return np.broadcast_to(np.sin(2.0 * np.pi * per_mm * x), shape)


def patch_of_height(height_mm: np.ndarray, albedo: np.ndarray, texel_mm: float) -> SkinPatch:
    """A patch with this relief; rows go down, the second slope up."""
    across, down = np.gradient(height_mm, texel_mm, axis=1), np.gradient(height_mm, texel_mm, axis=0)
    normals = np.stack([-across, down, np.ones_like(across)], -1)
    diffuse = np.repeat(albedo[..., None], 3, -1)
    return skin_patch(diffuse, albedo, normals / np.linalg.norm(normals, axis=-1, keepdims=True), (texel_mm,) * 2)


@pytest.mark.parametrize("index", range(len(BANDS_PER_MM)))
def test_a_sinusoid_has_its_variance_in_its_own_band(index):
    low, high = BANDS_PER_MM[index]
    power = band_power(wave(1.4 * low, 0.2), (0.2, 0.2))
    assert low < 1.4 * low < high
    assert power[index] == pytest.approx(0.5, rel=0.1)
    assert np.delete(power, index).max() < 0.02


def test_texels_of_another_size_measure_the_same_wave_alike():
    coarse, fine = band_power(wave(0.5, 0.3), (0.3, 0.3)), band_power(wave(0.5, 0.15), (0.15, 0.15))
    np.testing.assert_allclose(coarse[1], fine[1], rtol=0.05)


def test_power_ignores_level_and_shading():
    field = np.random.default_rng(0).standard_normal((60, 80))
    y, x = np.mgrid[-1:1:60j, -1:1:80j]
    shaded = field + 7.0 + 3.0 * x - 2.0 * y + x * y - 4.0 * y**2
    np.testing.assert_allclose(band_power(shaded, (0.3, 0.3)), band_power(field, (0.3, 0.3)), rtol=1e-9)


def test_frequencies_that_coarser_texels_cannot_hold_are_left_out():
    field = wave(1.2, 0.2)
    limits = nyquist_per_mm([patch_of_height(field, np.full(field.shape, 0.3), size) for size in (0.2, 0.5)])
    assert limits == (1.0, 1.0)
    assert band_power(field, (0.2, 0.2))[2] > 0.4
    assert band_power(field, (0.2, 0.2), limits)[2] < 1e-3


def test_a_folder_without_the_subject_is_refused(tmp_path):
    with pytest.raises(InputError, match="captured subject"):
        power_ratios(tmp_path)


def test_maps_of_another_size_are_refused(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "s1.png")
    with pytest.raises(InputError, match=str(MAP_SIZE[0])):
        captured_patches(tmp_path)


@pytest.mark.parametrize("seed", SYNTHETIC_SEEDS)
def test_compared_heads_show_bare_pale_skin(seed):
    attributes = draw_factors(np.random.default_rng(seed)).attributes
    assert attributes.ita_deg > 41.0
    assert attributes.masculine
    assert attributes.wrinkles < 0.3
    assert attributes.freckles < 0.05
    assert max(attributes.beard_density) == 0.0


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the captured subject is not in ../shared")
def test_texels_of_the_subject_are_as_large_as_its_eyes_distance_says():
    patches = captured_patches(REFERENCE)
    assert {region: len(of) for region, of in patches.items()} == {region: len(of) for region, of in WINDOWS.items()}
    assert all(0.1 < size < 0.35 for of in patches.values() for patch in of for size in patch.texel_mm)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the captured subject is not in ../shared")
def test_every_region_and_map_is_compared_in_the_band_that_coarse_maps_hold():
    ratios = power_ratios(REFERENCE, seeds=(SYNTHETIC_SEEDS[0],), resolution=256)
    compared = {(row.region, row.map_name) for row in ratios}
    assert compared == {(region, name) for region in SYNTHETIC_WINDOWS for name in MAPS}
    assert {row.band_per_mm for row in ratios} == {BANDS_PER_MM[0]}
    assert all(np.isfinite(row.ratio) and row.ratio > 0.0 for row in ratios)

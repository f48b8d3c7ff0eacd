from pathlib import Path

import numpy as np
import pytest

from fitme.errors import InputError
from fitme.reflectance.spectra import BANDS_PER_MM, MADE_WINDOWS, MAPS, band_power, spectra_rows

REFERENCE = Path(__file__).parents[2].parent / "shared" / "data" / "reference_subject"


def wave(per_mm: float, texel_mm: float, shape=(160, 200)) -> np.ndarray:
    x = np.arange(shape[1]) * texel_mm
    return np.broadcast_to(np.sin(2.0 * np.pi * per_mm * x), shape)


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


def test_power_ignores_the_level():
    field = np.random.default_rng(0).standard_normal((60, 80))
    np.testing.assert_allclose(band_power(field + 7.0, (0.3, 0.3)), band_power(field, (0.3, 0.3)), rtol=1e-9)


def test_a_folder_without_the_subject_is_refused(tmp_path):
    with pytest.raises(InputError, match="captured subject"):
        spectra_rows(tmp_path)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the captured subject is not in ../shared")
def test_every_region_map_and_band_is_compared():
    rows = spectra_rows(REFERENCE, seeds=(1,))
    assert len(rows) == len(MADE_WINDOWS) * len(MAPS) * len(BANDS_PER_MM)
    assert all(np.isfinite(row.ratio) and row.ratio > 0.0 for row in rows)

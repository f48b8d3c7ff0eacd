import numpy as np
import pytest

from fitme.skin.microstructure import COARSE_RESOLUTION, detail, grit, lip_creases, pits
from fitme.skin.noise_fields import BASE_RESOLUTION, at_resolution

FIELDS = (pits, grit, lip_creases)


@pytest.mark.parametrize("field", FIELDS)
def test_coarse_maps_have_no_microstructure(field):
    coarse = field(COARSE_RESOLUTION)
    assert coarse.shape == (3, COARSE_RESOLUTION, COARSE_RESOLUTION)
    assert not coarse.any()


@pytest.mark.parametrize("field", FIELDS)
def test_the_fields_have_unit_variance_and_zero_mean(field):
    base = field(BASE_RESOLUTION)
    np.testing.assert_allclose(base.std((1, 2)), 1.0, rtol=1e-3)
    np.testing.assert_allclose(base.mean((1, 2)), 0.0, atol=1e-3)


@pytest.mark.parametrize("field", FIELDS)
def test_the_same_structure_is_in_maps_of_both_fine_resolutions(field):
    np.testing.assert_allclose(field(512), at_resolution(field(1024), 512), atol=1e-6)


@pytest.mark.parametrize("field", FIELDS)
def test_most_microstructure_averages_out_at_the_coarse_resolution(field):
    averaged = at_resolution(field(BASE_RESOLUTION), COARSE_RESOLUTION)
    assert averaged.std() < 0.6


def test_pores_are_positive_dots():
    base = pits(BASE_RESOLUTION)
    assert base.max() > 3.0 * -base.min()


def test_detail_comes_in_between_the_resolutions():
    assert [detail(size) for size in (64, 256, 384, 512, 1024)] == [0.0, 0.0, 0.5, 1.0, 1.0]

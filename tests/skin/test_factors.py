from dataclasses import fields, replace

import numpy as np
import pytest

from fitme.skin.attributes import SkinAttributes
from fitme.skin.factors import FACTOR_COUNT, MIXTURES, draw_factors, factor_vector


def test_vectors_have_one_length_and_follow_the_seed():
    vectors = np.stack([factor_vector(draw_factors(np.random.default_rng(seed))) for seed in range(50)])
    assert vectors.shape == (50, FACTOR_COUNT) and vectors.dtype == np.float32 and np.isfinite(vectors).all()
    np.testing.assert_array_equal(vectors[3], factor_vector(draw_factors(np.random.default_rng(3))))
    assert (vectors.std(0) > 0.0).all()


def test_every_attribute_is_in_the_vector():
    factors = draw_factors(np.random.default_rng(0))
    before = factor_vector(factors)
    for field in fields(SkinAttributes):
        value = getattr(factors.attributes, field.name)
        changed = tuple(one + 1.0 for one in value) if isinstance(value, tuple) else value + 1
        after = factor_vector(replace(factors, attributes=replace(factors.attributes, **{field.name: changed})))
        assert (after != before).sum() == (len(value) if isinstance(value, tuple) else 1), field.name


@pytest.mark.parametrize(("bank", "count", "size"), MIXTURES)
def test_mixtures_keep_the_variance_of_their_fields(bank, count, size):
    weights = draw_factors(np.random.default_rng(1)).mixture(bank)
    assert weights.shape == (count, size)
    np.testing.assert_allclose(np.linalg.norm(weights, axis=1), 1.0, rtol=1e-5)

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.reflectance.whitening import fit_whitening


def causes_of(count: int, seed: int) -> np.ndarray:
    """Skewed, correlated and half-empty columns, as traits of skins have them."""
    draw = np.random.default_rng(seed)
    age = draw.beta(1.1, 1.6, count)
    gray = np.clip(age - 0.35, 0.0, None) * draw.uniform(0.3, 2.2, count)
    beard = (draw.random(count) < 0.4) * draw.beta(1.3, 1.0, count)
    return np.stack([age, gray, beard, draw.standard_normal(count)], 1).astype(np.float32)


def test_latents_are_uncorrelated_with_unit_variance():
    causes = causes_of(3000, 0)
    z = fit_whitening(causes).latents(causes, 0).numpy()
    np.testing.assert_allclose(np.cov(z.T), np.eye(4), atol=0.08)
    np.testing.assert_allclose(z.mean(0), 0.0, atol=0.05)


def test_new_causes_from_the_same_source_are_whitened_too():
    z = fit_whitening(causes_of(3000, 0)).latents(causes_of(3000, 1), 5).numpy()
    np.testing.assert_allclose(np.cov(z.T), np.eye(4), atol=0.12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 10_000))
def test_a_larger_cause_is_a_larger_latent(seed, other):
    draw = np.random.default_rng(seed)
    causes = draw.standard_normal((200, 3)).astype(np.float32)
    whitening = fit_whitening(causes)
    z = whitening.latents(np.sort(causes[:, :1], 0).repeat(3, 1) * np.array([1.0, 0.0, 0.0], np.float32), other)
    assert (np.diff(z[:, 0].numpy()) > -1.0).all()
    assert float(z[-1, 0] - z[0, 0]) > 2.0


def test_equal_causes_spread_over_their_ranks():
    causes = causes_of(2000, 2)
    nothing = causes[:, 2] == 0.0
    z = fit_whitening(causes).latents(causes, 0)[:, 2]
    assert float(z[torch.from_numpy(nothing)].std()) > 0.3
    assert float(z[torch.from_numpy(~nothing)].mean() - z[torch.from_numpy(nothing)].mean()) > 1.0


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_seed_gives_the_same_latents(seed):
    causes = causes_of(100, 3)
    whitening = fit_whitening(causes, seed)
    torch.testing.assert_close(whitening.latents(causes, seed), whitening.latents(causes, seed))

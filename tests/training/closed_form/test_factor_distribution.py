import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.reflectance.mapping import QUANTILES, MappingNetwork
from fitme.training.closed_form.factor_distribution import fit_factor_distribution


def factors_of(count: int, seed: int) -> np.ndarray:
    """Skewed, correlated and half-empty columns, as attributes of skins have them."""
    draw = np.random.default_rng(seed)
    age = draw.beta(1.1, 1.6, count)
    gray = np.clip(age - 0.35, 0.0, None) * draw.uniform(0.3, 2.2, count)
    beard = (draw.random(count) < 0.4) * draw.beta(1.3, 1.0, count)
    return np.stack([age, gray, beard, draw.standard_normal(count)], 1).astype(np.float32)


def mapping_of(factors: np.ndarray) -> MappingNetwork:
    distribution = fit_factor_distribution(factors, QUANTILES)
    mapping = MappingNetwork(factors.shape[1], 0, 6, 2)
    mapping.set_distribution(distribution.factor, distribution.knots)
    return mapping


def test_random_latents_give_factors_distributed_as_the_data():
    factors = factors_of(4000, 0)
    distribution = fit_factor_distribution(factors, QUANTILES)
    wanted = distribution.standardize(factors_of(4000, 1)).numpy()
    drawn = mapping_of(factors).factors(torch.randn(4000, 4, generator=torch.Generator().manual_seed(0))).numpy()
    for quantile in (0.05, 0.3, 0.5, 0.9):
        np.testing.assert_allclose(np.quantile(drawn, quantile, 0), np.quantile(wanted, quantile, 0), atol=0.12)
    np.testing.assert_allclose(np.corrcoef(drawn.T), np.corrcoef(wanted.T), atol=0.15)


def test_the_share_of_faces_without_a_beard_is_kept():
    factors = factors_of(4000, 0)
    none = fit_factor_distribution(factors, QUANTILES).standardize(np.zeros((1, 4), np.float32))[0, 2]
    drawn = mapping_of(factors).factors(torch.randn(4000, 4, generator=torch.Generator().manual_seed(0)))[:, 2]
    share = float((drawn - none).abs().lt(1e-4).float().mean())
    assert abs(share - (factors[:, 2] == 0.0).mean()) < 0.04


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(-3.0, 3.0), st.floats(0.01, 2.0))
def test_factors_grow_with_their_own_normal_variable(seed, start, step):
    mapping = mapping_of(factors_of(300, seed))
    with torch.no_grad():
        mapping.factor.copy_(torch.eye(4))
    low, high = mapping.factors(torch.full((1, 4), start)), mapping.factors(torch.full((1, 4), start + step))
    assert bool((high >= low - 1e-6).all())


def test_standardised_factors_have_zero_mean_and_unit_variance():
    factors = factors_of(500, 3)
    standardized = fit_factor_distribution(factors, 9).standardize(factors).numpy()
    np.testing.assert_allclose(standardized.mean(0), 0.0, atol=1e-4)
    np.testing.assert_allclose(standardized.std(0), 1.0, atol=1e-3)


def test_a_constant_factor_stays_constant():
    factors = factors_of(200, 4)
    factors[:, 1] = 7.0
    drawn = mapping_of(factors).factors(torch.randn(50, 4))
    assert bool(torch.isfinite(drawn).all())
    torch.testing.assert_close(drawn[:, 1], torch.zeros(50), rtol=0.0, atol=1e-3)


def test_an_untrained_network_takes_latents_as_they_are():
    mapping = MappingNetwork(3, 0, 6, 4)
    z = torch.tensor([[-1.0, 0.3, 1.5]])
    torch.testing.assert_close(mapping.factors(z), z, rtol=0.0, atol=5e-3)
    gradient = torch.autograd.functional.jacobian(mapping.factors, z)[0, :, 0]
    torch.testing.assert_close(gradient, torch.eye(3), rtol=0.0, atol=0.05)

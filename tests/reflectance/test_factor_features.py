import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.reflectance.factor_features import FEATURE_LIMIT, factor_terms, select_features
from fitme.skin.skin_tone_classes import ita_class_index
from fitme.training.closed_form.factor_distribution import balanced_rows

FACTORS = 5


def gated_factors(count: int, seed: int) -> torch.Tensor:
    """Standardised factors; two of three heads lack the first."""
    random = torch.Generator().manual_seed(seed)
    factors = torch.randn(count, FACTORS, generator=random)
    factors[:, 0] = torch.rand(count, generator=random) * (torch.rand(count, generator=random) < 1.0 / 3.0)
    return (factors - factors.mean(0)) / factors.std(0)


def unexplained(inputs: torch.Tensor, scores: torch.Tensor) -> float:
    """Share of the scores' energy that a linear model of the inputs does not explain."""
    columns = torch.cat([torch.ones_like(inputs[:, :1]), inputs], 1).double()
    centred = scores.double() - scores.double().mean(0)
    left = centred - columns @ torch.linalg.lstsq(columns, centred).solution
    return float(left.square().sum() / centred.square().sum())


def test_a_gate_that_scales_another_factor_is_selected():
    factors = gated_factors(600, 0)
    present = (factors[:, 0] > factors[:, 0].min() + 1e-3).float()
    noise = 0.05 * torch.randn(600, 2, generator=torch.Generator().manual_seed(9))
    scores = torch.stack([factors[:, 1] * present, factors[:, 2]], 1) + noise
    features = select_features(factors, scores, 3)
    terms = factor_terms(factors, factors.amin(0))
    assert unexplained(factors, scores) > 0.15
    assert unexplained(torch.cat([factors, features.values(terms)], 1), scores) < 0.02


def test_features_of_some_heads_explain_others():
    factors, others = gated_factors(600, 1), gated_factors(600, 2)
    features = select_features(factors, (factors[:, 3] * factors[:, 4])[:, None], 2)
    terms = factor_terms(others, factors.amin(0))
    assert unexplained(features.values(terms), (others[:, 3] * others[:, 4])[:, None]) < 0.05


def test_more_features_than_products_are_refused():
    with pytest.raises(ValueError, match="products"):
        select_features(torch.randn(40, 2), torch.randn(40, 3), 50)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_features_are_finite_and_bounded_and_so_are_their_gradients(seed):
    factors = gated_factors(80, seed).requires_grad_()
    features = select_features(factors.detach(), torch.randn(80, 2, generator=torch.Generator().manual_seed(seed)), 4)
    values = features.values(factor_terms(factors, factors.detach().amin(0)))
    assert float(values.detach().abs().max()) <= FEATURE_LIMIT
    (gradient,) = torch.autograd.grad(values.square().sum(), factors)
    assert bool(torch.isfinite(gradient).all())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-80.0, 80.0), min_size=6, max_size=300), st.integers(0, 1000))
def test_balanced_rows_keep_every_head_and_give_classes_the_same_weight(angles, seed):
    typology = np.array(angles, np.float32)
    rows = balanced_rows(typology, seed)
    assert set(rows) == set(range(len(typology)))
    counts = np.bincount(ita_class_index(typology[rows]), minlength=6)
    present = np.bincount(ita_class_index(typology), minlength=6) > 0
    largest = np.bincount(ita_class_index(typology)).max()
    members = np.bincount(ita_class_index(typology), minlength=6)
    # A head is repeated a whole number of times, so a class may be off by one for each of its heads.
    assert (np.abs(counts - largest)[present] <= members[present]).all()
    assert (counts <= 2 * largest)[present].all()

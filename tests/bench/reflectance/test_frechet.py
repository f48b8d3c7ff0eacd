"""Fréchet distance against the closed form and against a matrix root."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from fitme.bench.reflectance.frechet import frechet_distance


def exact_gaussian(mean: torch.Tensor, deviation: torch.Tensor, count: int, seed: int) -> torch.Tensor:
    """Features (count, D) whose sample mean and covariance are exactly `mean` and diag(deviation²)."""
    raw = torch.randn(count, len(mean), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    raw = raw - raw.mean(0)
    covariance = raw.T @ raw / (count - 1)
    white = raw @ torch.linalg.inv(torch.linalg.cholesky(covariance)).T
    return white * deviation + mean


@given(
    deviations=st.lists(st.tuples(st.floats(0.1, 3.0), st.floats(0.1, 3.0)), min_size=1, max_size=6),
    shift=st.floats(-2.0, 2.0),
)
@settings(max_examples=30, deadline=None)
def test_gaussians_with_common_axes(deviations: list[tuple[float, float]], shift: float):
    first, second = (torch.tensor(column, dtype=torch.float64) for column in zip(*deviations, strict=True))
    a = exact_gaussian(torch.zeros_like(first), first, 20, 1)
    b = exact_gaussian(torch.full_like(first, shift), second, 30, 2)
    expected = len(first) * shift**2 + float((first - second).square().sum())
    assert frechet_distance(a, b) == pytest.approx(expected, abs=1e-8)


def test_agrees_with_the_matrix_root():
    random = np.random.default_rng(3)
    a = random.standard_normal((200, 12)) @ random.standard_normal((12, 12))
    b = random.standard_normal((150, 12)) @ random.standard_normal((12, 12)) + 0.3
    covariances = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(covariances[0] + covariances[1] - 2.0 * root)
    assert frechet_distance(torch.from_numpy(a), torch.from_numpy(b)) == pytest.approx(expected, rel=1e-8)


def test_fewer_samples_than_features():
    features = torch.randn(20, 300, generator=torch.Generator().manual_seed(4))
    assert frechet_distance(features, features) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(features, features + 0.5) == pytest.approx(300 * 0.25, rel=1e-6)


def test_shapes_must_fit():
    with pytest.raises(ValueError, match="features"):
        frechet_distance(torch.zeros(5, 3), torch.zeros(5, 4))
    with pytest.raises(ValueError, match="features"):
        frechet_distance(torch.zeros(1, 3), torch.zeros(5, 3))

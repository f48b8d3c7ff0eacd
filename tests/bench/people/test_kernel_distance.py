"""Kernel distance between sets of features."""

import pytest
import torch

from fitme.bench.people.kernel_distance import kernel_distance


def _features(count: int, seed: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed)) + shift


def test_it_is_the_definition():
    a, b = _features(22, 1), _features(25, 2, 0.5)

    def kernel(x: torch.Tensor, y: torch.Tensor) -> float:
        return (float(x.double() @ y.double()) / 6 + 1.0) ** 3

    pairs_a = [kernel(x, y) for i, x in enumerate(a) for j, y in enumerate(a) if i != j]
    pairs_b = [kernel(x, y) for i, x in enumerate(b) for j, y in enumerate(b) if i != j]
    between = [kernel(x, y) for x in a for y in b]
    expected = sum(pairs_a) / len(pairs_a) + sum(pairs_b) / len(pairs_b) - 2.0 * sum(between) / len(between)
    assert kernel_distance(a, b).value == pytest.approx(expected)


def test_sets_of_one_distribution_differ_by_little_more_than_the_standard_error():
    distances = [kernel_distance(_features(100, seed), _features(120, seed + 50)) for seed in range(20)]
    assert all(abs(distance.value) < 4.0 * distance.standard_error for distance in distances)
    spread = torch.tensor([distance.value for distance in distances]).std()
    mean_error = sum(distance.standard_error for distance in distances) / len(distances)
    assert 0.5 < mean_error / float(spread) < 2.0


def test_a_shift_is_far():
    distance = kernel_distance(_features(100, 1), _features(100, 2, 1.0))
    assert distance.value > 6.0 * distance.standard_error


def test_too_few_features_are_refused():
    with pytest.raises(ValueError, match=">= 20"):
        kernel_distance(_features(19, 1), _features(40, 2))

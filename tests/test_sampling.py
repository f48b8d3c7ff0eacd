"""Farthest-point sampling: every choice is greedy, and no item is chosen twice."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from fitme.sampling import farthest_points

Array = npt.NDArray[np.float64]


def distances(points: Array, index: int) -> Array:
    return np.asarray(np.linalg.norm(points - points[index], axis=1))


@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(1, 40))
def test_each_choice_is_the_farthest_from_those_before(seed: int, total: int, count: int) -> None:
    points = np.random.default_rng(seed).normal(size=(total, 3))
    first = seed % total
    chosen = farthest_points(lambda index: distances(points, index), first, count)
    assert chosen[0] == first
    assert len(set(chosen)) == len(chosen) == min(count, total)
    for place in range(1, len(chosen)):
        nearest = np.min([distances(points, index) for index in chosen[:place]], 0)
        assert nearest[chosen[place]] == nearest.max()


def test_duplicates_are_chosen_once_each() -> None:
    points = np.zeros((4, 2))
    assert farthest_points(lambda index: distances(points, index), 2, 9) == [2, 0, 1, 3]


def test_a_choice_goes_on_from_an_earlier_one() -> None:
    points = np.array([[0.0], [1.0], [4.0], [9.0]])
    earlier = np.abs(points[:, 0] - 10.0)
    assert farthest_points(lambda index: distances(points, index), earlier, 2) == [0, 2]
    assert farthest_points(lambda index: distances(points, index), np.full(4, np.inf), 2) == [0, 3]

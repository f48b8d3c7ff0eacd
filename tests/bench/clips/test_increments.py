"""Order of keyframes of a growing fit, and time until a loss is reached."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fitme.bench.clips.increments import HeldOutError, RefinementCurve, farthest_first_order


@given(st.integers(1, 40))
def test_every_keyframe_comes_once_and_early_ones_are_far_apart(count: int) -> None:
    order = farthest_first_order(count)
    assert sorted(order) == list(range(count))
    if count >= 8:
        first = sorted(order[:4])
        assert min(b - a for a, b in pairwise(first)) >= count // 8


def test_a_loss_is_reached_when_it_first_falls_below() -> None:
    curve = RefinementCurve(9.0, [(2.0, HeldOutError(0.04, 0.3, 0.05)), (4.0, HeldOutError(0.03, 0.3, 0.04))])
    assert curve.seconds_to(0.045) == 4.0
    assert curve.seconds_to(0.05) == 2.0
    assert curve.seconds_to(0.01) == float("inf")
    assert curve.end.loss == 0.04

import pytest

from fitme.track.mouth.dead_zone import beyond_dead_zone


def test_none_within_the_zone_and_all_from_twice_as_much():
    assert [beyond_dead_zone(amount, 0.2) for amount in (0.0, 0.1, -0.2)] == [0.0, 0.0, 0.0]
    assert beyond_dead_zone(0.4, 0.2) == pytest.approx(0.4)
    assert beyond_dead_zone(-0.9, 0.2) == pytest.approx(-0.9)
    between = [beyond_dead_zone(0.2 + 0.02 * step, 0.2) for step in range(11)]
    assert between == sorted(between)
    assert beyond_dead_zone(0.5, 0.0) == 0.5

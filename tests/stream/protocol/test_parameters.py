"""Parameters survive the wire within their steps, and what is none is refused."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.protocol.parameters import PARAMETERS, Parameters, numbered
from stream.protocol.protocol import ProtocolError

unit = st.floats(0.0, 1.0)
angle = st.floats(-1.5, 1.5)
length = st.floats(-3.2, 3.2)


@given(
    weights=st.lists(unit, min_size=52, max_size=52),
    gaze=st.tuples(angle, angle, angle, angle),
    position=st.tuples(length, length, length),
    turn=angle,
    tracked=st.booleans(),
    time_s=st.floats(0.0, 1e5),
)
def test_they_come_back_within_half_a_step(
    weights: list[float], gaze: tuple, position: tuple, turn: float, tracked: bool, time_s: float
) -> None:
    rotation = (0.0, math.sin(turn), 0.0, math.cos(turn))
    sent = Parameters(2**32 + 5, tracked, time_s, time_s + 1.0, 0.0123, rotation, position, gaze, tuple(weights))
    message = sent.pack()
    assert len(message) == 96
    got = Parameters.unpack(message)
    assert (got.sequence, got.tracked) == (5, tracked)
    assert got.capture_time_s == pytest.approx(time_s, abs=5.1e-4)
    assert got.delay_s == pytest.approx(0.0123, abs=1e-9)
    assert got.rotation == pytest.approx(rotation, abs=2e-5)
    assert got.position == pytest.approx(position, abs=5.1e-5)
    assert got.gaze == pytest.approx(gaze, abs=5.1e-5)
    assert got.weights == pytest.approx(tuple(weights), abs=0.5 / 255 + 1e-9)


def test_values_out_of_range_are_clamped() -> None:
    wild = Parameters(1, True, -1.0, 0.0, 99.0, (2.0, 0.0, 0.0, 1.0), (9.0, -9.0, 0.0), (9.0,) * 4, (1.5, -0.5))
    got = Parameters.unpack(wild.pack())
    assert got.weights == (1.0, 0.0)
    assert got.position[:2] == (pytest.approx(3.2767), pytest.approx(-3.2768))
    assert got.delay_s == pytest.approx(6.5535)


def test_only_the_number_changes() -> None:
    message = Parameters(0, True, 1.0, 2.0, 0.0, (0.0, 0.0, 0.0, 1.0), (0.0, 0.0, -0.5), (0.0,) * 4, (0.5,)).pack()
    changed = numbered(message, 9)
    assert Parameters.unpack(changed).sequence == 9
    assert numbered(changed, 0) == message
    for bad in (b"", message[:-1], message + b"x", b"FITA" + message[4:], message[: PARAMETERS.size - 1]):
        with pytest.raises(ProtocolError):
            Parameters.unpack(bad)

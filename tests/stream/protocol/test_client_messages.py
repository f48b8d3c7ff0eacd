"""Pages' messages are taken strictly; junk is a typed error."""

import json
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream.protocol.client_messages import (
    Ack,
    Delete,
    Keep,
    SetBackground,
    SetCamera,
    SetLight,
    SetMode,
    parse_client_message,
)
from stream.protocol.protocol import LightPreset, Mode, ProtocolError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"type": "ack", "sequence": 7}', Ack(7)),
        ('{"type": "light"}', SetLight()),
        (
            '{"type": "light", "preset": "rim", "ambient": 0, "direction": [0, 3, 4], "color": [1, 0, 0.5],'
            ' "intensity": 2}',
            SetLight(LightPreset.RIM, 0.0, (0.0, 0.6, 0.8), (1.0, 0.0, 0.5), 2.0),
        ),
        ('{"type": "camera", "yaw": -1, "distance": 0.5}', SetCamera(yaw=-1.0, distance=0.5)),
        ('{"type": "mode", "mode": "turntable"}', SetMode(Mode.TURNTABLE)),
        ('{"type": "background", "color": [0, 0, 1]}', SetBackground((0.0, 0.0, 1.0))),
        ('{"type": "keep", "keep": true}', Keep(True)),
        ('{"type": "delete"}', Delete()),
    ],
)
def test_messages_are_understood(text: str, expected: object) -> None:
    assert parse_client_message(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "hello",
        "[]",
        "null",
        "{}",
        '{"type": 3}',
        '{"type": ["ack"]}',
        '{"type": "nonsense"}',
        '{"type": "ack"}',
        '{"type": "ack", "sequence": -1}',
        '{"type": "ack", "sequence": true}',
        '{"type": "ack", "sequence": 1.0}',
        '{"type": "ack", "sequence": 1, "more": 1}',
        '{"type": "light", "intensity": NaN}',
        '{"type": "light", "intensity": 1e400}',
        '{"type": "light", "intensity": 11}',
        '{"type": "light", "intensity": "1"}',
        '{"type": "light", "direction": [0, 0, 0]}',
        '{"type": "light", "direction": [0, 0]}',
        '{"type": "light", "preset": "disco"}',
        '{"type": "light", "preset": null}',
        '{"type": "camera", "distance": 0}',
        '{"type": "mode"}',
        '{"type": "background", "color": [0, 0, 2]}',
        '{"type": "keep", "keep": 1}',
        "[" * 100_000,
        '{"type": "ack", "sequence": ' + "9" * 5000 + "}",
    ],
)
def test_other_messages_are_errors(text: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_client_message(text)
    assert caught.value.code == "bad_message"
    assert len(str(caught.value)) < 500


plain = st.none() | st.booleans() | st.floats() | st.integers() | st.sampled_from(["", "studio", "\0", "mirror"])
json_values = plain | st.lists(plain, max_size=4) | st.dictionaries(st.sampled_from(["a", "b"]), plain, max_size=2)
kinds = st.sampled_from(["ack", "light", "camera", "mode", "background", "keep", "delete"])
names = st.sampled_from(["sequence", "preset", "direction", "color", "intensity", "yaw", "mode", "keep", "distance"])


@given(kinds, st.dictionaries(names, json_values, max_size=3))
def test_junk_is_a_typed_error_or_in_range(kind: str, fields: dict[str, object]) -> None:
    try:
        message = parse_client_message(json.dumps({"type": kind} | fields))
    except ProtocolError:
        return
    numbers = [value for value in msgspec.structs.asdict(message).values() if isinstance(value, float)]
    assert all(math.isfinite(value) for value in numbers)

"""Events as pages read them."""

import json

from stream.protocol.events import CoverageEvent, Direction


def test_events_are_flat_json() -> None:
    event = CoverageEvent((Direction(0.1, 0.2, True, False),), 0.5, 3, "turn_left")
    assert json.loads(event.to_json()) == {
        "type": "coverage",
        "directions": [{"yaw": 0.1, "pitch": 0.2, "seen": True, "wanted": False}],
        "fraction": 0.5,
        "keyframes": 3,
        "prompt": "turn_left",
    }

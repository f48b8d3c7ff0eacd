"""Motion as JSON: a message of a websocket and a line of a take.

``{"type": "motion", "time": 0.033, "tracked": true, "rotation": [x, y, z, w], "position": [x, y, z], "gaze": [leftYaw,
leftPitch, rightYaw, rightPitch], "weights": {"jawOpen": 0.31, ...}}``: units and signs as in `Motion`. Weights that are
left out are 0; of a motion that is not tracked all but type, time and tracked may be left out. Readers ignore fields
that they do not know.
"""

import math
from typing import Final

import msgspec

from fitme.errors import InputError
from fitme.motion.motion import AHEAD, FRONTAL, USUAL_POSITION, Gaze, Motion, Position, Quaternion
from fitme.motion.names import index_of
from fitme.motion.rotations import unit
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES

DIGITS: Final = 5
"""Of all numbers behind the point: 0.01 mm, 0.001 degrees."""
SHOWN_CHARS: Final = 160


class MotionMessageError(InputError):
    """A message or a line is not motion as JSON."""


class MotionMessage(msgspec.Struct, frozen=True, tag="motion", omit_defaults=True):
    """The JSON object."""

    time: float
    tracked: bool
    rotation: Quaternion = FRONTAL
    position: Position = USUAL_POSITION
    gaze: Gaze = AHEAD
    weights: dict[str, float] = msgspec.field(default_factory=dict)


_decoder = msgspec.json.Decoder(MotionMessage)
_encoder = msgspec.json.Encoder()


def motion_json(motion: Motion) -> str:
    """The message, on one line."""
    weights = {
        name: rounded
        for name, value in zip(EXPRESSION_NAMES, motion.weights, strict=True)
        if (rounded := round(value, DIGITS))
    }
    message = MotionMessage(
        round(motion.time_s, DIGITS),
        motion.tracked,
        tuple(round(value, DIGITS) for value in motion.rotation),  # type: ignore[arg-type]
        tuple(round(value, DIGITS) for value in motion.position),  # type: ignore[arg-type]
        tuple(round(value, DIGITS) for value in motion.gaze),  # type: ignore[arg-type]
        weights,
    )
    return _encoder.encode(message).decode()


def motion_of_json(text: str | bytes) -> Motion:
    """Motion of a message.

    :raises MotionMessageError: if it is not motion as JSON, has a name that is not ARKit's or a number beyond sense.
    """
    try:
        message = _decoder.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MotionMessageError(f"not motion as JSON: {str(error)[:SHOWN_CHARS]}") from error
    weights = [0.0] * EXPRESSION_COUNT
    for name, value in message.weights.items():
        index = index_of(name)
        if index is None:
            raise MotionMessageError(f"not motion as JSON: {name[:SHOWN_CHARS]!r} is not one of ARKit's 52 names")
        weights[index] = min(max(value, 0.0), 1.0)
    numbers = (message.time, *message.rotation, *message.position, *message.gaze, *weights)
    if not all(math.isfinite(value) for value in numbers):
        raise MotionMessageError("not motion as JSON: some values are no finite numbers")
    return Motion(message.time, message.tracked, unit(message.rotation), message.position, message.gaze, tuple(weights))

"""What a page tells the server: the JSON messages of the protocol, and their strict reading."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from stream.protocol.protocol import LightPreset, Mode, ProtocolError


@dataclass(frozen=True)
class Ack:
    """``{"type": "ack", "sequence": int}``: the render has been drawn or dropped."""

    sequence: int


@dataclass(frozen=True)
class SetLight:
    """``{"type": "light", ...}``: every field is optional; what is missing stays as it is."""

    preset: LightPreset | None = None
    ambient: float | None = None
    """[0, 4] scale of the preset's soft light."""
    direction: tuple[float, float, float] | None = None
    """From the head towards the directional light, view space (+X right, +Y up, +Z to the viewer); normalised here."""
    color: tuple[float, float, float] | None = None
    """sRGB-encoded, [0, 1]."""
    intensity: float | None = None
    """[0, 10] of the directional light; 0 switches it off."""


@dataclass(frozen=True)
class SetCamera:
    """``{"type": "camera", ...}``: an orbit round the head; every field is optional."""

    yaw: float | None = None
    """[-pi, pi] radians; > 0 moves the camera to the viewer's right."""
    pitch: float | None = None
    """[-pi/2, pi/2] radians; > 0 moves the camera up."""
    distance: float | None = None
    """[0.25, 3] metres from the head."""


@dataclass(frozen=True)
class SetMode:
    """``{"type": "mode", "mode": "mirror" | "turntable"}``"""

    mode: Mode


@dataclass(frozen=True)
class SetBackground:
    """``{"type": "background", "color": [r, g, b]}``, sRGB-encoded, [0, 1]."""

    color: tuple[float, float, float]


@dataclass(frozen=True)
class Keep:
    """``{"type": "keep", "keep": bool}``: answered by a `kept` event."""

    keep: bool


@dataclass(frozen=True)
class Delete:
    """``{"type": "delete"}``: ends the session and removes all of its data."""


ClientMessage = Ack | SetLight | SetCamera | SetMode | SetBackground | Keep | Delete


def parse_client_message(text: str) -> ClientMessage:
    """Read a page's text message.

    :raises ProtocolError: with code ``bad_message`` and words on what is wrong with it.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _bad(f"not JSON: {error}") from error
    if not isinstance(content, dict):
        raise _bad(f"a message is a JSON object, got {type(content).__name__}")
    kind = content.pop("type", None)
    if not isinstance(kind, str) or kind not in _PARSERS:
        raise _bad(f"unknown type {str(kind)[:_SHOWN_CHARS]!r}; known are {', '.join(_PARSERS)}")
    message_type, fields, required = _PARSERS[kind]
    unknown = sorted(set(content) - set(fields))
    missing = sorted(required - set(content))
    if unknown or missing:
        raise _bad(f"{kind}: unknown fields {str(unknown)[:_SHOWN_CHARS]}, missing fields {missing}")
    return message_type(**{name: fields[name](f"{kind}.{name}", value) for name, value in content.items()})


_SHOWN_CHARS = 80
"""How much of a stranger's text an error repeats."""
_MAX_SEQUENCE = 2**32 - 1
_MIN_DIRECTION_LENGTH = 1e-6

_Reader = Callable[[str, Any], Any]


def _bad(message: str) -> ProtocolError:
    return ProtocolError("bad_message", message)


def _number(low: float, high: float) -> _Reader:
    def read(name: str, value: Any) -> float:  # noqa: ANN401 -- anything may come out of JSON
        # bool is an int in Python, and JSON of Python's parser may hold NaN, Infinity and integers beyond float.
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise _bad(f"{name} is a number from {low:g} to {high:g}, got {str(value)[:_SHOWN_CHARS]!r}")
        return float(value)

    return read


def _integer(low: int, high: int) -> _Reader:
    def read(name: str, value: Any) -> int:  # noqa: ANN401
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise _bad(f"{name} is an integer from {low} to {high}, got {str(value)[:_SHOWN_CHARS]!r}")
        return value

    return read


def _boolean(name: str, value: Any) -> bool:  # noqa: ANN401
    if not isinstance(value, bool):
        raise _bad(f"{name} is true or false, got {str(value)[:_SHOWN_CHARS]!r}")
    return value


def _choice(choices: type[StrEnum]) -> _Reader:
    def read(name: str, value: Any) -> StrEnum:  # noqa: ANN401
        if not isinstance(value, str) or value not in tuple(choices):
            raise _bad(f"{name} is one of {', '.join(choices)}, got {str(value)[:_SHOWN_CHARS]!r}")
        return choices(value)

    return read


def _triple(low: float, high: float) -> _Reader:
    number = _number(low, high)

    def read(name: str, value: Any) -> tuple[float, float, float]:  # noqa: ANN401
        if not isinstance(value, list) or len(value) != 3:
            raise _bad(f"{name} is a list of three numbers, got {str(value)[:_SHOWN_CHARS]!r}")
        return number(f"{name}[0]", value[0]), number(f"{name}[1]", value[1]), number(f"{name}[2]", value[2])

    return read


def _direction(name: str, value: Any) -> tuple[float, float, float]:  # noqa: ANN401
    x, y, z = _triple(-1e3, 1e3)(name, value)
    length = math.sqrt(x * x + y * y + z * z)
    if length < _MIN_DIRECTION_LENGTH:
        raise _bad(f"{name} has no length")
    return x / length, y / length, z / length


_PARSERS: Mapping[str, tuple[Callable[..., ClientMessage], Mapping[str, _Reader], frozenset[str]]] = {
    "ack": (Ack, {"sequence": _integer(0, _MAX_SEQUENCE)}, frozenset({"sequence"})),
    "light": (
        SetLight,
        {
            "preset": _choice(LightPreset),
            "ambient": _number(0.0, 4.0),
            "direction": _direction,
            "color": _triple(0.0, 1.0),
            "intensity": _number(0.0, 10.0),
        },
        frozenset(),
    ),
    "camera": (
        SetCamera,
        {
            "yaw": _number(-math.pi, math.pi),
            "pitch": _number(-math.pi / 2, math.pi / 2),
            "distance": _number(0.25, 3.0),
        },
        frozenset(),
    ),
    "mode": (SetMode, {"mode": _choice(Mode)}, frozenset({"mode"})),
    "background": (SetBackground, {"color": _triple(0.0, 1.0)}, frozenset({"color"})),
    "keep": (Keep, {"keep": _boolean}, frozenset({"keep"})),
    "delete": (Delete, {}, frozenset()),
}

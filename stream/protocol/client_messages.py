"""Messages of a page to the server over the websocket: strict structs, told apart by ``"type"``.

A field that is `UNSET` was left out by the page: the control that it names stays as it is.
"""

import math
from typing import Annotated, TypeVar

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from stream.protocol.protocol import Feed, LightPreset, Mode, ProtocolError

T = TypeVar("T")

Channel = Annotated[float, Meta(ge=0.0, le=1.0)]
Color = tuple[Channel, Channel, Channel]
"""sRGB-encoded, [0, 1]."""
Coordinate = Annotated[float, Meta(ge=-1e3, le=1e3)]
Direction = tuple[Coordinate, Coordinate, Coordinate]

MIN_DIRECTION_LENGTH = 1e-6
SHOWN_CHARS = 200
"""Length at which an error message that may repeat a page's own text is cut."""


class _Message(Struct, frozen=True, tag_field="type", forbid_unknown_fields=True):
    """Base of the messages: unknown fields are errors."""


class Ack(_Message, frozen=True, tag="ack"):
    """``{"type": "ack", "sequence": int}``: the render has been drawn or dropped."""

    sequence: Annotated[int, Meta(ge=0, le=2**32 - 1)]


class SetLight(_Message, frozen=True, tag="light"):
    """``{"type": "light", ...}``: every field is optional; what is missing stays as it is."""

    preset: LightPreset | UnsetType = UNSET
    ambient: Annotated[float, Meta(ge=0.0, le=4.0)] | UnsetType = UNSET
    """Scale of the preset's soft light."""
    direction: Direction | UnsetType = UNSET
    """From the head towards the directional light, view space (+X right, +Y up, +Z to the viewer); normalised here."""
    color: Color | UnsetType = UNSET
    intensity: Annotated[float, Meta(ge=0.0, le=10.0)] | UnsetType = UNSET
    """Of the directional light; 0 switches it off."""
    turn: Annotated[float, Meta(ge=-math.pi, le=math.pi)] | UnsetType = UNSET
    """Of surroundings about the vertical axis, radians, counter-clockwise seen from above."""

    def __post_init__(self) -> None:
        if self.direction is UNSET:
            return
        length = math.hypot(*self.direction)
        if length < MIN_DIRECTION_LENGTH:
            raise ValueError("direction has no length")
        msgspec.structs.force_setattr(self, "direction", tuple(value / length for value in self.direction))


class SetCamera(_Message, frozen=True, tag="camera"):
    """``{"type": "camera", ...}``: an orbit round the head; every field is optional."""

    yaw: Annotated[float, Meta(ge=-math.pi, le=math.pi)] | UnsetType = UNSET
    """Radians; > 0 moves the camera to the viewer's right."""
    pitch: Annotated[float, Meta(ge=-math.pi / 2, le=math.pi / 2)] | UnsetType = UNSET
    """Radians; > 0 moves the camera up."""
    distance: Annotated[float, Meta(ge=0.25, le=3.0)] | UnsetType = UNSET
    """Metres from the head."""


class SetMode(_Message, frozen=True, tag="mode"):
    """``{"type": "mode", "mode": "mirror" | "turntable"}``"""

    mode: Mode


class SetBackground(_Message, frozen=True, tag="background"):
    """``{"type": "background", "color": [r, g, b]}``"""

    color: Color


class Keep(_Message, frozen=True, tag="keep"):
    """``{"type": "keep", "keep": bool}``: answered by a `kept` event."""

    keep: bool


class Delete(_Message, frozen=True, tag="delete"):
    """``{"type": "delete"}``: ends the session and removes all of its data."""


class Receive(_Message, frozen=True, tag="receive"):
    """``{"type": "receive", "feeds": [...]}``: what the page receives from now on, besides the events."""

    feeds: frozenset[Feed]


ClientMessage = Ack | Receive | SetLight | SetCamera | SetMode | SetBackground | Keep | Delete

_client_messages: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def parse_client_message(text: str) -> ClientMessage:
    """Read a page's text message.

    :raises ProtocolError: with code ``bad_message`` and the reason.
    """
    return decode(_client_messages, text, "bad_message")


def decode(decoder: msgspec.json.Decoder[T], content: str | bytes, code: str) -> T:
    """Decode JSON strictly.

    :param code: of the error.
    :raises ProtocolError: if the content is not JSON, or not what the decoder expects.
    """
    try:
        return decoder.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(code, str(error)[:SHOWN_CHARS]) from error

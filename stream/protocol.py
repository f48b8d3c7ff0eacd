"""What page and server say to each other: version 1 of the protocol.

HTTP
----
Every error is ``{"error": {"code": str, "message": str}}`` with the status given here. A session's id is its only
secret: 192 random bits that are never listed anywhere. Whoever holds it may watch, steer, keep and delete the session.

``GET /config``
    ``{"protocol": 1, "iceServers": [RTCIceServer...], "limits": {"sessions": int, "message_bytes": int,
    "picture_size": int, "grace_seconds": float}, "sample": str | null}``. `iceServers` goes into `RTCPeerConnection`
    unchanged; `sample` is the address of a clip of a synthetic head, relative to the page.
``POST /offer`` with ``{"sdp": str, "type": "offer", "session"?: str}``
    200 ``{"sdp": str, "type": "answer", "session": str, "peer": int, "resumed": bool}``. Without `session` a new
    session begins. With it the peer joins that session: one that still runs, one whose peer went away less than
    `grace_seconds` ago, or one that was kept (`resumed` is true for all). A session has one camera at a time: a newer
    peer replaces the older one, and the pages hear ``{"type": "peer", "peer": OLD, "state": "replaced"}``. The answer
    holds all of the server's ICE candidates.
    400 ``bad_offer``, 404 ``unknown_session``, 413 ``too_large``, 503 ``full`` or ``engine_gone`` with ``Retry-After``.
``PATCH /offer/{session}`` with ``{"peer": int, "candidate": str | null, "sdpMid"?: str | null,
"sdpMLineIndex"?: int | null}``
    Trickle ICE: 204. `candidate` is `RTCIceCandidate.candidate`; null or "" ends them. A candidate of a replaced peer
    is ignored. 400 ``bad_candidate``, 404 ``unknown_session``.
``GET /session/{session}/avatar.glb``
    200 ``model/gltf-binary``; 404 ``unknown_session``; 409 ``not_ready`` (with ``Retry-After``) before the first skin.
``POST /session/{session}/keep`` with ``{"keep": bool}``
    200 ``{"kept": bool}``. A session that is not kept leaves nothing behind when it ends.
``DELETE /session/{session}``
    204: ends the session and removes all of its data, kept or not. 404 ``unknown_session``.
``GET /healthz``
    200 ``{"status": "ok", "sessions": int, "loop_lag_ms": float}``, or 503 with ``"status": "loop_blocked"`` or
    ``"engine_gone"``.
``GET /`` and everything else
    The page: the files of ``client/``.

Websocket ``/session/{session}/view``
-------------------------------------
Any number of pages may watch one session; each gets all events and, at its own pace, the newest pictures. Controls are
the session's, not the page's: the last change wins and every page hears of it by a `scene` event. On joining, `hello`
comes first, then the last event of each lasting kind (`PERSISTENT_EVENTS`), then what happens.

*Server to page, text*: the JSON of the `...Event` classes below, told apart by ``"type"``. A page ignores types and
fields that it does not know.

*Server to page, binary*: one picture a message, `PICTURE_HEADER` (80 bytes, little-endian), then the encoded picture:

====== ======= ====================================================================
offset type    field
====== ======= ====================================================================
0      4 bytes magic ``FITM``
4      uint16  version, 1
6      uint8   codec: 1 JPEG, 2 WebP
7      uint8   stage: index into `STAGES`
8      uint32  sequence, growing by at least 1; gaps are pictures that were skipped
12     uint16  width, pixels
14     uint16  height, pixels
16     float64 media time of the camera frame, seconds since the peer's first frame
24     float64 server time when that frame had been decoded, seconds
32     float64 server time when the picture had been rendered, seconds
40     float64 server time when the picture was handed to this page, seconds
48     float32 head yaw, radians (> 0 looks to the viewer's right)
52     float32 head pitch, radians (> 0 looks up)
56     float32 head roll, radians (> 0 counter-clockwise on the picture)
60     float32 head position x, metres, +X right
64     float32 head position y, metres, +Y up
68     float32 head position z, metres, negative in front of the camera
72     uint32  rounds of fitting that the avatar has behind it
76     uint32  bytes of the encoded picture that follow
====== ======= ====================================================================

Server times count from one arbitrary moment. A page acknowledges each picture once it has drawn or dropped it; the next
one is sent only then, so that at most one is in flight, and it is always the newest. Pictures are as a camera sees the
head, not flipped: a page that shows its camera flipped, as mirrors do, flips the avatar, too.

*Page to server, text*: the JSON of the message classes below, told apart by ``"type"``. Parsing is strict: an unknown
type, an unknown or missing field, or a value out of range is answered by an `error` event and changes nothing; so is a
binary message. A message larger than `limits.message_bytes` closes the websocket with code 1009. Colours on the wire
are sRGB-encoded, as colour pickers give them. Close codes: 1009 message too large, 4404 unknown session, 4410 session
ended.
"""

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, ClassVar

from fitme.errors import FitmeError

PROTOCOL_VERSION = 1

STAGES = ("waiting", "landmarks", "skin", "inversion", "tuning")
"""Stages of an avatar, in their order: `waiting` is the mean head in grey, `landmarks` the person's shape in grey, from
`skin` on the avatar has the person's own reflectance."""

PICTURE_HEADER = struct.Struct("<4sHBBIHHdddd6fII")
PICTURE_MAGIC = b"FITM"

LANDMARK_SCALE = 10_000
"""Landmarks travel as integers: this many steps over the width (x) and the height (y) of the camera frame."""

CLOSE_TOO_LARGE = 1009
CLOSE_UNKNOWN_SESSION = 4404
CLOSE_ENDED = 4410

PERSISTENT_EVENTS = ("scene", "peer", "kept", "progress", "coverage", "round", "tracking")
"""Kinds of events whose last one is told to a page that joins late, in this order."""


class ProtocolError(FitmeError):
    """A message does not follow the protocol."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        """Short machine-readable reason, e.g. ``bad_message``."""


class Codec(IntEnum):
    """Encoding of a picture."""

    JPEG = 1
    WEBP = 2


class Mode(StrEnum):
    """What moves the avatar."""

    MIRROR = "mirror"
    """It takes over the pose and expression of the face before the camera."""
    TURNTABLE = "turntable"
    """It turns by itself, with a neutral expression."""


class LightPreset(StrEnum):
    """Where the soft part of the light comes from; a directional light is added to it."""

    STUDIO = "studio"
    """Large soft light from above and in front, dim from below."""
    SKY = "sky"
    """Cool from above, warm from below."""
    RIM = "rim"
    """Two coloured lights from both sides, little from in front."""
    DARK = "dark"
    """Almost none: only the directional light counts."""
    CAMERA = "camera"
    """The light that the fit found in the newest keyframe; `STUDIO` until there is one."""


class PromptCode(StrEnum):
    """What the person is asked to do. Left and right are the person's own."""

    LOOK_STRAIGHT = "look_straight"
    TURN_LEFT = "turn_left"
    TURN_RIGHT = "turn_right"
    LOOK_UP = "look_up"
    LOOK_DOWN = "look_down"
    SMILE = "smile"
    OPEN_MOUTH = "open_mouth"
    COME_CLOSER = "come_closer"
    MOVE_BACK = "move_back"
    HOLD_STILL = "hold_still"
    MORE_LIGHT = "more_light"
    LESS_LIGHT = "less_light"
    UNCOVER_FACE = "uncover_face"
    SHOW_FACE = "show_face"
    ONE_PERSON = "one_person"
    SAME_PERSON = "same_person"


# --- pictures ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Picture:
    """One encoded picture of the avatar and what its header says; see the table in the module's docstring."""

    sequence: int
    codec: Codec
    stage: int
    """Index into `STAGES`."""
    width: int
    height: int
    capture_time_s: float
    received_time_s: float
    rendered_time_s: float
    sent_time_s: float
    pose: tuple[float, float, float, float, float, float]
    """yaw, pitch, roll in radians; x, y, z in metres (view frame)."""
    rounds: int
    payload: bytes

    def pack(self) -> bytes:
        """The binary message."""
        header = PICTURE_HEADER.pack(
            PICTURE_MAGIC,
            PROTOCOL_VERSION,
            self.codec,
            self.stage,
            self.sequence & 0xFFFFFFFF,
            self.width,
            self.height,
            self.capture_time_s,
            self.received_time_s,
            self.rendered_time_s,
            self.sent_time_s,
            *self.pose,
            self.rounds,
            len(self.payload),
        )
        return header + self.payload

    @staticmethod
    def unpack(message: bytes) -> "Picture":
        """Read a binary message.

        :raises ProtocolError: if it is not a picture of this version, or truncated.
        """
        if len(message) < PICTURE_HEADER.size:
            raise ProtocolError("bad_picture", f"a header has {PICTURE_HEADER.size} bytes, the message {len(message)}")
        magic, version, codec, stage, sequence, width, height, *rest = PICTURE_HEADER.unpack_from(message)
        if magic != PICTURE_MAGIC or version != PROTOCOL_VERSION:
            raise ProtocolError("bad_picture", f"not a picture of protocol {PROTOCOL_VERSION}: {magic!r} {version}")
        captured, received, rendered, sent, yaw, pitch, roll, x, y, z, rounds, size = rest
        payload = message[PICTURE_HEADER.size :]
        if len(payload) != size or stage >= len(STAGES) or codec not in tuple(Codec):
            raise ProtocolError("bad_picture", f"inconsistent header: codec {codec}, stage {stage}, {size} bytes")
        return Picture(
            sequence=sequence,
            codec=Codec(codec),
            stage=stage,
            width=width,
            height=height,
            capture_time_s=captured,
            received_time_s=received,
            rendered_time_s=rendered,
            sent_time_s=sent,
            pose=(yaw, pitch, roll, x, y, z),
            rounds=rounds,
            payload=payload,
        )


# --- events: server to page -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Event:
    """Base of the JSON events; fields appear in the JSON under their own names."""

    type: ClassVar[str]

    def to_json(self) -> str:
        """The text message."""
        return json.dumps({"type": self.type} | asdict(self), separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class HelloEvent(Event):
    """First message of every websocket."""

    type: ClassVar[str] = "hello"
    protocol: int
    session: str
    resumed: bool
    """The session has rounds of fitting from before the server knew this page."""
    stages: tuple[str, ...]
    picture_width: int
    picture_height: int


@dataclass(frozen=True)
class TrackingEvent(Event):
    """The face in the newest camera frame; at most ten a second."""

    type: ClassVar[str] = "tracking"
    status: str
    """``ok``, ``no_face``, ``several_faces`` or ``other_person``."""
    prompt: str | None
    """A `PromptCode`, or nothing to ask for."""
    capture_time_s: float
    frame_width: int
    frame_height: int
    landmarks: tuple[int, ...] | None
    """x0, y0, x1, y1, ... of 478 points, in 1 / `LANDMARK_SCALE` of the frame's width and height (may lie outside)."""
    pose: tuple[float, float, float, float, float, float] | None
    """yaw, pitch, roll in radians; x, y, z in metres."""
    sharpness: float | None
    exposure: float | None
    """Mean luminance of the face in [0, 1]."""
    face_size_px: float | None
    occlusion: float | None
    """Share of the face that is hidden, [0, 1]."""


@dataclass(frozen=True)
class Direction:
    """One cell of the coverage dial."""

    yaw: float
    """Centre of the cell, radians, > 0 looks to the viewer's right (the person's left)."""
    pitch: float
    """Centre of the cell, radians, > 0 looks up."""
    seen: bool
    wanted: bool


@dataclass(frozen=True)
class CoverageEvent(Event):
    """Which head directions have been seen and which are still wanted; after every change of the keyframes."""

    type: ClassVar[str] = "coverage"
    directions: tuple[Direction, ...]
    fraction: float
    """Share of the wanted directions that have been seen, [0, 1]."""
    keyframes: int
    prompt: str | None
    """A `PromptCode`."""


@dataclass(frozen=True)
class ProgressEvent(Event):
    """Where the fit stands; whenever that changes."""

    type: ClassVar[str] = "progress"
    stage: str
    """One of `STAGES`: what the pictures show now."""
    progress: float
    """[0, 1] over all stages; 1 means that a full fit with tuning is done (refinement goes on)."""
    avatar: bool
    """``avatar.glb`` can be had."""


@dataclass(frozen=True)
class RoundEvent(Event):
    """A round of refinement has finished and its result is in the store."""

    type: ClassVar[str] = "round"
    index: int
    stage: str
    seconds: float
    keyframes: int
    losses: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class SceneEvent(Event):
    """The controls as they are now; after every change by any page."""

    type: ClassVar[str] = "scene"
    preset: str
    ambient: float
    direction: tuple[float, float, float]
    color: tuple[float, float, float]
    intensity: float
    yaw: float
    pitch: float
    distance: float
    mode: str
    background: tuple[float, float, float]


@dataclass(frozen=True)
class PeerEvent(Event):
    """The camera's connection."""

    type: ClassVar[str] = "peer"
    peer: int
    state: str
    """``connecting``, ``connected``, ``replaced`` (a newer peer took over) or ``closed``."""


@dataclass(frozen=True)
class KeptEvent(Event):
    """Whether the session's data will stay when it ends."""

    type: ClassVar[str] = "kept"
    kept: bool


@dataclass(frozen=True)
class EndedEvent(Event):
    """The session is over; the websocket closes with `CLOSE_ENDED` next."""

    type: ClassVar[str] = "ended"
    reason: str
    """``deleted``, ``expired`` (no camera and no page for too long) or ``shutdown``."""


@dataclass(frozen=True)
class ErrorEvent(Event):
    """Something went wrong; the session goes on unless an `ended` event follows."""

    type: ClassVar[str] = "error"
    code: str
    """``bad_message`` (this page's last message was not understood), ``engine_restarted`` (pictures go on in a moment,
    from the last round), ``store_failed`` or ``fit_failed``."""
    message: str


# --- messages: page to server -----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ack:
    """``{"type": "ack", "sequence": int}``: the picture has been drawn or dropped."""

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

"""Events that a server sends to its pages: JSON messages, told apart by ``"type"``."""

import msgspec
from msgspec import Struct

from fitme.stage import Stage
from stream.protocol.protocol import Role

LANDMARK_SCALE = 10_000
"""Landmarks travel as integers: this many steps over the width (x) and the height (y) of the camera frame."""

PERSISTENT_EVENTS = ("scene", "peer", "kept", "stored", "viewers", "voice", "progress", "coverage", "round", "tracking")
"""Kinds of events whose last one is sent to a page that joins late, in this order."""
VIEWER_EVENTS = frozenset({"hello", "scene", "peer", "voice", "progress", "ended"})
"""Kinds of events that viewers get, too: nothing that is measured on the owner's camera frames."""

PERSISTENT_ERRORS = ("session_unreadable",)
"""Codes of errors that last: sent to a page that joins late, after the persistent events."""


class Event(Struct, frozen=True, tag_field="type"):
    """Base of the JSON events; fields appear in the JSON under their own names."""

    @property
    def type(self) -> str:
        """Kind of the event: ``"type"`` of its JSON."""
        return str(self.__struct_config__.tag)

    def to_json(self) -> str:
        """Text message; numbers of NumPy become plain ones, a number that is not finite becomes null."""
        return _encoder.encode(self).decode()


class HelloEvent(Event, frozen=True, tag="hello"):
    """First message of every websocket."""

    protocol: int
    session: str
    resumed: bool
    """The session has rounds of fitting from before the server knew this page."""
    stages: tuple[str, ...]
    render_width: int
    render_height: int
    role: Role = Role.OWNER
    """Owners watch, steer, keep and delete; viewers watch, and their `session` is empty."""
    avatar: str = ""
    """Name of the avatar whose pieces and versions follow; another one after the session was parked."""
    model: str = ""
    """Digest of the piece with the morphable head, for ``GET /piece/{digest}``."""


class TrackingEvent(Event, frozen=True, tag="tracking"):
    """Face in the newest camera frame; at most ten a second, see `Feed.LANDMARKS`."""

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


class Direction(Struct, frozen=True):
    """One cell of the coverage dial."""

    yaw: float
    """Centre of the cell, radians, > 0 looks to the viewer's right (the person's left)."""
    pitch: float
    """Centre of the cell, radians, > 0 looks up."""
    seen: bool
    wanted: bool


class CoverageEvent(Event, frozen=True, tag="coverage"):
    """Coverage of head directions by keyframes; after every change of the keyframes."""

    directions: tuple[Direction, ...]
    fraction: float
    """Share of the wanted directions that have been seen, [0, 1]."""
    keyframes: int
    prompt: str | None
    """A `PromptCode`."""


class ProgressEvent(Event, frozen=True, tag="progress"):
    """Stage and progress of the fit; after every change."""

    stage: Stage
    """The stage of what the renders show now."""
    progress: float
    """[0, 1] over all stages; 1 means that a full fit with tuning is done (refinement goes on)."""
    avatar: bool
    """``avatar.glb`` can be had."""
    converged: bool = False
    """Nothing is left to do for the fit until another frame is selected."""


class RoundEvent(Event, frozen=True, tag="round"):
    """Round of refinement that has finished and is in the store."""

    index: int
    stage: Stage
    seconds: float
    keyframes: int
    losses: dict[str, float] = msgspec.field(default_factory=dict)


class SceneEvent(Event, frozen=True, tag="scene"):
    """Current controls; after every change by any page."""

    preset: str
    ambient: float
    direction: tuple[float, float, float]
    color: tuple[float, float, float]
    intensity: float
    turn: float
    yaw: float
    pitch: float
    distance: float
    mode: str
    background: tuple[float, float, float]


class PeerEvent(Event, frozen=True, tag="peer"):
    """State of the camera's connection."""

    peer: int
    state: str
    """``connecting``, ``connected``, ``silent`` (it sends no frames for now), ``replaced`` (a newer peer took over) or
    ``closed``."""


class CameraEvent(Event, frozen=True, tag="camera"):
    """Frames of the camera are too large: the page should send smaller ones. To the owner's pages."""

    peer: int
    max_pixels: int
    """Width times height of a frame, at most."""
    reason: str


class KeptEvent(Event, frozen=True, tag="kept"):
    """Whether the session's data will stay when it ends."""

    kept: bool


class StoredEvent(Event, frozen=True, tag="stored"):
    """Whether the session's newest round is on disk: a session that is kept comes back with what is stored of it."""

    stored: bool
    """False before the first round, and while the store cannot be written: storing is then tried again."""


class ViewersEvent(Event, frozen=True, tag="viewers"):
    """How many pages watch by view links; to the owner's pages, after every change."""

    count: int


class VoiceEvent(Event, frozen=True, tag="voice"):
    """Whether the owner's microphone can be heard; after every change, also when another microphone takes over."""

    on: bool


class EndedEvent(Event, frozen=True, tag="ended"):
    """End of the session; the websocket closes with `CLOSE_ENDED` next."""

    reason: str
    """``deleted`` (all data is gone), ``not_erased`` (it was to be deleted, but some data stays for now; erasing is
    tried again), ``expired`` (no camera and no page for too long) or ``shutdown``."""


class ErrorEvent(Event, frozen=True, tag="error"):
    """Error; the session goes on unless an `ended` event follows."""

    code: str
    """``bad_message`` (this page's last message was malformed), ``forbidden`` (only the owner may send it),
    ``bad_camera`` (frames of the camera are dropped: too many or damaged), ``engine_restarted`` (renders go
    on in a moment, from the last round), ``store_failed``, ``erase_failed``, ``fit_failed`` or ``session_unreadable``
    (the stored session is damaged and is left as it is; the avatar stays an average head)."""
    message: str


_encoder = msgspec.json.Encoder(enc_hook=float)

"""What a server tells its pages: the JSON events of the protocol, told apart by ``"type"``."""

import json
from dataclasses import asdict, dataclass, field
from typing import ClassVar

from fitme.stage import Stage

LANDMARK_SCALE = 10_000
"""Landmarks travel as integers: this many steps over the width (x) and the height (y) of the camera frame."""

PERSISTENT_EVENTS = ("scene", "peer", "kept", "progress", "coverage", "round", "tracking")
"""Kinds of events whose last one is told to a page that joins late, in this order."""


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
    render_width: int
    render_height: int


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
    stage: Stage
    """The stage of what the renders show now."""
    progress: float
    """[0, 1] over all stages; 1 means that a full fit with tuning is done (refinement goes on)."""
    avatar: bool
    """``avatar.glb`` can be had."""


@dataclass(frozen=True)
class RoundEvent(Event):
    """A round of refinement has finished and its result is in the store."""

    type: ClassVar[str] = "round"
    index: int
    stage: Stage
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
    """``bad_message`` (this page's last message was not understood), ``engine_restarted`` (renders go on in a moment,
    from the last round), ``store_failed`` or ``fit_failed``."""
    message: str

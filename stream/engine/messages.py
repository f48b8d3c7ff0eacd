"""Messages that the three kinds of processes exchange over pipes; all values are small except keyframes and maps.

``web ⇄ live``: the live process tracks and renders; ``live ⇄ fit``: the fit process refines. Web and fit process have
no pipe between them.
"""

from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array
from fitme.reflectance.map_arrays import ModalityMaps
from fitme.session.folder import SessionFolder
from fitme.stage import Stage
from stream.protocol.avatar import Slot
from stream.protocol.events import Event
from stream.protocol.render import Render
from stream.protocol.scene import Scene

if TYPE_CHECKING:  # the web process need not load what only the others exchange
    from fitme.fit.keyframe import Keyframe
    from fitme.glasses.glasses import Glasses
    from fitme.hair.hair import HairArray


@dataclass(frozen=True)
class EngineReady:
    """fit → live → web: everything is warmed up."""


@dataclass(frozen=True)
class Ping:
    """web → live → fit: answered by `LiveAlive` at once, and by `FitAlive` between two slices of work."""

    number: int


@dataclass(frozen=True)
class LiveAlive:
    """live → web: the live process has handled a `Ping`."""

    number: int


@dataclass(frozen=True)
class FitAlive:
    """fit → live → web: the fit process has handled a `Ping`."""

    number: int


@dataclass(frozen=True)
class OpenSession:
    """web → live: begin or resume a session."""

    session: str
    folder: SessionFolder
    scene: Scene
    frames_name: str
    """Name of its `stream.engine.frame_slots.FrameSlots`."""
    max_pixels: int
    secret: str | None = field(default=None, repr=False)
    """With which its data is encrypted at rest."""
    has_avatar: bool = False
    """Pages have pieces of its avatar already: the engine was started again."""


@dataclass(frozen=True)
class CloseSession:
    """web → live → fit: end a session; answered by `SessionClosed`."""

    session: str


@dataclass(frozen=True)
class SessionClosed:
    """fit → live → web: the session's data is stored, and nothing more is written."""

    session: str


@dataclass(frozen=True)
class FrameArrived:
    """web → live: there is a new camera frame, and the last one had been taken."""

    session: str


@dataclass(frozen=True)
class SetScene:
    """web → live: the controls have changed."""

    session: str
    scene: Scene


@dataclass(frozen=True)
class DriveAvatar:
    """web → live: draw the avatar under this motion of another program; under the camera's again if None."""

    session: str
    parameters: bytes | None


@dataclass(frozen=True)
class RequestRender:
    """web → live: send one render as soon as there is something new."""

    session: str


@dataclass(frozen=True)
class ExportAvatar:
    """web → live → fit: write a GLB; answered by `AvatarExported`."""

    session: str
    request: int


@dataclass(frozen=True)
class AvatarExported:
    """fit → live → web."""

    session: str
    request: int
    path: Path | None
    """None if it failed."""
    error: str = ""
    ready: bool = True
    """False: there was nothing to export yet."""


@dataclass(frozen=True)
class SessionEvent:
    """live → web, fit → live → web: an event for the session's pages."""

    session: str
    event: Event


@dataclass(frozen=True)
class SessionRender:
    """live → web: a render for the session's pages."""

    session: str
    render: Render


@dataclass(frozen=True)
class SessionParameters:
    """live → web: pose, gaze and expression at one camera frame, packed as `stream.protocol.parameters` describes."""

    session: str
    message: bytes


@dataclass(frozen=True)
class AvatarPieces:
    """fit → live → web, live → web: pieces of an avatar that have changed, see `stream.protocol.avatar`."""

    session: str
    pieces: tuple[tuple[Slot, bytes], ...]
    dropped: tuple[Slot, ...] = ()
    """Slots that are no part of the avatar any more."""


@dataclass(frozen=True)
class SharedPiece:
    """fit → live → web, live → web: a packed piece that is the same for every avatar."""

    digest: str
    message: bytes
    is_model: bool = False
    """It is the morphable head that the sessions' avatars are made of."""


@dataclass(frozen=True, eq=False)
class FittedMaps(ModalityMaps[npt.NDArray[np.float16]]):
    """Reflectance maps (R, R, C) as float16, to halve what the pipe carries."""


@dataclass(frozen=True)
class Fitted:
    """fit → live: the head after a round."""

    session: str
    stage: Stage
    rounds: int
    focal: float
    """Focal length over the longer side of the camera's frame."""
    identity: Float32Array
    """(K + 1,) standard deviations."""
    maps: FittedMaps | None
    """None before the first skin."""
    light_sh: Float32Array | None
    """(9, 3) light of the newest keyframe."""


@dataclass(frozen=True)
class CorrectiveArrays:
    """Shapes of `fitme.reflectance.expression_correctives.AlbedoCorrectives`."""

    expressions: Float32Array
    gram: Float32Array
    mixing: Float32Array
    deltas: npt.NDArray[np.float16]


@dataclass(frozen=True)
class FittedCorrectives:
    """fit → live: albedo correctives of expressions, until another such message."""

    session: str
    known: CorrectiveArrays | None
    """None: there are none, or not any more."""


@dataclass(frozen=True)
class FittedHair:
    """fit → live: the hair to draw, until another such message."""

    session: str
    arrays: "dict[str, HairArray] | None"
    """Those of `fitme.hair.hair.hair_arrays`; None while there is none."""


@dataclass(frozen=True)
class FittedGlasses:
    """fit → live: the glasses to draw, until another such message."""

    session: str
    glasses: "Glasses | None"
    """None while there are none."""


@dataclass(frozen=True)
class AttachFit:
    """web → live: the pipe to a fit process that takes the place of another."""

    connection: Connection


@dataclass(frozen=True)
class WarmUp:
    """live → fit: a synthetic keyframe to compile and load everything with; answered by `EngineReady`."""

    keyframe: "Keyframe"


@dataclass(frozen=True)
class OpenFit:
    """live → fit: begin the fit of a session, or resume it from its store; answered by `FitOpened`."""

    session: str
    folder: SessionFolder
    secret: str | None = field(default=None, repr=False)
    """With which its data is encrypted at rest."""


@dataclass(frozen=True)
class FitOpening:
    """fit → live: the session of an `OpenFit` is now being opened."""

    session: str


@dataclass(frozen=True)
class FitWaiting:
    """fit → live: another process still writes the session of an `OpenFit`; it is opened once that has ended."""

    session: str


@dataclass(frozen=True)
class FitUnreadable:
    """fit → live: the session's store cannot be read; answers `OpenFit`. It has no fit."""

    session: str
    reason: str


@dataclass(frozen=True)
class FitOpened:
    """fit → live: the frames that a session held when it was left; answers `OpenFit`, before any other message. Both
    are empty for a new session."""

    session: str
    keyframes: "tuple[Keyframe, ...]"
    expression_frames: "tuple[Keyframe, ...]"


@dataclass(frozen=True)
class AddKeyframe:
    """live → fit: a new keyframe."""

    session: str
    keyframe: "Keyframe"


@dataclass(frozen=True)
class RemoveKeyframe:
    """live → fit: a keyframe that a better one replaced; it may be removed together with later changes."""

    session: str
    key: str


@dataclass(frozen=True)
class AddExpressionFrame:
    """live → fit: a new frame from which only correctives are extracted."""

    session: str
    frame: "Keyframe"


@dataclass(frozen=True)
class RemoveExpressionFrame:
    """live → fit: an expression frame that one with a more novel expression replaced."""

    session: str
    key: str


@dataclass(frozen=True)
class DiscardFrames:
    """live → fit: keyframes and expression frames that show another person: removed at once, from the disk too."""

    session: str
    keys: tuple[str, ...]

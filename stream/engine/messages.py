"""What the three kinds of processes say to each other over pipes; all values are small except keyframes and maps.

``web ⇄ live``: the live process tracks and renders; ``live ⇄ fit``: the fit process refines. Web and fit process do not
talk to each other.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array
from fitme.reflectance.map_arrays import ModalityMaps
from fitme.stage import Stage
from stream.protocol.events import Event
from stream.protocol.render import Render
from stream.protocol.scene import Scene

if TYPE_CHECKING:  # the web process need not load what only the others exchange
    from fitme.fit.keyframe import Keyframe


@dataclass(frozen=True)
class Ready:
    """fit → live → web: everything is warmed up."""


@dataclass(frozen=True)
class Ping:
    """web → live, and back unchanged: proof of life."""

    number: int


@dataclass(frozen=True)
class Open:
    """web → live: begin or resume a session."""

    session: str
    folder: Path
    scene: Scene
    frames_name: str
    """Name of its `stream.engine.frame_slots.FrameSlots`."""
    max_pixels: int


@dataclass(frozen=True)
class Close:
    """web → live → fit: end a session; answered by `Closed`."""

    session: str
    delete: bool


@dataclass(frozen=True)
class Closed:
    """fit → live → web: the session's data is at rest, or gone."""

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
class RequestRender:
    """web → live: send one render as soon as there is something new."""

    session: str


@dataclass(frozen=True)
class Export:
    """web → live → fit: write a GLB; answered by `Exported`."""

    session: str
    request: int


@dataclass(frozen=True)
class Exported:
    """fit → live → web."""

    session: str
    request: int
    path: Path | None
    """None if it failed."""
    error: str = ""
    ready: bool = True
    """False: there was nothing to export yet."""


@dataclass(frozen=True)
class Tell:
    """live → web, fit → live → web: an event for the session's pages."""

    session: str
    event: Event


@dataclass(frozen=True)
class Show:
    """live → web: a render for the session's pages."""

    session: str
    render: Render


@dataclass(frozen=True, eq=False)
class FittedMaps(ModalityMaps[npt.NDArray[np.float16]]):
    """Reflectance maps (R, R, C) as float16, to halve what the pipe carries."""


@dataclass(frozen=True)
class Fitted:
    """fit → live: what a round found."""

    session: str
    stage: Stage
    rounds: int
    focal: float
    """Focal length over the longer side of the camera's picture."""
    identity: Float32Array
    """(K,) standard deviations."""
    maps: FittedMaps | None
    """None before the first skin."""
    light_sh: Float32Array | None
    """(9, 3) light of the newest keyframe."""
    reference_embedding: Float32Array | None
    """(128,) identity embedding of the person."""


@dataclass(frozen=True)
class CorrectiveArrays:
    """Shapes of `fitme.reflectance.expression_correctives.AlbedoCorrectives`."""

    expressions: Float32Array
    gram: Float32Array
    mixing: Float32Array
    deltas: npt.NDArray[np.float16]


@dataclass(frozen=True)
class FittedCorrectives:
    """fit → live: what expressions change in the skin, until another such message."""

    session: str
    known: CorrectiveArrays | None
    """None where it is not known, or not any more."""


@dataclass(frozen=True)
class WarmUp:
    """live → fit: a synthetic keyframe to compile and load everything with; answered by `Ready`."""

    keyframe: "Keyframe"


@dataclass(frozen=True)
class OpenFit:
    """live → fit: begin the fit of a session, or resume it from its store; answered by `FitOpened`."""

    session: str
    folder: Path


@dataclass(frozen=True)
class FitOpened:
    """fit → live: the pictures that a session held when it was left; answers `OpenFit`, before any other message. Both
    are empty for a new session."""

    session: str
    keyframes: "tuple[Keyframe, ...]"
    expression_frames: "tuple[Keyframe, ...]"


@dataclass(frozen=True)
class KeepKeyframe:
    """live → fit: a new keyframe."""

    session: str
    keyframe: "Keyframe"


@dataclass(frozen=True)
class DropKeyframe:
    """live → fit: a keyframe that a better one replaced."""

    session: str
    key: str


@dataclass(frozen=True)
class KeepExpressionFrame:
    """live → fit: a new picture of which only the expression is to be learnt."""

    session: str
    picture: "Keyframe"


@dataclass(frozen=True)
class DropExpressionFrame:
    """live → fit: such a picture that one with a more novel expression replaced."""

    session: str
    key: str

"""Interface of an engine: sessions that take camera frames and yield events and renders.

`stream.engine.local_engine.LocalEngine` runs one in processes of this machine. The interface is narrow so that another
one may run elsewhere.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from fitme.errors import FitmeError
from fitme.session.folder import SessionFolder
from stream.engine.frame_slots import FrameSink
from stream.protocol.avatar import Slot
from stream.protocol.events import Event
from stream.protocol.render import Render
from stream.protocol.scene import Scene


class EngineError(FitmeError):
    """The engine has ended, or a request to it failed."""


class NotReadyError(EngineError):
    """There is no avatar to export yet."""


class EngineListener(Protocol):
    """Receives what one session yields; called in the event loop."""

    def on_event(self, event: Event) -> None:
        """An event for the session's pages."""
        ...

    def on_parameters(self, message: bytes) -> None:
        """Pose, gaze and expression at one camera frame, packed; see `stream.protocol.parameters`."""
        ...

    def on_pieces(self, pieces: Sequence[tuple[Slot, bytes]], dropped: Sequence[Slot]) -> None:
        """Packed pieces of the avatar that have changed (see `stream.protocol.avatar`), and slots that it has lost."""
        ...

    def on_render(self, render: Render) -> None:
        """The render that `request_render` requested."""
        ...


class Engine(Protocol):
    """Tracks, fits and renders sessions. All methods are called in the event loop and none blocks it."""

    @property
    def healthy(self) -> bool:
        """Whether the engine runs and answers."""
        ...

    @property
    def workers(self) -> int:
        """Number of its workers that run and answer: 0 or 1 of an engine on this machine."""
        ...

    async def start(self) -> None:
        """Start and warm up; returns once the first session would be served at full speed.

        :raises EngineError: if it cannot start.
        """
        ...

    async def stop(self) -> None:
        """Close all sessions, keeping their data, and stop, within a few seconds: what a slow fit has not stored by
        then is lost. Once it has returned, nothing more is written; a second call has no effect."""
        ...

    def open(
        self, session: str, folder: SessionFolder, scene: Scene, listener: EngineListener, secret: str | None = None
    ) -> None:
        """Begin a session, or resume the one whose data is in `folder`.

        :param secret: with which a new session is encrypted at rest, and an encrypted one opened.
        """
        ...

    async def close(self, session: str) -> None:
        """End a session; returns once its data is stored and nothing more is written. No error if it is not open."""
        ...

    def frame_sink(self, session: str) -> FrameSink:
        """Function that hands over the session's camera frames, of which only the newest is read. Callable from any
        thread; without effect after `close`."""
        ...

    def set_scene(self, session: str, scene: Scene) -> None:
        """Change the controls."""
        ...

    def drive(self, session: str, parameters: bytes | None) -> None:
        """Draw the avatar under packed parameters of another program from now on; under the camera's again if None."""
        ...

    def request_render(self, session: str) -> None:
        """Ask for the next render: one, as soon as there is something new to see."""
        ...

    @property
    def model_digest(self) -> str:
        """Digest of the shared piece with the morphable head; "" before `start` has returned."""
        ...

    def shared_piece(self, digest: str) -> bytes | None:
        """Packed piece that is the same for every avatar; None if there is none of this digest."""
        ...

    async def export(self, session: str) -> Path:
        """Write the avatar as a GLB file, which is the caller's to remove.

        :raises NotReadyError: before the first skin.
        :raises EngineError: if it fails.
        """
        ...

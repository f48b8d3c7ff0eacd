"""What the web side needs of an engine: sessions that take camera frames and give events and renders.

`stream.engine.local_engine.LocalEngine` runs one in processes of this machine. The interface is narrow so that another
one may run elsewhere.
"""

from pathlib import Path
from typing import Protocol

from fitme.errors import FitmeError
from stream.engine.frame_slots import FrameSink
from stream.protocol.events import Event
from stream.protocol.render import Render
from stream.protocol.scene import Scene


class EngineError(FitmeError):
    """The engine is gone, or could not do what was asked."""


class NotReadyError(EngineError):
    """There is no avatar to export yet."""


class EngineListener(Protocol):
    """Hears of one session; called in the event loop."""

    def on_event(self, event: Event) -> None:
        """Something to tell the pages."""
        ...

    def on_render(self, render: Render) -> None:
        """A render that `request_render` asked for."""
        ...


class Engine(Protocol):
    """Tracks, fits and renders sessions. All methods are called in the event loop and none blocks it."""

    @property
    def healthy(self) -> bool:
        """Whether the engine runs and answers."""
        ...

    async def start(self) -> None:
        """Start and warm up; returns once the first session would be served at full speed.

        :raises EngineError: if it cannot start.
        """
        ...

    async def stop(self) -> None:
        """Close all sessions, keeping their data, and stop."""
        ...

    def open(self, session: str, folder: Path, scene: Scene, listener: EngineListener) -> None:
        """Begin a session, or resume the one whose data is in `folder`."""
        ...

    async def close(self, session: str, *, delete: bool) -> None:
        """End a session; returns once its data is at rest, or gone. No error if it is not open."""
        ...

    def frame_sink(self, session: str) -> FrameSink:
        """Where the session's camera frames go; newest only, callable from any thread, harmless after `close`."""
        ...

    def set_scene(self, session: str, scene: Scene) -> None:
        """Change the controls."""
        ...

    def request_render(self, session: str) -> None:
        """Ask for the next render: one, as soon as there is something new to see."""
        ...

    async def export(self, session: str) -> Path:
        """Write the avatar as a GLB file, which is the caller's to remove.

        :raises NotReadyError: before the first skin.
        :raises EngineError: if it fails.
        """
        ...

"""An engine without work, for tests of what is in front of it."""

from pathlib import Path

from fitme.session.folder import SessionFolder
from stream.engine.frame_slots import FrameSink
from stream.engine.interface import EngineListener, NotReadyError
from stream.protocol.scene import Scene


class IdleEngine:
    """`stream.engine.interface.Engine` that draws and fits nothing."""

    healthy = True
    workers = 1
    model_digest = ""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    def open(
        self, session: str, folder: SessionFolder, scene: Scene, listener: EngineListener, secret: str | None = None
    ) -> None: ...

    async def close(self, session: str) -> None: ...

    def frame_sink(self, session: str) -> FrameSink:
        return lambda image, captured_s, received_s: None

    def set_scene(self, session: str, scene: Scene) -> None: ...

    def drive(self, session: str, parameters: bytes | None) -> None: ...

    def request_render(self, session: str) -> None: ...

    def shared_piece(self, digest: str) -> bytes | None:
        return None

    async def export(self, session: str) -> Path:
        raise NotReadyError("there is nothing")

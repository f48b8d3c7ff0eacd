"""One worker of a cluster: the engine of its machine, as `stream.engine.cluster.ray_engine` drives it from afar.

What the engine yields waits here until it is asked for: of parameters and renders the newest alone, all else in order.
A worker knows nothing of Ray: it is an ordinary class, which Ray runs as an actor.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from fitme.arrays import UInt8Array
from fitme.session.folder import SessionFolder
from stream.engine.frame_slots import FrameSink
from stream.engine.interface import Engine, EngineError
from stream.engine.messages import AvatarPieces, SessionEvent, SessionParameters, SessionRender, SharedPiece
from stream.protocol.avatar import Slot
from stream.protocol.events import Event
from stream.protocol.render import Render
from stream.protocol.scene import Scene

FRAME_QUALITY = 92
"""JPEG quality of camera frames between machines: more than the camera's own encoder has left of them."""

WorkerMessage = SessionEvent | SessionParameters | AvatarPieces | SessionRender | SharedPiece


class WorkerEngine(Engine, Protocol):
    """An engine that a worker may have."""

    @property
    def shared_pieces(self) -> Mapping[str, bytes]:
        """Packed pieces that are the same for every avatar, by their digests."""
        ...


@dataclass(frozen=True)
class CompressedFrame:
    """One camera frame between two machines."""

    jpeg: bytes
    capture_time_s: float
    age_s: float
    """Time since it was decoded; the clocks of two machines differ."""


def compress(image: UInt8Array, capture_time_s: float, received_time_s: float) -> CompressedFrame:
    """Compress a frame (H, W, 3) uint8 sRGB that was received at `time.monotonic()` of this machine."""
    options = [cv2.IMWRITE_JPEG_QUALITY, FRAME_QUALITY]
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)
    assert encoded
    return CompressedFrame(data.tobytes(), capture_time_s, time.monotonic() - received_time_s)


class EngineWorker:
    """Serves one engine to one web process."""

    def __init__(self, make_engine: Callable[[], WorkerEngine]) -> None:
        self._engine = make_engine()
        self._sinks: dict[str, FrameSink] = {}
        self._ordered: list[WorkerMessage] = []
        self._newest: dict[tuple[type, str], WorkerMessage] = {}
        """Parameters and renders by their type and session."""
        self._announced: set[str] = set()
        """Digests of the shared pieces that the web process has."""
        self._filled = asyncio.Event()

    async def start(self) -> str:
        """Start the engine; returns the digest of the morphable head.

        :raises EngineError: if it cannot start.
        """
        await self._engine.start()
        self.announce()
        return self._engine.model_digest

    async def stop(self) -> None:
        """Close all sessions and stop the engine."""
        await self._engine.stop()

    async def ping(self) -> bool:
        """Whether the engine runs and answers."""
        return self._engine.healthy

    async def open(self, session: str, folder: SessionFolder, scene: Scene, secret: str | None) -> None:
        """See `Engine.open`."""
        self._engine.open(session, folder, scene, _Listener(self, session), secret)
        self._sinks[session] = self._engine.frame_sink(session)

    async def close(self, session: str) -> None:
        """See `Engine.close`."""
        self._sinks.pop(session, None)
        await self._engine.close(session)
        for key in [key for key in self._newest if key[1] == session]:
            del self._newest[key]

    async def take_frame(self, session: str, frame: CompressedFrame) -> None:
        """Hand a camera frame over."""
        received_s = time.monotonic() - frame.age_s
        if (sink := self._sinks.get(session)) is not None:
            image = cv2.imdecode(np.frombuffer(frame.jpeg, np.uint8), cv2.IMREAD_COLOR)
            if image is not None:
                sink(np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8), frame.capture_time_s, received_s)

    async def set_scene(self, session: str, scene: Scene) -> None:
        """See `Engine.set_scene`."""
        self._engine.set_scene(session, scene)

    async def drive(self, session: str, parameters: bytes | None) -> None:
        """See `Engine.drive`."""
        self._engine.drive(session, parameters)

    async def request_render(self, session: str) -> None:
        """See `Engine.request_render`."""
        self._engine.request_render(session)

    async def export(self, session: str) -> bytes:
        """The avatar as a GLB file's content.

        :raises NotReadyError, EngineError: as `Engine.export`.
        """
        path = await self._engine.export(session)
        try:
            return await asyncio.to_thread(path.read_bytes)
        except OSError as error:
            raise EngineError(f"the exported avatar cannot be read: {error}") from error
        finally:
            await asyncio.to_thread(Path.unlink, path, missing_ok=True)

    async def receive(self) -> list[WorkerMessage]:
        """What the engine has yielded since the last call; waits until there is something."""
        await self._filled.wait()
        self._filled.clear()
        messages, self._ordered = [*self._ordered, *self._newest.values()], []
        self._newest.clear()
        return messages

    def put(self, message: WorkerMessage) -> None:
        """Queue what the engine has yielded."""
        if isinstance(message, SessionParameters | SessionRender):
            self._newest[type(message), message.session] = message
        else:
            self._ordered.append(message)
        self._filled.set()

    def announce(self) -> None:
        """Queue shared pieces that the web process does not have yet: avatars name them by their digests."""
        for digest, message in self._engine.shared_pieces.items():
            if digest not in self._announced:
                self._announced.add(digest)
                self.put(SharedPiece(digest, message, is_model=digest == self._engine.model_digest))


class _Listener:
    """Listener of one session in the worker's engine."""

    def __init__(self, worker: EngineWorker, session: str) -> None:
        self._worker, self._session = worker, session

    def on_event(self, event: Event) -> None:
        self._worker.put(SessionEvent(self._session, event))

    def on_parameters(self, message: bytes) -> None:
        self._worker.put(SessionParameters(self._session, message))

    def on_pieces(self, pieces: Sequence[tuple[Slot, bytes]], dropped: Sequence[Slot]) -> None:
        self._worker.announce()
        self._worker.put(AvatarPieces(self._session, tuple(pieces), tuple(dropped)))

    def on_render(self, render: Render) -> None:
        self._worker.put(SessionRender(self._session, render))

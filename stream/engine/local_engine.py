"""An engine in two processes of this machine: one tracks and renders, one refines.

Both are started and warmed up before the first session. A fit process that ends or hangs is replaced while the live one
goes on drawing; with the live process, which holds what is drawn, both are replaced. Every open session goes on from
its last committed round.
"""

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fitme.arrays import UInt8Array
from fitme.session.folder import SessionFolder
from stream.engine.frame_slots import FrameSink, FrameSlots
from stream.engine.interface import EngineError, EngineListener, NotReadyError
from stream.engine.messages import (
    AvatarExported,
    AvatarPieces,
    CloseSession,
    DriveAvatar,
    EngineReady,
    ExportAvatar,
    FitAlive,
    FrameArrived,
    LiveAlive,
    OpenSession,
    Ping,
    RequestRender,
    SessionClosed,
    SessionEvent,
    SessionParameters,
    SessionRender,
    SetScene,
    SharedPiece,
)
from stream.engine.processes import EngineProcesses
from stream.protocol.events import ErrorEvent
from stream.protocol.scene import Scene
from stream.settings import ServeSettings

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 300.0
"""Kernels are compiled on the very first start."""
CLOSE_TIMEOUT_S = 30.0
STOP_PATIENCE_S = 1.5
"""How long the engine waits, when it stops, for its processes to close the sessions."""
EXPORT_TIMEOUT_S = 60.0
RESTART_PAUSE_S = 1.0
"""Between two attempts to start processes."""


@dataclass
class _OpenSession:
    """A session as the web process needs it, to open it again in other processes."""

    id: str
    folder: SessionFolder
    listener: EngineListener
    scene: Scene
    slots: FrameSlots
    secret: str | None = field(default=None, repr=False)
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while `slots` is written or replaced."""
    render_requested: bool = False
    has_avatar: bool = False
    """Pieces of its avatar have come."""


@dataclass(frozen=True)
class Watch:
    """How often the processes are asked for a sign of life, and when one counts as hung."""

    period_s: float = 2.0
    live_limit_s: float = 30.0
    """Silence of the live process after which it is replaced: it answers between two frames."""
    fit_limit_s: float = 60.0
    """Silence of a fit process after which it is replaced: it answers between two slices, which take a few seconds."""


class LocalEngine:
    """`stream.engine.interface.Engine` on processes of this machine."""

    def __init__(self, settings: ServeSettings, watch: Watch | None = None) -> None:
        self._settings = settings
        self._watch = watch or Watch()
        self._sessions: dict[str, _OpenSession] = {}
        self._closing: dict[str, asyncio.Future[None]] = {}
        self._exporting: dict[int, asyncio.Future[Path]] = {}
        self._shared: dict[str, bytes] = {}
        self._model_digest = ""
        self._requests = itertools.count(1)
        self._processes: EngineProcesses | None = None
        self._ready = asyncio.Event()
        self._ended = asyncio.Event()
        """A process has ended since it was last looked for."""
        self._live_answered_s = self._fit_answered_s = 0.0
        self._generation = 0
        self._keeper: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Both processes are warm and alive."""
        processes = self._processes
        return self._ready.is_set() and processes is not None and processes.live_alive and processes.fit_alive

    @property
    def workers(self) -> int:
        """See `Engine.workers`."""
        return int(self.healthy)

    async def start(self) -> None:
        """See `Engine.start`."""
        await self._launch()
        try:
            await self._until_ready()
        except EngineError:
            await self.stop()
            raise
        self._keeper = asyncio.create_task(self._keep_alive())

    async def stop(self) -> None:
        """See `Engine.stop`."""
        if self._keeper is not None:
            self._keeper.cancel()
        closing = [asyncio.create_task(self.close(session)) for session in list(self._sessions)]
        late: set[asyncio.Task[None]] = set()
        if closing:
            _, late = await asyncio.wait(closing, timeout=STOP_PATIENCE_S)
        if self._processes is not None:
            processes, self._processes = self._processes, None
            # A fit answers between two slices. What it has not stored by then is less than one round.
            await asyncio.to_thread(processes.kill if late else processes.stop)
        self._fail_requests()
        await asyncio.gather(*closing)

    def open(
        self, session: str, folder: SessionFolder, scene: Scene, listener: EngineListener, secret: str | None = None
    ) -> None:
        """See `Engine.open`."""
        slots = FrameSlots.create(self._settings.camera.max_pixels)
        opened = self._sessions[session] = _OpenSession(session, folder, listener, scene, slots, secret)
        self._send(self._open_message(opened))

    async def close(self, session: str) -> None:
        """See `Engine.close`."""
        opened = self._sessions.pop(session, None)
        if opened is None:
            return
        closed = self._closing[session] = asyncio.get_running_loop().create_future()
        try:
            self._send(CloseSession(session))
            if self.healthy:
                await asyncio.wait_for(closed, CLOSE_TIMEOUT_S)
        except (TimeoutError, EngineError):
            if self._processes is not None:
                logger.warning("the engine did not close a session in time")
        finally:
            self._closing.pop(session, None)
            with opened.lock:
                opened.slots.close()

    def frame_sink(self, session: str) -> FrameSink:
        """See `Engine.frame_sink`."""
        opened = self._sessions[session]

        def sink(image: UInt8Array, capture_time_s: float, received_time_s: float) -> None:
            with opened.lock:
                if self._sessions.get(session) is not opened:
                    return
                reader_sleeps = opened.slots.write(image, capture_time_s, received_time_s)
            if reader_sleeps:
                self._send(FrameArrived(session))

        return sink

    def set_scene(self, session: str, scene: Scene) -> None:
        """See `Engine.set_scene`."""
        if opened := self._sessions.get(session):
            opened.scene = scene
            self._send(SetScene(session, scene))

    def drive(self, session: str, parameters: bytes | None) -> None:
        """See `Engine.drive`."""
        if session in self._sessions:
            self._send(DriveAvatar(session, parameters))

    def request_render(self, session: str) -> None:
        """See `Engine.request_render`."""
        if opened := self._sessions.get(session):
            opened.render_requested = True
            self._send(RequestRender(session))

    @property
    def model_digest(self) -> str:
        """See `Engine.model_digest`."""
        return self._model_digest

    def shared_piece(self, digest: str) -> bytes | None:
        """See `Engine.shared_piece`."""
        return self._shared.get(digest)

    @property
    def shared_pieces(self) -> Mapping[str, bytes]:
        """Packed pieces that are the same for every avatar, by their digests."""
        return self._shared

    async def export(self, session: str) -> Path:
        """See `Engine.export`."""
        if session not in self._sessions or not self.healthy:
            raise EngineError("the engine is starting again: try again in a moment")
        request = next(self._requests)
        exported = self._exporting[request] = asyncio.get_running_loop().create_future()
        self._send(ExportAvatar(session, request))
        try:
            return await asyncio.wait_for(exported, EXPORT_TIMEOUT_S)
        except TimeoutError as error:
            raise EngineError("the export took too long") from error
        finally:
            del self._exporting[request]

    def _send(self, message: object) -> None:
        processes = self._processes
        if processes is not None:
            processes.send(message)

    @staticmethod
    def _open_message(opened: _OpenSession) -> OpenSession:
        slots = opened.slots
        return OpenSession(
            opened.id, opened.folder, opened.scene, slots.name, slots.max_pixels, opened.secret, opened.has_avatar
        )

    async def _launch(self) -> None:
        """Start both processes."""
        loop = asyncio.get_running_loop()
        self._ready.clear()
        self._ended.clear()
        generation = self._generation = self._generation + 1

        def receive(message: object) -> None:
            loop.call_soon_threadsafe(self._receive, generation, message)

        def ended() -> None:
            loop.call_soon_threadsafe(self._ended.set)

        self._processes = await asyncio.to_thread(EngineProcesses, self._settings, receive, ended)
        self._live_answered_s = time.monotonic()

    async def _until_ready(self) -> None:
        """Wait until both processes are warm.

        :raises EngineError: if one of them ends before, or it takes too long.
        """
        assert self._processes is not None
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not self._ready.is_set():
            if not (self._processes.live_alive and self._processes.fit_alive):
                raise EngineError("a process of the engine ended while it started; its own message is above")
            if time.monotonic() > deadline_s:
                raise EngineError(f"the engine was not ready within {START_TIMEOUT_S:.0f} s")
            waits = [asyncio.create_task(event.wait()) for event in (self._ready, self._ended)]
            await asyncio.wait(waits, timeout=self._watch.period_s, return_when=asyncio.FIRST_COMPLETED)
            for task in waits:
                task.cancel()
            self._ended.clear()
        self._live_answered_s = self._fit_answered_s = time.monotonic()

    def _receive(self, generation: int, message: object) -> None:
        """Handle a message of the live process, unless that has been replaced meanwhile."""
        if generation == self._generation:
            self._handle(message)

    def _handle(self, message: object) -> None:
        match message:
            case SessionRender():
                if opened := self._sessions.get(message.session):
                    opened.render_requested = False
                    opened.listener.on_render(message.render)
            case SessionEvent():
                if opened := self._sessions.get(message.session):
                    opened.listener.on_event(message.event)
            case SessionParameters():
                if opened := self._sessions.get(message.session):
                    opened.listener.on_parameters(message.message)
            case AvatarPieces():
                if opened := self._sessions.get(message.session):
                    opened.has_avatar = True
                    opened.listener.on_pieces(message.pieces, message.dropped)
            case SharedPiece():
                self._shared[message.digest] = message.message
                if message.is_model:
                    self._model_digest = message.digest
            case SessionClosed():
                future = self._closing.get(message.session)
                if future is not None and not future.done():
                    future.set_result(None)
            case AvatarExported():
                self._exported(message)
            case LiveAlive():
                self._live_answered_s = time.monotonic()
            case FitAlive():
                self._fit_answered_s = time.monotonic()
            case EngineReady():
                self._ready.set()

    def _exported(self, message: AvatarExported) -> None:
        future = self._exporting.get(message.request)
        if future is None or future.done():
            if message.path is not None:
                message.path.unlink(missing_ok=True)
        elif message.path is not None:
            future.set_result(message.path)
        else:
            future.set_exception((EngineError if message.ready else NotReadyError)(message.error))

    async def _keep_alive(self) -> None:
        """Replace processes that have ended or hang, as long as the engine runs."""
        while True:
            try:
                await self._check()
            except EngineError as error:
                logger.error("a process of the engine could not be replaced: %s; trying again", error)
                await asyncio.sleep(RESTART_PAUSE_S)
            except Exception:
                logger.exception("a process of the engine could not be replaced; trying again")
                await asyncio.sleep(RESTART_PAUSE_S)

    async def _check(self) -> None:
        """Ask both processes for a sign of life, wait one period, and replace what has ended or hangs."""
        assert self._processes is not None
        self._send(Ping(next(self._requests)))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), self._watch.period_s)
        self._ended.clear()
        now_s = time.monotonic()
        live_hung = now_s - self._live_answered_s > self._watch.live_limit_s
        fit_hung = self._ready.is_set() and now_s - self._fit_answered_s > self._watch.fit_limit_s
        if live_hung or not self._processes.live_alive:
            logger.error("the live process %s: starting both again", "does not answer" if live_hung else "has ended")
            await self._restart()
        elif fit_hung or not self._processes.fit_alive or not self._ready.is_set():
            logger.error("the fit process %s: starting another", "does not answer" if fit_hung else "has ended")
            await self._replace_fit()

    async def _replace_fit(self) -> None:
        """Start another fit process; the live process goes on, and opens its sessions again there."""
        assert self._processes is not None
        self._ready.clear()
        self._fail_requests()
        await asyncio.to_thread(self._processes.replace_fit)
        for opened in self._sessions.values():
            opened.listener.on_event(ErrorEvent("engine_restarted", "refinement is starting again"))
        await self._until_ready()

    async def _restart(self) -> None:
        """Start both processes again, and open all sessions there."""
        assert self._processes is not None
        self._ready.clear()
        await asyncio.to_thread(self._processes.kill)
        self._fail_requests()
        await self._launch()
        for opened in self._sessions.values():
            with opened.lock:
                opened.slots.close()
                opened.slots = FrameSlots.create(self._settings.camera.max_pixels)
            self._send(self._open_message(opened))
            if opened.render_requested:
                self._send(RequestRender(opened.id))
            opened.listener.on_event(ErrorEvent("engine_restarted", "the engine is starting again"))
        await self._until_ready()

    def _fail_requests(self) -> None:
        """End what waits for an answer of a process that has ended."""
        waiting: list[asyncio.Future[Any]] = [*self._closing.values(), *self._exporting.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(EngineError("the engine ended meanwhile"))

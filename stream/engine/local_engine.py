"""An engine in two processes of this machine: one tracks and renders, one refines.

Both are spawned at start and warm up before the first session. When one of them dies, or stops answering, both are
replaced, and every open session goes on from its last committed round.
"""

import asyncio
import itertools
import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from fitme.arrays import UInt8Array
from fitme.errors import StoreError
from fitme.session.folder import delete_session
from stream.engine.frame_slots import FrameSink, FrameSlots
from stream.engine.interface import EngineError, EngineListener, NotReadyError
from stream.engine.messages import (
    Close,
    Closed,
    Export,
    Exported,
    FrameArrived,
    Open,
    Ping,
    Ready,
    RequestRender,
    SetScene,
    Show,
    Tell,
)
from stream.engine.queued_sender import QueuedSender
from stream.protocol.events import ErrorEvent
from stream.protocol.scene import Scene
from stream.settings import ServeSettings

logger = logging.getLogger(__name__)

START_TIMEOUT_S = 300.0
"""Kernels are compiled on the very first start."""
CLOSE_TIMEOUT_S = 30.0
EXPORT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
PING_PERIOD_S = 2.0
HUNG_AFTER_PINGS = 15
"""Unanswered pings after which the live process is taken for hung."""
RESTART_PAUSE_S = 1.0
FIT_KERNEL_THREADS = 1
"""Threads of numba kernels in the fit process; the live process uses all cores."""
CHILD_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Matrices here are small: more threads would only take cores from each other."""


@dataclass
class _OpenSession:
    """What the web side knows of a session, enough to open it again."""

    id: str
    folder: Path
    listener: EngineListener
    scene: Scene
    slots: FrameSlots
    lock: threading.Lock = field(default_factory=threading.Lock)
    """Held while `slots` is written or replaced."""
    render_requested: bool = False


class _Processes:
    """One generation of the two processes, and the threads that talk to the live one."""

    def __init__(self, settings: ServeSettings, receive: Callable[[Any], None], lost: Callable[[], None]) -> None:
        """
        :param receive: called with each message, in a thread.
        :param lost: called once when the live process or the connection to it is gone, in a thread.
        """
        os.environ.update(CHILD_ENVIRONMENT)
        context = multiprocessing.get_context("spawn")
        self._connection, live_end = context.Pipe()
        live_to_fit, fit_end = context.Pipe()
        self.live: SpawnProcess = context.Process(
            target=_run_live, args=(live_end, live_to_fit, settings), name="fitme-live", daemon=True
        )
        self.fit: SpawnProcess = context.Process(
            target=_run_fit, args=(fit_end, settings), name="fitme-fit", daemon=True
        )
        self.live.start()
        self.fit.start()
        for end in (live_end, live_to_fit, fit_end):
            end.close()
        self._sender = QueuedSender(self._connection, "engine-sender")
        threading.Thread(target=self._receive_all, args=(receive, lost), name="engine-receiver", daemon=True).start()

    @property
    def alive(self) -> bool:
        return self.live.is_alive() and self.fit.is_alive()

    def send(self, message: object) -> None:
        """Queue a message; never blocks."""
        self._sender.send(message)

    def stop(self) -> None:
        """End both processes; blocks."""
        self._sender.close()
        self._connection.close()
        for process in (self.live, self.fit):
            process.join(STOP_TIMEOUT_S)
            if process.is_alive():
                process.kill()
                process.join()

    def kill(self) -> None:
        """End both processes at once; blocks."""
        self._sender.close()
        for process in (self.live, self.fit):
            process.kill()
        for process in (self.live, self.fit):
            process.join()

    def _receive_all(self, receive: Callable[[Any], None], lost: Callable[[], None]) -> None:
        try:
            while True:
                receive(self._connection.recv())
        except (EOFError, OSError):
            lost()


class LocalEngine:
    """`stream.engine.interface.Engine` on processes of this machine."""

    def __init__(self, settings: ServeSettings) -> None:
        self._settings = settings
        self._sessions: dict[str, _OpenSession] = {}
        self._closing: dict[str, asyncio.Future[None]] = {}
        self._exporting: dict[int, asyncio.Future[Path]] = {}
        self._requests = itertools.count(1)
        self._processes: _Processes | None = None
        self._ready = asyncio.Event()
        self._lost = asyncio.Event()
        self._unanswered = 0
        self._generation = 0
        self._keeper: asyncio.Task[None] | None = None

    @property
    def healthy(self) -> bool:
        """Both processes are warm, alive and answering."""
        return self._ready.is_set() and self._processes is not None and self._processes.alive

    @property
    def process_ids(self) -> tuple[int, ...]:
        """Of the live and the fit process, for measurements."""
        if self._processes is None:
            return ()
        return tuple(process.pid or 0 for process in (self._processes.live, self._processes.fit))

    async def start(self) -> None:
        """See `Engine.start`."""
        await self._launch()
        try:
            await asyncio.wait_for(self._until_ready(), START_TIMEOUT_S)
        except TimeoutError as error:
            await self.stop()
            raise EngineError(f"the engine was not ready within {START_TIMEOUT_S:.0f} s") from error
        self._keeper = asyncio.create_task(self._keep_alive())

    async def stop(self) -> None:
        """See `Engine.stop`."""
        if self._keeper is not None:
            self._keeper.cancel()
        for session in list(self._sessions):
            await self.close(session, delete=False)
        if self._processes is not None:
            processes, self._processes = self._processes, None
            await asyncio.to_thread(processes.stop)

    def open(self, session: str, folder: Path, scene: Scene, listener: EngineListener) -> None:
        """See `Engine.open`."""
        slots = FrameSlots.create(self._settings.camera.max_pixels)
        opened = self._sessions[session] = _OpenSession(session, folder, listener, scene, slots)
        self._send(self._open_message(opened))

    async def close(self, session: str, *, delete: bool) -> None:
        """See `Engine.close`."""
        opened = self._sessions.pop(session, None)
        if opened is None:
            return
        closed = self._closing[session] = asyncio.get_running_loop().create_future()
        try:
            self._send(Close(session, delete))
            if self.healthy:
                await asyncio.wait_for(closed, CLOSE_TIMEOUT_S)
        except (TimeoutError, EngineError):
            logger.warning("the engine did not close a session in time")
        finally:
            self._closing.pop(session, None)
            with opened.lock:
                opened.slots.close()
        if delete:
            try:
                # The fit process has done so, unless it died meanwhile.
                await asyncio.to_thread(delete_session, opened.folder)
            except StoreError:
                logger.exception("a session could not be deleted")

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

    def request_render(self, session: str) -> None:
        """See `Engine.request_render`."""
        if opened := self._sessions.get(session):
            opened.render_requested = True
            self._send(RequestRender(session))

    async def export(self, session: str) -> Path:
        """See `Engine.export`."""
        if session not in self._sessions or not self.healthy:
            raise EngineError("the engine is starting again: try again in a moment")
        request = next(self._requests)
        exported = self._exporting[request] = asyncio.get_running_loop().create_future()
        self._send(Export(session, request))
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
    def _open_message(opened: _OpenSession) -> Open:
        return Open(opened.id, opened.folder, opened.scene, opened.slots.name, opened.slots.max_pixels)

    async def _launch(self) -> None:
        loop = asyncio.get_running_loop()
        self._ready.clear()
        self._lost.clear()
        self._unanswered = 0
        generation = self._generation = self._generation + 1

        def receive(message: object) -> None:
            loop.call_soon_threadsafe(self._receive, generation, message)

        def lost() -> None:
            loop.call_soon_threadsafe(self._receive, generation, None)

        self._processes = await asyncio.to_thread(_Processes, self._settings, receive, lost)

    async def _until_ready(self) -> None:
        waits = [asyncio.create_task(event.wait()) for event in (self._ready, self._lost)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        if self._lost.is_set():
            raise EngineError("the engine ended while it started; its own words are above")

    def _receive(self, generation: int, message: object) -> None:
        """A message of the processes, or None if the live one is gone; those of replaced ones mean nothing."""
        if generation == self._generation:
            self._handle(message)

    def _handle(self, message: object) -> None:
        match message:
            case Show():
                if opened := self._sessions.get(message.session):
                    opened.render_requested = False
                    opened.listener.on_render(message.render)
            case Tell():
                if opened := self._sessions.get(message.session):
                    opened.listener.on_event(message.event)
            case Closed():
                future = self._closing.get(message.session)
                if future is not None and not future.done():
                    future.set_result(None)
            case Exported():
                self._exported(message)
            case Ping():
                self._unanswered = 0
            case Ready():
                self._ready.set()
            case None:
                self._lost.set()

    def _exported(self, message: Exported) -> None:
        future = self._exporting.get(message.request)
        if future is None or future.done():
            if message.path is not None:
                message.path.unlink(missing_ok=True)
        elif message.path is not None:
            future.set_result(message.path)
        else:
            future.set_exception((EngineError if message.ready else NotReadyError)(message.error))

    async def _keep_alive(self) -> None:
        """Replace the processes whenever they are gone."""
        for number in itertools.count():
            await asyncio.sleep(PING_PERIOD_S if self.healthy else RESTART_PAUSE_S)
            assert self._processes is not None
            hung = self._unanswered >= HUNG_AFTER_PINGS
            if self._processes.alive and not self._lost.is_set() and not hung:
                self._unanswered += 1
                self._send(Ping(number))
                continue
            logger.error("the engine %s: starting another", "does not answer" if hung else "is gone")
            try:
                await self._restart()
            except EngineError:
                logger.exception("the engine could not be started; trying again")

    async def _restart(self) -> None:
        self._ready.clear()
        assert self._processes is not None
        await asyncio.to_thread(self._processes.kill)
        waiting: list[asyncio.Future[Any]] = [*self._closing.values(), *self._exporting.values()]
        for future in waiting:
            if not future.done():
                future.set_exception(EngineError("the engine ended meanwhile"))
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


def _run_live(web: Connection, fit: Connection, settings: ServeSettings) -> None:
    # Imported here: the web process, which imports this module, needs neither torch nor MediaPipe.
    from stream.engine.live_process import run_live_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the web process, which ends this one
    run_live_process(web, fit, settings)


def _run_fit(connection: Connection, settings: ServeSettings) -> None:
    os.environ["NUMBA_NUM_THREADS"] = str(FIT_KERNEL_THREADS)
    from stream.engine.fit_process import run_fit_process

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    run_fit_process(connection, settings.fit)

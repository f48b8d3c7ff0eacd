"""An engine on a Ray cluster: workers on its nodes, each the engine of one machine, and the sessions spread over them.

Ray places the workers by their cores and GPUs, carries the calls, and finds out which of them are lost. A session whose
worker is lost goes on at another one, from its last stored round: the store must be within reach of all nodes. The
worker that was lost may still run, cut off; what it would write after that fails (`fitme.session.store`).

Ray is imported once an engine of this kind starts, and never by the local one.
"""

import asyncio
import contextlib
import functools
import logging
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from fitme.errors import ConfigError
from fitme.session.folder import SessionFolder, temporary_export
from stream.engine.cluster.engine_worker import CompressedFrame, EngineWorker, WorkerEngine, WorkerMessage
from stream.engine.cluster.frame_sender import FrameSender
from stream.engine.cluster.ray_client import Worker, answer, connect, disconnect, kill, node_of, placement
from stream.engine.frame_slots import FrameSink
from stream.engine.interface import EngineError, EngineListener
from stream.engine.local_engine import LocalEngine
from stream.engine.messages import AvatarPieces, SessionEvent, SessionParameters, SessionRender, SharedPiece
from stream.protocol.events import ErrorEvent
from stream.protocol.scene import Scene
from stream.settings import ServeSettings

logger = logging.getLogger(__name__)

SCHEME = "ray://"
START_TIMEOUT_S = 600.0
"""Nodes may have to be added first, and kernels are compiled on a node's very first start."""
CLOSE_TIMEOUT_S = 30.0
EXPORT_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
RESTART_PAUSE_S = 1.0
"""Before a worker is started in place of one that was lost."""
PING_PERIOD_S = 1.0
PING_LIMIT_S = 6.0
"""A worker that does not answer for this long is lost: it answers from a loop that never works itself."""
SENDER_THREADS = 4
"""Threads that compress camera frames."""


@dataclass(eq=False)
class _OpenSession:
    """A session as the web process needs it, to open it again at another worker."""

    id: str
    folder: SessionFolder
    listener: EngineListener
    scene: Scene
    secret: str | None = field(default=None, repr=False)
    worker: Worker | None = None
    """None while no worker is ready."""
    driven: bytes | None = None
    render_requested: bool = False


class RayEngine:
    """`stream.engine.interface.Engine` on a Ray cluster."""

    def __init__(
        self, settings: ServeSettings, make_engine: Callable[[ServeSettings], WorkerEngine] = LocalEngine
    ) -> None:
        """
        :param make_engine: makes a worker's engine, on its node.
        :raises ConfigError: if `ServeSettings.engine` names no cluster.
        """
        self._make_engine = make_engine
        self._address = settings.engine.removeprefix(SCHEME)
        if not settings.engine.startswith(SCHEME) or not self._address:
            raise ConfigError(f"engine {settings.engine!r}: use local, ray://HOST:PORT or ray://local")
        self._settings = settings
        self._workers: list[Worker] = []
        self._started = 0
        self._sessions: dict[str, _OpenSession] = {}
        self._shared: dict[str, bytes] = {}
        self._model_digest = ""
        self._ready = asyncio.Event()
        self._senders = ThreadPoolExecutor(SENDER_THREADS, "frame-sender")
        self._background: set[asyncio.Task[None]] = set()
        self._stopping = False
        self._connected = False

    @property
    def healthy(self) -> bool:
        """Some worker is warm and alive."""
        return any(worker.ready for worker in self._workers)

    @property
    def workers(self) -> int:
        """See `Engine.workers`."""
        return sum(worker.ready for worker in self._workers)

    async def start(self) -> None:
        """See `Engine.start`: returns once one worker is warm; the others join when they are."""
        self._connected = await asyncio.to_thread(connect, self._address, self._settings.ray)
        for _ in range(self._settings.ray.workers):
            self._launch()
        try:
            await asyncio.wait_for(self._ready.wait(), START_TIMEOUT_S)
        except TimeoutError as error:
            await self.stop()
            needed = self._settings.ray
            raise EngineError(
                f"no worker was ready within {START_TIMEOUT_S:.0f} s: each takes {needed.cpus:g} cores and "
                f"{needed.gpus:g} GPUs of one node; see `ray status`"
            ) from error

    async def stop(self) -> None:
        """See `Engine.stop`."""
        self._stopping = True
        with contextlib.suppress(TimeoutError):
            closing = asyncio.gather(*(self.close(session) for session in list(self._sessions)))
            await asyncio.wait_for(closing, STOP_TIMEOUT_S)
        workers, self._workers = self._workers, []
        await asyncio.gather(*(self._end(worker) for worker in workers))
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._senders.shutdown(wait=False)
        if self._connected:
            await asyncio.to_thread(disconnect)
            self._connected = False

    def open(
        self,
        session: str,
        folder: SessionFolder,
        scene: Scene,
        listener: EngineListener,
        secret: str | None = None,
    ) -> None:
        """See `Engine.open`."""
        opened = self._sessions[session] = _OpenSession(session, folder, listener, scene, secret)
        self._place(opened)

    async def close(self, session: str) -> None:
        """See `Engine.close`."""
        opened = self._sessions.pop(session, None)
        if opened is None or (worker := opened.worker) is None:
            return
        worker.sessions.discard(session)
        try:
            await asyncio.wait_for(answer(worker.actor.close.remote(session)), CLOSE_TIMEOUT_S)
        except (TimeoutError, EngineError):
            logger.warning("a worker did not close a session in time")

    def frame_sink(self, session: str) -> FrameSink:
        """See `Engine.frame_sink`."""
        opened = self._sessions[session]

        def is_open() -> bool:
            return self._sessions.get(session) is opened

        def send(frame: CompressedFrame) -> "Future[None] | None":
            if (worker := opened.worker) is None:
                return None
            sent: Future[None] = worker.actor.take_frame.remote(session, frame).future()
            return sent

        return FrameSender(self._senders, is_open, send).take

    def set_scene(self, session: str, scene: Scene) -> None:
        """See `Engine.set_scene`."""
        if opened := self._sessions.get(session):
            opened.scene = scene
            self._call(opened, "set_scene", scene)

    def drive(self, session: str, parameters: bytes | None) -> None:
        """See `Engine.drive`."""
        if opened := self._sessions.get(session):
            opened.driven = parameters
            self._call(opened, "drive", parameters)

    def request_render(self, session: str) -> None:
        """See `Engine.request_render`."""
        if opened := self._sessions.get(session):
            opened.render_requested = True
            self._call(opened, "request_render")

    @property
    def model_digest(self) -> str:
        """See `Engine.model_digest`."""
        return self._model_digest

    def shared_piece(self, digest: str) -> bytes | None:
        """See `Engine.shared_piece`."""
        return self._shared.get(digest)

    async def export(self, session: str) -> Path:
        """See `Engine.export`."""
        opened = self._sessions.get(session)
        if opened is None or opened.worker is None:
            raise EngineError("the engine is starting again: try again in a moment")
        try:
            content = await asyncio.wait_for(answer(opened.worker.actor.export.remote(session)), EXPORT_TIMEOUT_S)
        except TimeoutError as error:
            raise EngineError("the export took too long") from error
        return await asyncio.to_thread(_export_file, content)

    def _launch(self) -> None:
        """Ask for one more worker."""
        import ray

        needed = self._settings.ray
        # A node that is lost takes one of this server's workers with it, and not all.
        apart = placement({worker.node for worker in self._workers if worker.node is not None})
        # One thread takes the calls in turn: none of them waits inside for long.
        kind = ray.remote(EngineWorker).options(num_cpus=needed.cpus, num_gpus=needed.gpus, max_restarts=0, **apart)
        actor = kind.remote(functools.partial(self._make_engine, replace(self._settings, engine="local")))
        self._started += 1
        worker = Worker(self._started, actor)
        self._workers.append(worker)
        worker.serving = self._run(self._serve(worker))

    def _run(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        return task

    async def _serve(self, worker: Worker) -> None:
        """Hand on what a worker yields until it is lost, and then replace it."""
        try:
            worker.node = await node_of(worker)
            self._model_digest = await answer(worker.actor.start.remote())
            worker.ready = True
            self._ready.set()
            logger.info("worker %d is ready", worker.number)
            for opened in self._sessions.values():
                if opened.worker is None:
                    self._place(opened)
            watch = self._run(self._watch(worker))
            try:
                while True:
                    for message in await answer(worker.actor.receive.remote()):
                        self._handle(worker, message)
            finally:
                watch.cancel()
        except EngineError as error:
            if not self._stopping:
                logger.error("worker %d is lost: %s", worker.number, str(error).partition("\n")[0])
        except asyncio.CancelledError:
            if self._stopping:
                raise
            logger.error("worker %d does not answer", worker.number)
        if not self._stopping:
            self._run(self._replace(worker))

    async def _watch(self, worker: Worker) -> None:
        """End the service of a worker that does not answer any more."""
        while True:
            await asyncio.sleep(PING_PERIOD_S)
            try:
                await asyncio.wait_for(answer(worker.actor.ping.remote()), PING_LIMIT_S)
            except (TimeoutError, EngineError):
                assert worker.serving is not None
                worker.serving.cancel()
                return

    async def _replace(self, worker: Worker) -> None:
        """Open the sessions of a worker that is lost at others, and start another worker."""
        worker.ready = False
        if worker in self._workers:
            self._workers.remove(worker)
        kill(worker)
        for opened in [opened for opened in self._sessions.values() if opened.worker is worker]:
            opened.worker = None
            self._place(opened)
            opened.listener.on_event(ErrorEvent("engine_restarted", "the engine is starting again"))
        await asyncio.sleep(RESTART_PAUSE_S)
        if not self._stopping:
            self._launch()

    async def _end(self, worker: Worker) -> None:
        with contextlib.suppress(TimeoutError, EngineError):
            if worker.ready:
                await asyncio.wait_for(answer(worker.actor.stop.remote()), STOP_TIMEOUT_S)
        kill(worker)

    def _place(self, opened: _OpenSession) -> None:
        """Open a session at the worker with the fewest; later, if none is ready."""
        ready = [worker for worker in self._workers if worker.ready]
        if not ready:
            return
        worker = opened.worker = min(ready, key=lambda worker: len(worker.sessions))
        worker.sessions.add(opened.id)
        worker.actor.open.remote(opened.id, opened.folder, opened.scene, opened.secret)
        if opened.driven is not None:
            self._call(opened, "drive", opened.driven)
        if opened.render_requested:
            self._call(opened, "request_render")

    @staticmethod
    def _call(opened: _OpenSession, method: str, *arguments: object) -> None:
        """Call a worker's method for a session, and wait for nothing: a worker that is lost is noticed otherwise."""
        if opened.worker is not None:
            getattr(opened.worker.actor, method).remote(opened.id, *arguments)

    def _handle(self, worker: Worker, message: WorkerMessage) -> None:
        if isinstance(message, SharedPiece):
            self._shared[message.digest] = message.message
            return
        opened = self._sessions.get(message.session)
        if opened is None or opened.worker is not worker:
            return
        try:
            self._hand_over(opened, message)
        except Exception:  # one session's fault must not look like the loss of its worker
            logger.exception("a message of a worker could not be handled")

    @staticmethod
    def _hand_over(opened: _OpenSession, message: WorkerMessage) -> None:
        match message:
            case SessionEvent():
                opened.listener.on_event(message.event)
            case SessionParameters():
                opened.listener.on_parameters(message.message)
            case AvatarPieces():
                opened.listener.on_pieces(message.pieces, message.dropped)
            case SessionRender():
                opened.render_requested = False
                opened.listener.on_render(message.render)


def _export_file(content: bytes) -> Path:
    path = temporary_export()
    path.write_bytes(content)
    return path

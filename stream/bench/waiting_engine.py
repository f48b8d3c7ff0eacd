"""An engine that waits as long as measured work takes, instead of working: to measure the service around it on machines
whose cores do not suffice for many engines.

Like the local engine it tracks one frame after the other, of all sessions in turn, and refines one session after the
other, at the same time. Rounds are stored, with little in them, and go on without
end.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import secrets
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np

from fitme.arrays import UInt8Array
from fitme.errors import StoreError
from fitme.fit.state import FitState, RoundReport
from fitme.session.folder import SessionFolder
from fitme.session.lease import BusyError
from fitme.stage import Stage
from stream.engine.frame_slots import FrameSink
from stream.engine.interface import EngineListener, NotReadyError
from stream.engine.session_storage import SessionStorage
from stream.protocol.events import RoundEvent, StoredEvent
from stream.protocol.parameters import Parameters
from stream.protocol.scene import Scene
from stream.settings import ServeSettings

logger = logging.getLogger(__name__)

TRACKING_S = 0.021
"""Processor time of a tracked frame: 0.63 cores at 30 frames a second, see docs/benchmarks.md."""
ROUND_S = 1.0
"""A slice of the fit, `FitSettings.slice_s`."""
ROUNDS_BEFORE_SKIN, ROUNDS_BEFORE_TUNING = 1, 21
"""Slices until a person's own skin, and until the full fit, see docs/benchmarks.md."""
EXPRESSIONS = 52
IDENTITIES = 120
BUSY_PAUSE_S = 0.25


@dataclass(eq=False)
class _Session:
    id: str
    listener: EngineListener
    storage: SessionStorage
    frame: tuple[float, float] | None = None
    """Times of the newest frame that waits: capture, receipt."""
    seen: bool = False
    reports: tuple[RoundReport, ...] = ()
    opened: bool = False
    owner: str = field(default_factory=lambda: secrets.token_hex(4))
    """Of all engines that have had the session, this one alone."""


@dataclass
class WaitingEngine:
    """`stream.engine.cluster.engine_worker.WorkerEngine` without work."""

    settings: ServeSettings
    tracking_s: float = TRACKING_S
    round_s: float = ROUND_S
    journal: Path | None = None
    """File to which every committed round is added: a line with session, owner and index."""
    healthy: bool = False
    model_digest: str = ""
    shared_pieces: Mapping[str, bytes] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        """See `Engine.workers`."""
        return int(self.healthy)

    def __post_init__(self) -> None:
        self._sessions: dict[str, _Session] = {}
        self._arrived = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """See `Engine.start`."""
        self._run(self._track())
        self._run(self._refine())
        self.healthy = True

    async def stop(self) -> None:
        """See `Engine.stop`."""
        for session in list(self._sessions):
            await self.close(session)
        self.healthy = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def open(
        self, session: str, folder: SessionFolder, scene: Scene, listener: EngineListener, secret: str | None = None
    ) -> None:
        """See `Engine.open`."""
        opened = self._sessions[session] = _Session(session, listener, SessionStorage(folder, secret))
        self._run(self._resume(opened))

    async def close(self, session: str) -> None:
        """See `Engine.close`."""
        if (closed := self._sessions.pop(session, None)) is not None:
            await asyncio.to_thread(closed.storage.close)

    def frame_sink(self, session: str) -> FrameSink:
        """See `Engine.frame_sink`."""
        loop, opened = asyncio.get_running_loop(), self._sessions[session]

        def arrive(times: tuple[float, float]) -> None:
            opened.frame, opened.seen = times, True
            self._arrived.set()

        def sink(_image: UInt8Array, capture_time_s: float, received_time_s: float) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(arrive, (capture_time_s, received_time_s))

        return sink

    def set_scene(self, session: str, scene: Scene) -> None:
        """See `Engine.set_scene`."""

    def drive(self, session: str, parameters: bytes | None) -> None:
        """See `Engine.drive`."""

    def request_render(self, session: str) -> None:
        """See `Engine.request_render`."""

    def shared_piece(self, digest: str) -> bytes | None:
        """See `Engine.shared_piece`."""
        return self.shared_pieces.get(digest)

    async def export(self, session: str) -> Path:
        """See `Engine.export`."""
        raise NotReadyError("there is nothing to export")

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _resume(self, session: _Session) -> None:
        while not session.opened and session in self._sessions.values():
            try:
                state = await asyncio.to_thread(session.storage.resume)
            except BusyError:
                await asyncio.sleep(BUSY_PAUSE_S)
                continue
            session.reports, session.opened = () if state is None else state.rounds, True
            session.listener.on_event(StoredEvent(state is not None))

    async def _track(self) -> None:
        free_s = monotonic()
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            for session in list(self._sessions.values()):
                if (times := session.frame) is None:
                    continue
                session.frame = None
                # Sleeping takes longer than it is told to: that is no work.
                free_s = max(free_s, monotonic()) + self.tracking_s
                await asyncio.sleep(max(0.0, free_s - monotonic()))
                session.listener.on_parameters(_parameters(*times))
            if any(session.frame for session in self._sessions.values()):
                self._arrived.set()

    async def _refine(self) -> None:
        for turn in itertools.count():
            ready = [session for session in self._sessions.values() if session.opened and session.seen]
            await asyncio.sleep(self.round_s)
            if not ready:
                continue
            session = ready[turn % len(ready)]
            report = RoundReport(len(session.reports), _stage(len(session.reports)), self.round_s, {}, 0)
            reports = (*session.reports, report)
            try:
                stored = await asyncio.to_thread(session.storage.write, _state(reports))
            except StoreError as error:
                logger.warning("%s", error)
                stored = False
            if stored and self.journal is not None:
                await asyncio.to_thread(_note, self.journal, f"{session.id} {session.owner} {report.index}\n")
            if session not in self._sessions.values():
                await asyncio.to_thread(session.storage.close)
            elif stored:
                session.reports = reports
                session.listener.on_event(RoundEvent(report.index, report.stage, report.seconds, 0))


def _parameters(capture_time_s: float, received_time_s: float) -> bytes:
    return Parameters(
        sequence=0,
        tracked=True,
        capture_time_s=capture_time_s,
        received_time_s=received_time_s,
        delay_s=monotonic() - received_time_s,
        rotation=(0.0, 0.0, 0.0, 1.0),
        position=(0.0, 0.0, -0.5),
        gaze=(0.0,) * 4,
        weights=(0.0,) * EXPRESSIONS,
    ).pack()


def _stage(index: int) -> Stage:
    """Stage that a round of this index reaches."""
    if index < ROUNDS_BEFORE_SKIN:
        return Stage.LANDMARKS
    return Stage.SKIN if index < ROUNDS_BEFORE_TUNING else Stage.TUNING


def _note(journal: Path, line: str) -> None:
    """Append a line at once: many processes write to the file."""
    descriptor = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def _state(reports: tuple[RoundReport, ...]) -> FitState:
    identity = np.zeros(IDENTITIES, np.float32)
    return FitState(stage=Stage.LANDMARKS, focal=1.0, identity=identity, w_plus=None, rounds=reports)

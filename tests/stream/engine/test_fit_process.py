"""A real fit process at the end of a pipe, with frames as a live process sends them, and a real store."""

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
import pytest

from fitme.fit.keyframe import Keyframe
from fitme.session.store import SessionStore
from fitme.shape.model_file import load_default_model
from fitme.track.tracker import FrameTracker
from stream.engine.fit_process import run_fit_process
from stream.engine.messages import (
    AddExpressionFrame,
    AddKeyframe,
    CloseSession,
    DiscardFrames,
    FitOpened,
    Fitted,
    FittedCorrectives,
    FittedHair,
    FitUnreadable,
    OpenFit,
    RemoveExpressionFrame,
    SessionClosed,
    SessionEvent,
)
from stream.engine.processes import FIT_KERNEL_THREADS
from stream.engine.queued_sender import QueuedSender
from stream.engine.session_fit import FRAMES_PER_UPDATE
from stream.protocol.events import ErrorEvent, ProgressEvent, RoundEvent, StoredEvent
from stream.settings import FitSettings

SETTINGS = FitSettings(
    expression_prior=False,
    slice_s=0.05,
    collect_s=0.0,
    alignment_rounds=0,
    coarse_steps=1,
    inversion_steps=1,
    tuning_steps=1,
    niceness=0,
)
"""A full fit in a few seconds, and one of its tasks a round."""
TIMEOUT_S = 60.0
IDLE_S = 0.5
"""How long nothing must happen for a process to count as idle."""
KEYFRAME, FURTHER_KEYFRAME = 0, 1
EXPRESSION_FRAMES = (3, 5, 10, 12, 26)
POOL_THREADS = 2
"""Threads that libraries may still start after the first sessions; a session that left one would leave more in all."""
WARM_UP_SESSIONS, FURTHER_SESSIONS = 5, 3
Message = TypeVar("Message")


class FitPeer:
    """The live process's end of a fit process."""

    def __init__(self, connection: Connection, process_id: int) -> None:
        self._connection = connection
        self._sender = QueuedSender(connection, "test-sender")  # both ends send large messages at times
        self.process = psutil.Process(process_id)
        self.converged: list[bool] = []
        """As reported, without repetitions."""

    def send(self, *messages: object) -> None:
        for message in messages:
            self._sender.send(message)

    def close(self) -> None:
        self._sender.close()
        self._connection.close()

    def receive(self, kind: type[Message]) -> Message:
        """The next message of a kind; those before it are passed over."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while self._connection.poll(max(0.0, deadline_s - time.monotonic())):
            message = self._next()
            if isinstance(message, kind):
                return message
        raise TimeoutError(f"no {kind.__name__} came")

    def _next(self) -> object:
        message: object = self._connection.recv()
        event = message.event if isinstance(message, SessionEvent) else None
        if isinstance(event, ProgressEvent) and self.converged[-1:] != [event.converged]:
            self.converged.append(event.converged)
        return message

    def receive_event(self, kind: type[Message]) -> Message:
        """The next event of a kind."""
        while True:
            event = self.receive(SessionEvent).event
            if isinstance(event, kind):
                return event

    def corrective_counts_until(self, count: int) -> list[int]:
        """Numbers of expressions in the correctives that are sent, up to `count` and until the process is idle."""
        counts: list[int] = []
        while count not in counts:
            message = self.receive(FittedCorrectives)
            assert message.known is not None
            counts.append(len(message.known.expressions))
        deadline_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline_s:
            before_s = sum(self.process.cpu_times()[:2])
            if self._connection.poll(IDLE_S):
                assert not isinstance(self._next(), FittedCorrectives)
            elif sum(self.process.cpu_times()[:2]) - before_s < 0.05 * IDLE_S:
                return counts
        raise TimeoutError("the process does not become idle")


@pytest.fixture(scope="module")
def process() -> Iterator[FitPeer]:
    """One process for all tests: each closes its sessions."""
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    process = context.Process(target=run_fit_process, args=(other, SETTINGS), daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_NUM_THREADS", str(FIT_KERNEL_THREADS))
        process.start()
    other.close()
    assert process.pid is not None
    peer = FitPeer(connection, process.pid)
    yield peer
    peer.close()
    process.join(TIMEOUT_S)
    assert process.exitcode == 0


@pytest.fixture
def fit(process: FitPeer) -> FitPeer:
    process.converged.clear()
    return process


@pytest.fixture(scope="module")
def frames(face_images: list[np.ndarray]) -> dict[int, Keyframe]:
    """Of the turning head, by their numbers in the clip."""
    tracker = FrameTracker(load_default_model())
    found = {}
    for index in (KEYFRAME, FURTHER_KEYFRAME, *EXPRESSION_FRAMES):
        observation = tracker.analyse(face_images[index])
        assert observation is not None
        found[index] = Keyframe(f"frame-{index}", face_images[index], observation, float(index))
    tracker.close()
    return found


def test_correctives_are_extracted_once_the_fit_has_converged(
    fit: FitPeer, frames: dict[int, Keyframe], tmp_path: Path
) -> None:
    folder = tmp_path / "session"
    fit.send(OpenFit("a", folder))
    assert fit.receive(FitOpened) == FitOpened("a", (), ())
    damaged = replace(frames[EXPRESSION_FRAMES[0]], key="damaged", image=frames[EXPRESSION_FRAMES[0]].image[..., :1])
    fit.send(AddExpressionFrame("a", damaged), *(AddExpressionFrame("a", frames[index]) for index in EXPRESSION_FRAMES))
    fit.send(AddKeyframe("a", frames[KEYFRAME]))
    # In batches after the keyframe, which has a corrective of its own; the damaged frame is left out of its batch.
    assert fit.corrective_counts_until(1 + len(EXPRESSION_FRAMES)) == [
        1,
        1 + FRAMES_PER_UPDATE - 1,
        1 + len(EXPRESSION_FRAMES),
    ]
    assert fit.converged == [False, True]

    # One takes the place of another.
    fit.send(
        RemoveExpressionFrame("a", "frame-5"),
        AddExpressionFrame("a", replace(frames[EXPRESSION_FRAMES[0]], key="another")),
    )
    assert fit.corrective_counts_until(1 + len(EXPRESSION_FRAMES)) == [1 + len(EXPRESSION_FRAMES)]
    assert fit.converged[-1]
    fit.send(CloseSession("a"))
    fit.receive(SessionClosed)
    with SessionStore(folder) as store:
        state = store.read()
    assert state is not None
    assert [frame.key for frame in state.expression_frames] == [
        *(f"frame-{i}" for i in EXPRESSION_FRAMES if i != 5),
        "another",
    ]

    # A resumed session extracts them again, once the fit with the new keyframe has converged.
    fit.send(OpenFit("a", folder), AddKeyframe("a", frames[FURTHER_KEYFRAME]))
    opened = fit.receive(FitOpened)
    assert isinstance(opened, FitOpened)
    assert [frame.key for frame in opened.keyframes] == [frame.key for frame in state.keyframes]
    assert [frame.key for frame in opened.expression_frames] == [frame.key for frame in state.expression_frames]
    np.testing.assert_array_equal(opened.expression_frames[0].image, frames[EXPRESSION_FRAMES[0]].image)
    assert fit.corrective_counts_until(2 + len(EXPRESSION_FRAMES))[-3:] == [
        2,
        2 + FRAMES_PER_UPDATE,
        2 + len(EXPRESSION_FRAMES),
    ]
    fit.send(CloseSession("a"))
    fit.receive(SessionClosed)


def test_sessions_leave_nothing_in_the_process(fit: FitPeer, frames: dict[int, Keyframe], tmp_path: Path) -> None:
    """Threads and memory after many short sessions, each up to its first skin, against those after the first few."""
    resident, threads = [], []
    for index in range(WARM_UP_SESSIONS + FURTHER_SESSIONS):
        name = f"session-{index}"
        fit.send(OpenFit(name, tmp_path / name), AddKeyframe(name, frames[KEYFRAME]))
        while fit.receive(Fitted).maps is None:
            pass
        if index == 0:
            # Libraries start threads of their own with the first hair.
            fit.receive(FittedHair)
        fit.send(CloseSession(name))
        fit.receive(SessionClosed)
        resident.append(fit.process.memory_info().rss)
        threads.append(fit.process.num_threads())
    averaged = WARM_UP_SESSIONS // 2
    assert max(threads[WARM_UP_SESSIONS:]) <= max(threads[:WARM_UP_SESSIONS]) + POOL_THREADS
    assert np.mean(resident[-averaged:]) <= 1.05 * np.mean(resident[averaged:WARM_UP_SESSIONS])


def test_damaged_session_fails_alone(fit: FitPeer, frames: dict[int, Keyframe], tmp_path: Path) -> None:
    good, bad = tmp_path / "good", tmp_path / "bad"
    fit.send(OpenFit("bad", bad), AddKeyframe("bad", frames[KEYFRAME]))
    fit.receive(Fitted)
    while not isinstance(fit.receive(SessionEvent).event, RoundEvent):
        pass
    fit.send(CloseSession("bad"))
    fit.receive(SessionClosed)
    max((bad / "repository" / "chunks").iterdir(), key=lambda path: path.stat().st_size).unlink()
    before = {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()}
    fit.send(OpenFit("bad", bad), AddKeyframe("bad", frames[FURTHER_KEYFRAME]))
    fit.send(OpenFit("good", good), AddKeyframe("good", frames[KEYFRAME]))
    assert fit.receive(FitUnreadable).session == "bad"
    while not isinstance((message := fit.receive(SessionEvent)).event, RoundEvent):
        pass
    assert message.session == "good"
    for session in ("good", "bad"):
        fit.send(CloseSession(session))
        fit.receive(SessionClosed)
    assert {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()} == before


def test_round_is_stored_when_the_disk_has_space_again(
    fit: FitPeer, frames: dict[int, Keyframe], tmp_path: Path
) -> None:
    soft, hard = fit.process.rlimit(psutil.RLIMIT_FSIZE)
    fit.process.rlimit(psutil.RLIMIT_FSIZE, (0, hard))
    fit.send(OpenFit("a", tmp_path / "a"), AddKeyframe("a", frames[KEYFRAME]))
    fit.receive(Fitted)
    failure = fit.receive_event(ErrorEvent)
    assert failure.code == "store_failed"
    fit.process.rlimit(psutil.RLIMIT_FSIZE, (soft, hard))
    # Once the fit has converged, nothing but time makes it store.
    while not fit.receive_event(StoredEvent).stored:
        pass
    fit.send(CloseSession("a"))
    fit.receive(SessionClosed)
    with SessionStore(tmp_path / "a") as store:
        assert store.read() is not None


def test_discarded_frames_leave_fit_and_store(fit: FitPeer, frames: dict[int, Keyframe], tmp_path: Path) -> None:
    fit.send(OpenFit("a", tmp_path / "a"), AddKeyframe("a", frames[KEYFRAME]))
    while not fit.receive_event(StoredEvent).stored:
        pass
    fit.send(AddKeyframe("a", frames[FURTHER_KEYFRAME]))
    fit.receive_event(RoundEvent)
    fit.send(DiscardFrames("a", (frames[FURTHER_KEYFRAME].key,)), CloseSession("a"))
    fit.receive(SessionClosed)
    with SessionStore(tmp_path / "a") as store:
        state = store.read()
    assert state is not None
    assert [keyframe.key for keyframe in state.keyframes] == [frames[KEYFRAME].key]

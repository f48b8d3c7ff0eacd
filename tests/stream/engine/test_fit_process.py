"""A real fit process at the end of a pipe, with pictures as a live process gives them, and a real store."""

import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import psutil
import pytest

from fitme.fit.keyframe import Keyframe
from fitme.session.store import SessionStore
from fitme.shape.model_file import load_default_model
from fitme.track.tracker import FrameTracker
from stream.engine.fit_process import SHOWN_TOGETHER, run_fit_process
from stream.engine.local_engine import FIT_KERNEL_THREADS
from stream.engine.messages import (
    Close,
    Closed,
    DropExpressionFrame,
    FitOpened,
    FittedCorrectives,
    KeepExpressionFrame,
    KeepKeyframe,
    OpenFit,
)
from stream.engine.queued_sender import QueuedSender
from stream.settings import FitSettings

SETTINGS = FitSettings(
    slice_s=30.0, collect_s=0.0, alignment_rounds=0, coarse_steps=1, inversion_steps=1, tuning_steps=1, niceness=0
)
"""A full fit in a few seconds, and in one round."""
TIMEOUT_S = 60.0
REST_S = 0.5
"""How long nothing must happen for a process to count as idle."""
KEYFRAME, FURTHER_KEYFRAME = 0, 1
EXPRESSION_FRAMES = (3, 5, 10, 12, 26)


class FitPeer:
    """The live process's end of a fit process."""

    def __init__(self, connection: Connection, process_id: int) -> None:
        self._connection = connection
        self._sender = QueuedSender(connection, "test-sender")  # both ends send pictures at times
        self._process = psutil.Process(process_id)

    def send(self, *messages: object) -> None:
        for message in messages:
            self._sender.send(message)

    def until(self, kind: type) -> object:
        """The next message of a kind; those before it are passed over."""
        deadline_s = time.monotonic() + TIMEOUT_S
        while self._connection.poll(max(0.0, deadline_s - time.monotonic())):
            message = self._connection.recv()
            if isinstance(message, kind):
                return message
        raise TimeoutError(f"no {kind.__name__} came")

    def told_until(self, count: int) -> list[int]:
        """How many expressions the correctives had that it told of, up to `count` and until it rests."""
        told: list[int] = []
        while count not in told:
            message = self.until(FittedCorrectives)
            assert isinstance(message, FittedCorrectives)
            assert message.known is not None
            told.append(len(message.known.expressions))
        deadline_s = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline_s:
            before_s = sum(self._process.cpu_times()[:2])
            if self._connection.poll(REST_S):
                assert not isinstance(self._connection.recv(), FittedCorrectives)
            elif sum(self._process.cpu_times()[:2]) - before_s < 0.05 * REST_S:
                return told
        raise TimeoutError("the process does not come to rest")


@pytest.fixture
def fit(monkeypatch: pytest.MonkeyPatch) -> Iterator[FitPeer]:
    monkeypatch.setenv("NUMBA_NUM_THREADS", str(FIT_KERNEL_THREADS))
    context = multiprocessing.get_context("spawn")
    connection, other = context.Pipe()
    process = context.Process(target=run_fit_process, args=(other, SETTINGS), daemon=True)
    process.start()
    other.close()
    assert process.pid is not None
    yield FitPeer(connection, process.pid)
    connection.close()
    process.join(TIMEOUT_S)
    assert process.exitcode == 0


@pytest.fixture(scope="module")
def pictures(face_images: list[np.ndarray]) -> dict[int, Keyframe]:
    """Of the turning head, by their numbers in the clip."""
    tracker = FrameTracker(load_default_model())
    found = {}
    for index in (KEYFRAME, FURTHER_KEYFRAME, *EXPRESSION_FRAMES):
        observation = tracker.analyse(face_images[index])
        assert observation is not None
        found[index] = Keyframe(f"picture-{index}", face_images[index], observation, float(index))
    tracker.close()
    return found


def test_expressions_are_studied_while_the_fit_rests(
    fit: FitPeer, pictures: dict[int, Keyframe], tmp_path: Path
) -> None:
    folder = tmp_path / "session"
    fit.send(OpenFit("a", folder))
    assert fit.until(FitOpened) == FitOpened("a", (), ())
    damaged = replace(
        pictures[EXPRESSION_FRAMES[0]], key="damaged", image=pictures[EXPRESSION_FRAMES[0]].image[..., :1]
    )
    fit.send(
        KeepExpressionFrame("a", damaged), *(KeepExpressionFrame("a", pictures[index]) for index in EXPRESSION_FRAMES)
    )
    fit.send(KeepKeyframe("a", pictures[KEYFRAME]))
    # In batches after the keyframe, whose mouth is its own; what cannot be studied is left out of its batch.
    assert fit.told_until(1 + len(EXPRESSION_FRAMES)) == [1, 1 + SHOWN_TOGETHER - 1, 1 + len(EXPRESSION_FRAMES)]

    # One takes the place of another.
    fit.send(
        DropExpressionFrame("a", "picture-5"),
        KeepExpressionFrame("a", replace(pictures[EXPRESSION_FRAMES[0]], key="another")),
    )
    assert fit.told_until(1 + len(EXPRESSION_FRAMES)) == [1 + len(EXPRESSION_FRAMES)]
    fit.send(Close("a", delete=False))
    fit.until(Closed)
    with SessionStore(folder) as store:
        state = store.read()
    assert state is not None
    assert [picture.key for picture in state.expression_frames] == [
        *(f"picture-{i}" for i in EXPRESSION_FRAMES if i != 5),
        "another",
    ]

    # A session that goes on studies them again, after what a keyframe has to say.
    fit.send(OpenFit("a", folder), KeepKeyframe("a", pictures[FURTHER_KEYFRAME]))
    opened = fit.until(FitOpened)
    assert isinstance(opened, FitOpened)
    assert [picture.key for picture in opened.keyframes] == [picture.key for picture in state.keyframes]
    assert [picture.key for picture in opened.expression_frames] == [picture.key for picture in state.expression_frames]
    np.testing.assert_array_equal(opened.expression_frames[0].image, pictures[EXPRESSION_FRAMES[0]].image)
    assert fit.told_until(2 + len(EXPRESSION_FRAMES)) == [2, 2 + SHOWN_TOGETHER, 2 + len(EXPRESSION_FRAMES)]
    fit.send(Close("a", delete=True))
    fit.until(Closed)
    assert not folder.exists()

"""Storing that fails and is tried again, on a real store whose disk is full or whose files are damaged."""

import contextlib
import hashlib
import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fitme.errors import StoreError
from fitme.fit.keyframe import Keyframe
from fitme.fit.state import FitState, RoundReport
from fitme.geometry import Camera, HeadPose
from fitme.session.folder import REPOSITORY
from fitme.session.store import SessionStore
from fitme.stage import Stage
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality
from stream.engine import session_storage
from stream.engine.session_storage import SessionStorage


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def keyframe(key: str) -> Keyframe:
    rng = np.random.default_rng(hash(key) % 1000)
    observation = FaceObservation(
        landmarks=rng.uniform(0, 64, (478, 2)).astype(np.float32),
        landmark_depth=rng.standard_normal(478).astype(np.float32),
        pose=HeadPose(np.zeros(3, np.float32), np.array([0.0, 0.0, -0.5], np.float32)),
        expression=np.zeros(52, np.float32),
        camera=Camera.centered(70.0, 64, 48),
        quality=FrameQuality(0.9, 0.4, 0.01, 30.0, 0.0),
        status=FaceStatus.OK,
        embedding=None,
    )
    return Keyframe(key, rng.integers(0, 256, (48, 64, 3), np.uint8), observation, 0.0)


def state_with(*keys: str) -> FitState:
    return FitState(
        stage=Stage.LANDMARKS,
        focal=1.1,
        identity=np.zeros(120, np.float32),
        w_plus=None,
        keyframes=tuple(keyframe(key) for key in keys),
        new_keyframes=keys,
        rounds=(RoundReport(0, Stage.LANDMARKS, 0.1, {}, len(keys)),),
    )


def stored_keys(folder: Path) -> list[str]:
    with SessionStore(folder) as store:
        state = store.read()
    assert state is not None
    return [keyframe.key for keyframe in state.keyframes]


def chunks(folder: Path) -> set[Path]:
    return set((folder / REPOSITORY / "chunks").iterdir())


def test_session_begun_on_a_full_disk_is_stored_once_there_is_space(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = SessionStorage(tmp_path / "session")
    assert storage.resume() is None
    with full_disk(), pytest.raises(StoreError):
        storage.write(state_with("a"))
    first_pause_s = storage.due_s - time.monotonic()
    assert 0.0 < first_pause_s <= session_storage.FIRST_PAUSE_S
    # Until then nothing is tried, and the newest state waits.
    assert not storage.write(state_with("a", "b"))
    monkeypatch.setattr(session_storage.time, "monotonic", lambda: storage.due_s)
    with full_disk(), pytest.raises(StoreError):
        storage.retry()
    assert storage.due_s - session_storage.FIRST_PAUSE_S > first_pause_s
    assert storage.retry()
    storage.close()
    assert stored_keys(tmp_path / "session") == ["a", "b"]


def test_damaged_session_is_left_as_it_is(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    with SessionStore(folder) as store:
        store.write_round(state_with("a"))
    max(chunks(folder), key=lambda path: path.stat().st_size).unlink()
    before = {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(StoreError):
        SessionStorage(folder).resume()
    assert {path: hashlib.sha256(path.read_bytes()).digest() for path in folder.rglob("*") if path.is_file()} == before
    # It can still be opened by whoever wants to mend it.
    SessionStore(folder).close()


def test_chunk_cut_short_is_an_error_of_the_store(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    with SessionStore(folder) as store:
        store.write_round(state_with("a"))
    for path in chunks(folder):
        path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError):
        SessionStorage(folder).resume()


def test_purged_frames_are_erased_from_the_disk(tmp_path: Path) -> None:
    folder = tmp_path / "session"
    storage = SessionStorage(folder)
    storage.write(state_with("a"))
    before = chunks(folder)
    storage.write(state_with("a", "b"))
    of_b = chunks(folder) - before
    assert of_b
    assert storage.purge(state_with("a"))
    assert not of_b & chunks(folder)
    storage.close()
    assert stored_keys(folder) == ["a"]

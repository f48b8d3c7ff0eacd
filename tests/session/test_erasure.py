"""What is dropped from a session leaves no byte, and a clock that is set back keeps nothing from being stored."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from fitme.fit.state import FitState
from fitme.session import store as store_module
from fitme.session.folder import REPLACEMENT, REPOSITORY, SUPERSEDED, is_session
from fitme.session.store import SessionStore

from .fit_states import make_keyframe, make_state

SLICE_BYTES = 48
"""Noise does not compress: its bytes are in the files as they are."""


def traces(folder: Path, content: bytes) -> int:
    """Slices of `content` that are in some file below a folder."""
    files = [path.read_bytes() for path in folder.rglob("*") if path.is_file()]
    slices = [content[start : start + SLICE_BYTES] for start in range(0, len(content), SLICE_BYTES)]
    return sum(any(piece in file for file in files) for piece in slices if len(piece) == SLICE_BYTES)


@pytest.mark.parametrize("group", ["keyframes", "expression_frames"])
def test_no_byte_of_a_dropped_frame_is_left(tmp_path: Path, group: str) -> None:
    frame, other = make_keyframe("secret", 7), make_keyframe("other", 8)
    content = frame.image.tobytes()
    if group == "keyframes":
        before = make_state(keys=("a", "secret"))
        before = replace(before, keyframes=(before.keyframes[0], frame))
        after = make_state(keys=("a",))
    else:
        before = replace(make_state(), expression_frames=(frame, other))
        after = replace(before, expression_frames=(other,))
    with SessionStore(tmp_path) as store:
        for _ in range(3):
            store.write_round(before)
        assert traces(tmp_path, content) > 10
        store.write_round(after)
        assert traces(tmp_path, content) == 0
        assert traces(tmp_path, (after.keyframes[0]).image.tobytes()) > 10
        assert store.read() is not None


class _EarlierClock(datetime):
    """The clock of `fitme.session.store`, an hour behind that of the commits."""

    @classmethod
    def now(cls, tz: object = None) -> datetime:
        return datetime.now(UTC) - timedelta(hours=1)


def test_compaction_erases_whatever_the_clock_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = make_state(keys=("a", "b"))
    with SessionStore(tmp_path) as store:
        store.write_round(before)
        monkeypatch.setattr(store_module, "datetime", _EarlierClock)
        store.write_round(make_state(keys=("a",)))
        assert traces(tmp_path, before.keyframes[1].image.tobytes()) == 0


WRITE = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fit_states import make_state
from fitme.session.store import SessionStore
with SessionStore(Path(sys.argv[1])) as store:
    store.write_round(make_state(4))
"""


@pytest.fixture
def stored(tmp_path: Path) -> Iterator[tuple[Path, FitState]]:
    state = make_state()
    with SessionStore(tmp_path) as store:
        store.write_round(state)
    yield tmp_path, state


@pytest.mark.skipif(shutil.which("faketime") is None, reason="faketime is not installed")
def test_a_clock_that_is_set_back_does_not_stop_commits(tmp_path: Path) -> None:
    # Icechunk compares its clock with that of the file system, which faketime does not change: less than ten minutes.
    command = ["faketime", "-f", "+300s", sys.executable, "-c", WRITE, str(tmp_path), str(Path(__file__).parent)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr[-2000:]
    with SessionStore(tmp_path) as store:
        for seed in (5, 6):
            store.write_round(make_state(seed))
        assert not (tmp_path / REPLACEMENT).exists()
    with SessionStore(tmp_path) as store:
        state = store.read()
        assert state is not None
        assert np.array_equal(state.identity, make_state(6).identity)


def test_a_replacement_that_was_complete_is_taken(stored: tuple[Path, FitState]) -> None:
    """A process that dies between renaming the old repository and the new one."""
    folder, state = stored
    shutil.copytree(folder / REPOSITORY, folder / SUPERSEDED)
    (folder / REPOSITORY).rename(folder / REPLACEMENT)
    assert is_session(folder)
    with SessionStore(folder) as store:
        read = store.read()
        assert read is not None
        assert np.array_equal(read.identity, state.identity)
    assert not (folder / SUPERSEDED).exists()

"""Damaged, incomplete and killed stores: a state is read as a whole round or not at all."""

import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fitme.errors import StoreError
from fitme.fit.state import FitState
from fitme.session.store import SessionStore

from .fit_states import assert_same, make_keyframe, make_state


def test_damage_is_a_store_error(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "s") as store:
        store.write_round(make_state())
    for path in (tmp_path / "s" / "repository").rglob("*"):
        if path.is_file() and path.stat().st_size > 0:
            path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(StoreError), SessionStore(tmp_path / "s") as store:
        store.read()


def read_or_store_error(folder: Path) -> FitState | StoreError | None:
    try:
        with SessionStore(folder) as store:
            return store.read()
    except StoreError as error:
        return error


def stored_files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "repository").rglob("*") if path.is_file() and path.stat().st_size > 0)


def small_state() -> FitState:
    """A state of few files, with arrays that are stored compressed, uncompressed and inside of manifests."""
    state = make_state(keys=("a",))
    large = {"weight": np.random.default_rng(0).standard_normal(400).astype(np.float32)}
    return replace(state, tuned=large, expression_frames=())


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FitState]:
    """A session of two rounds and its state."""
    folder = tmp_path_factory.mktemp("intact") / "s"
    with SessionStore(folder) as store:
        store.write_round(replace(small_state(), focal=1.1))
        store.write_round(small_state())
    return folder, small_state()


def test_a_flipped_byte_is_a_store_error_or_harmless(intact: tuple[Path, FitState], tmp_path: Path) -> None:
    """Never another exception, another state, or a session that begins anew."""
    folder, state = intact
    random = np.random.default_rng(0)
    noticed = 0
    for file in stored_files(folder):
        size = file.stat().st_size
        for place in {0, size // 2, size - 1, *random.integers(0, size, 3).tolist()}:
            copy = tmp_path / "copy"
            shutil.copytree(folder, copy)
            damaged = copy / file.relative_to(folder)
            content = bytearray(damaged.read_bytes())
            content[place] ^= int(random.choice([1, 0x20, 0xFF]))
            damaged.write_bytes(content)
            got = read_or_store_error(copy)
            if isinstance(got, StoreError):
                noticed += 1
            else:
                assert_same(got, state)
            shutil.rmtree(copy)
    assert noticed > 20


def test_a_missing_file_is_a_store_error_or_harmless(intact: tuple[Path, FitState], tmp_path: Path) -> None:
    folder, state = intact
    noticed = set()
    for file in stored_files(folder):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        (copy / file.relative_to(folder)).unlink()
        got = read_or_store_error(copy)
        if isinstance(got, StoreError):
            noticed.add(file.parent.name)
        else:
            assert_same(got, state)
        shutil.rmtree(copy)
    assert noticed >= {"branch.main", "chunks", "manifests", "snapshots"}


def test_failed_round_leaves_the_one_before(tmp_path: Path) -> None:
    state = make_state()
    with SessionStore(tmp_path / "s") as store:
        store.write_round(state)
        with pytest.raises(StoreError, match="node"):
            store.write_round(replace(make_state(5), tuned={"a/b": np.zeros(2, np.float32)}))
        assert_same(store.read(), state)


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
import numpy as np
sys.path.insert(0, str(Path(sys.argv[2])))
from fit_states import make_keyframe, make_state
from fitme.session.store import SessionStore
with SessionStore(Path(sys.argv[1])) as store:
    start = store.read()
    begin = 0 if start is None else len(start.rounds)
    for index in range(begin, 10_000):
        pictures = (make_keyframe(f"smile-{index}", index),)
        state = replace(make_state(0, rounds=index + 1), expression_frames=pictures)
        arrays = {"weight": np.full(200_000, index, np.float32)}
        store.write_round(replace(state, identity=np.full(120, index, np.float32), tuned=arrays))
        print(index, flush=True)
"""


def test_killed_writer_leaves_a_whole_round(tmp_path: Path) -> None:
    """SIGKILL at odd moments: what is found is one whole round, and the last one that was reported or a later one."""
    folder = tmp_path / "s"
    command = [sys.executable, "-c", WRITER, str(folder), str(Path(__file__).parent)]
    for attempt in range(3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(2):
                writer.stdout.readline()
            time.sleep(0.037 * attempt + 0.011)
            writer.send_signal(signal.SIGKILL)
            reported = [int(line) for line in writer.stdout.read().split()]
        with SessionStore(folder) as store:
            state = store.read()
        assert state is not None
        index = state.rounds[-1].index
        assert index >= max(reported, default=0)
        np.testing.assert_array_equal(state.identity, np.full(120, index, np.float32))
        np.testing.assert_array_equal(state.tuned["weight"], np.full(200_000, index, np.float32))
        assert_same(state.expression_frames, (make_keyframe(f"smile-{index}", index),))

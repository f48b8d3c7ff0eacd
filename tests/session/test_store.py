"""Session store: states are read as written or not at all, rounds are atomic, and folders are private."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from fitme.errors import StoreError
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.state import FitState, RoundReport
from fitme.fit.work_queue import Task
from fitme.geometry import Camera, HeadPose
from fitme.reflectance.map_arrays import MapArrays
from fitme.session.folder import delete_session, is_kept, is_session, mark_kept
from fitme.session.store import SessionStore
from fitme.stage import Stage
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality


def make_pose(rng: np.random.Generator) -> HeadPose:
    return HeadPose(rng.standard_normal(3).astype(np.float32), rng.standard_normal(3).astype(np.float32))


def make_keyframe(key: str, seed: int, *, embedding: bool = True) -> Keyframe:
    rng = np.random.default_rng(seed)
    observation = FaceObservation(
        landmarks=rng.uniform(0, 64, (478, 2)).astype(np.float32),
        landmark_depth=rng.standard_normal(478).astype(np.float32),
        pose=make_pose(rng),
        expression=rng.uniform(0, 1, 52).astype(np.float32),
        camera=Camera.centered(70.0, 64, 48),
        quality=FrameQuality(0.9, 0.4, 0.01, 30.0, 0.0),
        status=FaceStatus.OK,
        embedding=rng.standard_normal(128).astype(np.float32) if embedding else None,
    )
    return Keyframe(key, rng.integers(0, 256, (48, 64, 3), np.uint8), observation, 0.5 * seed)


def make_state(seed: int = 0, *, keys: tuple[str, ...] = ("a", "b"), rounds: int = 2) -> FitState:
    rng = np.random.default_rng(seed)
    float16 = rng.uniform(0, 1, (8, 8, 7)).astype(np.float16).astype(np.float32)
    return FitState(
        stage=Stage.TUNING,
        focal=1.2,
        identity=rng.standard_normal(120).astype(np.float32),
        w_plus=rng.standard_normal((10, 64)).astype(np.float32),
        tuned={"trunk.0.weight": rng.standard_normal((4, 4, 3, 3)).astype(np.float32)},
        maps=MapArrays(float16[..., :3], float16[..., 3:4], float16[..., 4:]),
        keyframes=tuple(make_keyframe(key, index) for index, key in enumerate(keys)),
        estimates={
            key: KeyframeEstimate(
                make_pose(rng),
                rng.uniform(0, 1, 52).astype(np.float32),
                rng.standard_normal((9, 3)).astype(np.float32),
                0.1,
            )
            for key in keys
        },
        track_information={
            key: MarginalInformation(rng.standard_normal((4, 4)), rng.standard_normal(4)) for key in keys
        },
        new_keyframes=keys[1:],
        work_queue=dict.fromkeys(Task, 0) | {Task.TEXTURE: 1, Task.TUNING: 3},
        rounds=tuple(
            RoundReport(index, stage, 0.5, {"rgb": 0.25} if index else {}, len(keys))
            for index, stage in enumerate([Stage.LANDMARKS, *[Stage.TUNING] * rounds][:rounds])
        ),
        reference_embedding=rng.standard_normal(128).astype(np.float32),
        expression_frames=tuple(
            make_keyframe(f"smile-{key}", 100 + index, embedding=False) for index, key in enumerate(keys)
        ),
    )


def assert_same(got: object, expected: object) -> None:
    """Deep equality of the dataclasses, mappings, tuples and arrays of a state."""
    if isinstance(expected, np.ndarray):
        assert isinstance(got, np.ndarray)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)
    elif isinstance(expected, dict):
        assert isinstance(got, dict)
        assert list(got) == list(expected)
        for key in expected:
            assert_same(got[key], expected[key])
    elif isinstance(expected, tuple):
        assert isinstance(got, tuple)
        assert len(got) == len(expected)
        for one, other in zip(got, expected, strict=True):
            assert_same(one, other)
    elif hasattr(expected, "__dataclass_fields__"):
        assert type(got) is type(expected)
        for name in expected.__dataclass_fields__:
            assert_same(getattr(got, name), getattr(expected, name))
    elif isinstance(expected, float):
        assert got == pytest.approx(expected, rel=1e-6)
    else:
        assert got == expected


def test_state_comes_back(tmp_path: Path) -> None:
    state = make_state()
    with SessionStore(tmp_path / "s") as store:
        assert store.read() is None
        store.write_round(state)
        assert_same(store.read(), state)
    with SessionStore(tmp_path / "s") as store:
        assert_same(store.read(), state)


def test_state_before_skin_comes_back(tmp_path: Path) -> None:
    state = replace(
        make_state(),
        stage=Stage.LANDMARKS,
        w_plus=None,
        maps=None,
        tuned={},
        reference_embedding=None,
        keyframes=(make_keyframe("only", 3, embedding=False),),
        estimates={},
        rounds=(),
        expression_frames=(),
    )
    with SessionStore(tmp_path / "s") as store:
        store.write_round(state)
        assert_same(store.read(), state)


def test_state_shrinks_and_grows(tmp_path: Path) -> None:
    """Dropped keyframes, weights, latents and maps are gone; replaced ones are the new ones."""
    first = make_state(0, keys=("a", "b", "c"))
    second = replace(make_state(1, keys=("c", "d"), rounds=3), tuned={}, w_plus=None, maps=None)
    third = make_state(2, keys=("d",), rounds=4)
    with SessionStore(tmp_path / "s") as store:
        for state in (first, second, third):
            # Frames never change under their key.
            known = {item.key: item for one in (first, second) for item in (*one.keyframes, *one.expression_frames)}
            state = replace(
                state,
                keyframes=tuple(known.get(item.key, item) for item in state.keyframes),
                expression_frames=tuple(known.get(item.key, item) for item in state.expression_frames),
            )
            store.write_round(state)
            assert_same(store.read(), state)


def test_unchanged_data_is_not_rewritten(tmp_path: Path) -> None:
    def size() -> int:
        return sum(path.stat().st_size for path in (tmp_path / "s").rglob("*") if path.is_file())

    state = make_state()
    large = {"weight": np.random.default_rng(0).standard_normal(250_000).astype(np.float32)}
    with SessionStore(tmp_path / "s") as store:
        store.write_round(replace(state, tuned=large))
        before = size()
        for index in range(3):
            store.write_round(replace(state, tuned=large, identity=state.identity + index))
        assert size() - before < 250_000
        assert_same(store.read(), replace(state, tuned=large, identity=state.identity + 2))


def test_superseded_rounds_do_not_pile_up(tmp_path: Path) -> None:
    state = make_state()
    with SessionStore(tmp_path / "s") as store:
        for index in range(40):
            large = {"weight": np.full(100_000, index, np.float32) + np.random.default_rng(index).random(100_000, "f4")}
            state = replace(state, tuned=large)
            store.write_round(state)
        size = sum(path.stat().st_size for path in (tmp_path / "s").rglob("*") if path.is_file())
        assert size < 20 * 400_000
        assert_same(store.read(), state)


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "s"), pytest.raises(StoreError, match="another process"):
        SessionStore(tmp_path / "s")
    SessionStore(tmp_path / "s").close()


def test_a_store_may_be_closed_by_another_thread(tmp_path: Path) -> None:
    store = SessionStore(tmp_path / "s")
    closing = threading.Thread(target=store.close)
    closing.start()
    closing.join()
    SessionStore(tmp_path / "s").close()


def test_kept_and_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "s"
    with SessionStore(folder) as store:
        assert is_session(folder)
        assert not is_kept(folder)
        mark_kept(folder, True)
        assert is_kept(folder)
        mark_kept(folder, False)
        assert not is_kept(folder)
        store.delete()
    assert not folder.exists()
    delete_session(folder)


def test_other_version_is_refused(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "s") as store, store._repository.transaction("main", message="future") as inside:
        zarr.open_group(store=inside).attrs["version"] = 99
    with pytest.raises(StoreError, match="99"):
        SessionStore(tmp_path / "s")
    SessionStore(tmp_path / "t").close()


def write_version_2(folder: Path, state: FitState, *, expression_frames: bool = True) -> None:
    """Write a session as the program of version 2 laid it out."""
    with SessionStore(folder) as store:
        store.write_round(state)
        with store._repository.transaction("main", message="version 2") as inside:
            group = zarr.open_group(store=inside)
            for name, old in (("expression_frames", "studied"), ("track_information", "tracked")):
                for path, node in sorted(group[name].members(max_depth=None)):
                    if isinstance(node, zarr.Array):
                        group.create_array(f"{old}/{path}", data=node[...], chunks=node.shape)
                    else:
                        group.create_group(f"{old}/{path}", attributes=node.attrs.asdict())
                group.require_group(old).attrs.put(group[name].attrs.asdict())
                del group[name]
            flags = ("recall", "landmarks", "texture")
            old_tasks = {Task.ALIGNMENT: "alignments", Task.COARSE_INVERSION: "coarse"}
            attributes = {
                "format": "fitme-session",
                "version": 2,
                "stage": state.stage.value,
                "focal": state.focal,
                "keyframes": [keyframe.key for keyframe in state.keyframes],
                "fresh": list(state.new_keyframes),
                "agenda": {
                    old_tasks.get(task, task.value): bool(count) if task.value in flags else count
                    for task, count in state.work_queue.items()
                },
                "studied": [frame.key for frame in state.expression_frames],
            }
            if not expression_frames:
                del group["studied"], attributes["studied"]
            group.attrs.put(attributes)


@pytest.mark.parametrize("expression_frames", [True, False])
def test_session_of_version_2_is_migrated(tmp_path: Path, expression_frames: bool) -> None:
    state = make_state()
    write_version_2(tmp_path / "s", state, expression_frames=expression_frames)
    if not expression_frames:
        state = replace(state, expression_frames=())
    for _ in range(2):  # migrated, then as version 3
        with SessionStore(tmp_path / "s") as store:
            assert_same(store.read(), state)
    changed = make_state(1)
    changed = replace(changed, keyframes=state.keyframes)
    with SessionStore(tmp_path / "s") as store:
        store.write_round(changed)
        assert_same(store.read(), changed)


def test_version_2_without_a_state_is_migrated(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "s") as store, store._repository.transaction("main", message="2") as inside:
        zarr.open_group(store=inside).attrs.put({"format": "fitme-session", "version": 2})
    with SessionStore(tmp_path / "s") as store:
        assert store.read() is None


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


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_open_a_session(tmp_path: Path, umask: int) -> None:
    folder = tmp_path / "s"
    before = os.umask(umask)
    try:
        mark_kept(folder, True)
        with SessionStore(folder) as store:
            store.write_round(make_state())
            store.write_round(make_state(1))
            store.compact()
    finally:
        os.umask(before)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    for path in folder.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


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
from test_store import make_keyframe, make_state
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

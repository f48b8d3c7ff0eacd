"""Session store: states are read as written, superseded data go, and folders are private."""

import contextlib
import os
import stat
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from fitme.errors import StoreError
from fitme.fit.state import FitState
from fitme.fit.work_queue import Task
from fitme.geometry import Camera
from fitme.session.folder import delete_session, is_kept, is_session, mark_kept
from fitme.session.store import SessionStore
from fitme.stage import Stage

from .fit_states import assert_same, make_keyframe, make_state


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


def test_the_camera_of_a_part_of_a_photo_comes_back(tmp_path: Path) -> None:
    keyframe = make_keyframe("part", 3)
    camera = Camera(70.0, 40.0, -9.0, 64, 48, 400.0)
    part = replace(keyframe, observation=replace(keyframe.observation, camera=camera))
    with SessionStore(tmp_path / "s") as store:
        store.write_round(replace(make_state(), keyframes=(make_keyframe("a", 0), part), estimates={}))
        found = store.read()
    assert found is not None
    assert [entry.observation.camera for entry in found.keyframes] == [make_keyframe("a", 0).observation.camera, camera]


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


def test_what_an_attempt_goes_on_writing_is_removed(tmp_path: Path) -> None:
    folder, begun = tmp_path / "s", threading.Event()
    chunks = folder / "repository" / "chunks"

    def write_on() -> None:
        chunks.mkdir(parents=True)
        with contextlib.suppress(FileNotFoundError):
            for index in range(1000):
                (chunks / str(index)).touch()
                if index == 100:
                    begun.set()
                time.sleep(1e-4)

    attempt = threading.Thread(target=write_on)
    attempt.start()
    begun.wait()
    with SessionStore(folder, anew=True) as store:
        attempt.join()
        store.write_round(make_state())
        assert_same(store.read(), make_state())

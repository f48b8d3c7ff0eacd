"""Encryption at rest: nothing of a face is readable without the owner's secret, and nothing changes with it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

import fitme.session.store as store_module
from fitme.errors import StoreError
from fitme.session.contents import DamageError
from fitme.session.encryption import ArrayCipher, describe
from fitme.session.folder import REPOSITORY
from fitme.session.store import SessionStore

from .fit_states import assert_same, make_state

SECRET = "the owner's"


def files_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((folder / REPOSITORY).rglob("*")) if path.is_file())


def test_encrypted_session_comes_back_with_its_secret_alone(tmp_path: Path) -> None:
    state = make_state()
    with SessionStore(tmp_path / "s", SECRET) as store:
        store.write_round(make_state(5))
        store.write_round(state)
        assert_same(store.read(), state)
    with SessionStore(tmp_path / "s", SECRET) as store:
        assert_same(store.read(), state)
    for secret, reason in ((None, "only its owner's token opens it"), ("somebody's", "another owner")):
        with pytest.raises(StoreError, match=reason):
            SessionStore(tmp_path / "s", secret)


def test_no_array_is_on_disk_in_the_clear(tmp_path: Path) -> None:
    """Noise does not shrink: without a cipher, compressors leave its bytes as they are."""
    noise = np.random.default_rng(0).standard_normal(4000).astype(np.float32)
    state = replace(make_state(), tuned={"weight": noise})
    for folder, secret in ((tmp_path / "open", None), (tmp_path / "closed", SECRET)):
        with SessionStore(folder, secret) as store:
            store.write_round(state)
    assert noise.tobytes() in files_of(tmp_path / "open")
    assert noise.tobytes()[:64] not in files_of(tmp_path / "closed")


def test_digests_of_equal_arrays_differ_between_sessions(tmp_path: Path) -> None:
    state, found = make_state(), []
    for name in ("a", "b"):
        with SessionStore(tmp_path / name, SECRET) as store:
            store.write_round(state)
            group = zarr.open_group(store=store._repository.readonly_session("main").store, mode="r")
            found.append(group.attrs["digests"])
    arrays = [path for path in found[0] if not path.endswith("/")]
    assert arrays
    assert all(found[0][path] != found[1][path] for path in arrays)


def test_unchanged_arrays_are_not_written_again(tmp_path: Path) -> None:
    state = make_state()
    with SessionStore(tmp_path / "s", SECRET) as store:
        store.write_round(state)
        chunks = tmp_path / "s" / REPOSITORY / "chunks"
        before = set(chunks.iterdir())
        store.write_round(replace(state, focal=1.25))
        assert set(chunks.iterdir()) == before


def test_a_session_without_encryption_stays_so(tmp_path: Path) -> None:
    with SessionStore(tmp_path / "s") as store:
        store.write_round(make_state())
    with SessionStore(tmp_path / "s", SECRET) as store:
        assert_same(store.read(), make_state())
    with SessionStore(tmp_path / "s") as store:
        assert_same(store.read(), make_state())


def test_a_clock_that_was_set_back_leaves_it_encrypted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SessionStore(tmp_path / "s", SECRET) as store:
        store.write_round(make_state(5))
        store._replace_repository(make_state())
        assert_same(store.read(), make_state())
    assert not (tmp_path / "s" / store_module.REPLACEMENT).exists()
    with pytest.raises(StoreError, match="encrypted"):
        SessionStore(tmp_path / "s")


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("shape", [(3, 4), (), (0, 2)])
def test_messages(compress: bool, shape: tuple[int, ...]) -> None:
    cipher = ArrayCipher(SECRET, describe(SECRET))
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float16)
    values = np.asarray(values)
    message = cipher.seal("maps/diffuse", values, compress=compress)
    found = cipher.open("maps/diffuse", message)
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)
    with pytest.raises(DamageError):
        cipher.open("maps/normals", message)
    for position in (0, 13, len(message) - 1):
        damaged = message.copy()
        damaged[position] ^= 1
        with pytest.raises(DamageError):
            cipher.open("maps/diffuse", damaged)
    with pytest.raises(DamageError):
        cipher.open("maps/diffuse", message[:5])

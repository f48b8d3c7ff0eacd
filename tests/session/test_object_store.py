"""Sessions in an object store, on a real S3 server: one writer, whatever the leases say; nothing left when erased."""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from fitme.errors import ConfigError, StoreError
from fitme.session.folder import (
    REPOSITORY,
    delete_session,
    is_kept,
    is_session,
    mark_kept,
    read_file,
    write_file,
)
from fitme.session.lease import BusyError, Lease, end_lease, lease_holder
from fitme.session.object_folder import ObjectFolder, ObjectStoreSettings
from fitme.session.store import SessionStore

from .fit_states import assert_same, make_state


def of_server(folder: ObjectFolder, name: str) -> ObjectFolder:
    return replace(folder, writer=name)


def expired(folder: ObjectFolder) -> None:
    """End whatever lease there is, as time does when its holder is silent."""
    folder.write("lease", b'{"holder": "gone/1", "expires_s": 0}')


def test_addresses() -> None:
    folder = ObjectFolder.parse("s3://bucket/some/prefix/", ObjectStoreSettings(), "ada")
    assert str(folder / "session") == "s3://bucket/some/prefix/session"
    assert (folder / "session").name == "session"
    assert str(ObjectFolder.parse("s3://bucket", ObjectStoreSettings(), "ada") / "session") == "s3://bucket/session"
    with pytest.raises(ConfigError, match="s3://BUCKET"):
        ObjectFolder.parse("s3:///prefix", ObjectStoreSettings(), "ada")


def test_objects(object_folder: ObjectFolder) -> None:
    assert object_folder.read("a") is None
    assert not object_folder.exists()
    first = object_folder.replace("a", b"1", None)
    assert first is not None
    assert object_folder.replace("a", b"2", None) is None, "it is there already"
    assert object_folder.replace("a", b"1", None) == first, "a repeated request"
    second = object_folder.replace("a", b"2", first)
    assert second is not None
    assert object_folder.replace("a", b"3", first) is None
    assert object_folder.replace("b", b"3", first) is None, "there is none"
    (object_folder / "x" / "y").write("z", b"")
    assert sorted(object_folder.names()) == ["a", "x"]
    assert object_folder.exists()
    object_folder.remove("a")
    object_folder.remove("a")
    assert object_folder.names() == ["x"]
    object_folder.delete()
    assert not object_folder.exists()


def test_many_who_want_the_same_object(object_folder: ObjectFolder) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda index: object_folder.replace("a", b"%d" % index, None), range(16)))
    assert sum(tag is not None for tag in won) == 1


def test_a_store_that_does_not_answer_is_an_error_in_time(object_folder: ObjectFolder) -> None:
    settings = ObjectStoreSettings("http://127.0.0.1:9", timeout_s=0.5)
    start_s = time.monotonic()
    with pytest.raises(StoreError, match="cannot read"):
        replace(object_folder, settings=settings).read("a")
    with pytest.raises(StoreError):
        SessionStore(replace(object_folder, settings=settings) / "s")
    assert time.monotonic() - start_s < 60.0


def test_state_comes_back_and_goes(object_folder: ObjectFolder) -> None:
    folder = object_folder / "s"
    assert not is_session(folder)
    state = make_state()
    with SessionStore(folder, "secret") as store:
        assert store.read() is None
        store.write_round(state)
        store.write_round(make_state(1, keys=("b",), rounds=3))
        store.write_round(replace(state, focal=1.3))
        store.compact()
        assert_same(store.read(), replace(state, focal=1.3))
    assert is_session(folder)
    with pytest.raises(StoreError, match="another owner"):
        SessionStore(folder, "other secret")
    with SessionStore(folder, "secret") as store:
        assert_same(store.read(), replace(state, focal=1.3))
        store.delete()
    assert not folder.exists()
    delete_session(folder)


def test_small_files(object_folder: ObjectFolder) -> None:
    folder = object_folder / "s"
    assert read_file(folder, "rights.json") is None
    write_file(folder, "rights.json", b"{}")
    assert read_file(folder, "rights.json") == b"{}"
    assert not is_kept(folder)
    mark_kept(folder, True)
    assert is_kept(folder)
    mark_kept(folder, False)
    mark_kept(folder, False)
    assert not is_kept(folder)


def test_one_server_at_a_time(object_folder: ObjectFolder) -> None:
    ada, bob = object_folder / "s", of_server(object_folder, "bob") / "s"
    with SessionStore(ada):
        assert lease_holder(bob) == "ada"
        with pytest.raises(BusyError, match="another process"):
            SessionStore(bob)
    assert lease_holder(bob) is None
    with SessionStore(bob):
        pass


def test_a_lease_is_renewed_and_found_lost(object_folder: ObjectFolder) -> None:
    ada, bob = object_folder / "s", of_server(object_folder, "bob") / "s"
    lease = Lease(ada)
    before = ada.read("lease")
    assert lease.renew()
    assert ada.read("lease") != before
    expired(ada)
    other = Lease(bob)
    assert not lease.renew()
    lease.release()
    assert lease_holder(ada) == "bob", "what is lost is not released"
    other.release()
    assert not other.renew()


def test_a_lease_is_ended_by_its_own_server_alone(object_folder: ObjectFolder) -> None:
    ada, bob = object_folder / "s", of_server(object_folder, "bob") / "s"
    lease = Lease(ada)
    end_lease(bob)
    assert lease_holder(bob) == "ada"
    end_lease(ada)
    Lease(bob).release()
    assert not lease.renew()


@pytest.mark.parametrize("writer", ["ada", "bob"])
def test_who_has_lost_the_lease_stores_nothing(object_folder: ObjectFolder, writer: str) -> None:
    """Another process of the same server takes a session at once, one of another server when its lease is over."""
    first = SessionStore(object_folder / "s")
    state = make_state()
    first.write_round(state)
    if writer != "ada":
        expired(object_folder / "s")
    with SessionStore(of_server(object_folder, writer) / "s") as second:
        with pytest.raises(BusyError):
            first.write_round(replace(state, focal=1.5))
        with pytest.raises(BusyError):
            first.compact()
        assert_same(second.read(), state)
        second.write_round(replace(state, focal=1.7))
        with pytest.raises(BusyError):
            first.write_round(replace(state, focal=1.5))
        first.close()
        assert_same(second.read(), replace(state, focal=1.7))
        assert lease_holder(object_folder / "s") == writer


def test_what_a_failed_attempt_has_left_is_removed_but_no_session(object_folder: ObjectFolder) -> None:
    folder = object_folder / "s"
    (folder / REPOSITORY / "chunks").write("x", b"of an attempt")
    with pytest.raises(StoreError, match="damaged"):
        SessionStore(folder)
    with SessionStore(folder, anew=True) as store:
        store.write_round(make_state())
    with pytest.raises(BusyError, match="meanwhile"):
        SessionStore(folder, anew=True)
    with SessionStore(folder) as store:
        assert_same(store.read(), make_state())

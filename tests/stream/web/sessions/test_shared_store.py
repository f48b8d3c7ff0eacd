"""Servers that share an object store: one has a session at a time, pages find it at the other one, nothing is lost or
erased that somebody uses, and what is erased is gone."""

import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from fitme.errors import StoreError
from fitme.session.folder import SessionFolder, mark_kept
from fitme.session.object_folder import ObjectFolder
from fitme.session.store import SessionStore
from stream.engine.interface import EngineListener
from stream.protocol.scene import Scene
from stream.settings import ServeSettings, SessionSettings
from stream.web.sessions.errors import UnknownSessionError
from stream.web.sessions.folders import DAY_S, EraseError, SessionFolders
from stream.web.sessions.rights import Caller, ForbiddenError, SessionRights
from stream.web.sessions.table import SessionTable
from stream.web.tokens import digest, new_token
from tests.stream.web.idle_engine import IdleEngine

SETTINGS = ServeSettings(session=SessionSettings(grace_s=30.0))
OWNER = Caller("203.0.113.7").as_owner(new_token())


class WritingEngine(IdleEngine):
    """Engine that has a session's store open, as a fit process has, and does nothing else."""

    def __init__(self) -> None:
        self.stores: dict[str, SessionStore] = {}

    def open(
        self, session: str, folder: SessionFolder, scene: Scene, listener: EngineListener, secret: str | None = None
    ) -> None:
        self.stores[session] = SessionStore(folder)

    async def close(self, session: str) -> None:
        if (store := self.stores.pop(session, None)) is not None:
            store.close()


@pytest.fixture
def ada(object_folder: ObjectFolder) -> SessionFolders:
    return SessionFolders(object_folder)


@pytest.fixture
def bob(object_folder: ObjectFolder) -> SessionFolders:
    return SessionFolders(replace(object_folder, writer="bob"))


@pytest.fixture
async def tables(ada: SessionFolders, bob: SessionFolders) -> AsyncIterator[tuple[SessionTable, SessionTable]]:
    first, second = (SessionTable(SETTINGS, WritingEngine(), folders) for folders in (ada, bob))
    for table in (first, second):
        table.start()
    yield first, second
    for table in (first, second):
        await table.stop()


def test_lifetimes(ada: SessionFolders, bob: SessionFolders) -> None:
    session = ada.new_id()
    assert ada.claim(session, 60.0)
    assert not bob.may_live(session), "nobody owns it"
    ada.write_rights(session, SessionRights(digest("owner")))
    assert bob.may_live(session)
    assert bob.rights(session) == SessionRights(digest("owner"))
    assert bob.ids() == [session]
    assert ada.renew(session, -1.0)
    assert not bob.may_live(session)
    mark_kept(ada.path(session), True)
    assert bob.may_live(session)


def test_kept_sessions_stay_as_long_as_the_operator_allows(object_folder: ObjectFolder) -> None:
    folders = SessionFolders(object_folder, kept_days=2.0)
    session = folders.new_id()
    mark_kept(folders.path(session), True)
    assert folders.may_live(session), "never used since it was marked"
    folders.renew(session, -2.1 * DAY_S)
    assert not folders.may_live(session)


def test_one_server_has_a_session(ada: SessionFolders, bob: SessionFolders) -> None:
    session = ada.new_id()
    assert ada.claim(session, 60.0)
    assert not bob.renew(session, 60.0), "it has not claimed it"
    assert bob.claim(session, 60.0)
    assert not ada.renew(session, 60.0)
    assert not ada.end_life(session), "nothing is erased that another server uses"
    assert bob.end_life(session)
    assert not ada.claim(session, 60.0), "what is being erased does not come back"
    bob.erase(session)
    assert bob.ids() == []


def test_what_a_dead_server_has_left_is_anybodys_to_erase(ada: SessionFolders, bob: SessionFolders) -> None:
    session = ada.new_id()
    ada.write_rights(session, SessionRights(digest("owner")))
    assert ada.claim(session, 0.2)
    while bob.may_live(session):
        time.sleep(0.02)
    assert bob.end_life(session)


def test_erasing_waits_for_another_servers_writer(object_folder: ObjectFolder, ada: SessionFolders) -> None:
    bob = SessionFolders(replace(object_folder, writer="bob"))
    session = ada.new_id()
    assert ada.claim(session, 60.0)
    with SessionStore(ada.path(session)):
        with pytest.raises(EraseError, match="still writes"):
            bob.erase(session)
        assert not ada.renew(session, 60.0), "it is told so"
        assert ada.erases(session)
        assert SessionFolders(object_folder).to_erase == {session}
    bob.erase(session)
    assert not ada.erases(session)
    assert not ada.exists(session)
    assert object_folder.names() == []


def test_a_store_that_does_not_answer_erases_nothing(object_folder: ObjectFolder, ada: SessionFolders) -> None:
    session = ada.new_id()
    ada.claim(session, 60.0)
    lost = replace(object_folder.settings, endpoint="http://127.0.0.1:9", timeout_s=0.3)
    ada._store = replace(object_folder, settings=lost)
    for ask in (ada.may_live, ada.erases, ada.end_life, ada.rights, ada.is_stored):
        with pytest.raises(StoreError):
            ask(session)
    assert ada.renew(session, 60.0), "the session goes on"
    with pytest.raises(StoreError):
        SessionFolders(ada._store)


async def test_a_page_that_comes_to_another_server_resumes_there(
    tables: tuple[SessionTable, SessionTable], bob: SessionFolders
) -> None:
    first, second = tables
    session = await first.activate(None, OWNER)
    with pytest.raises(ForbiddenError):
        await second.activate(session.id, Caller("203.0.113.8").as_owner(new_token()))
    await first.stop()
    resumed = await second.activate(session.id, OWNER)
    assert resumed.resumed
    assert resumed.rights.owner == OWNER.owner
    await second.delete(session.id, OWNER)
    assert not bob.exists(session.id)


async def test_a_server_gives_up_what_another_one_has(
    tables: tuple[SessionTable, SessionTable], ada: SessionFolders, bob: SessionFolders
) -> None:
    """The proxy has sent the page elsewhere, though its server is well: neither erases what the other one uses."""
    first, second = tables
    session = await first.activate(None, OWNER)
    assert bob.claim(session.id, 60.0)
    await first._renew(session)
    assert not first.active
    await first.end_quietly(session, "expired")
    await first.sweep()
    resumed = await second.activate(session.id, OWNER)
    await first.sweep()
    assert ada.may_live(session.id)
    await second.end_quietly(resumed, "expired")
    assert not ada.exists(session.id)
    with pytest.raises(UnknownSessionError):
        await first.activate(session.id, OWNER)


async def test_an_idle_session_is_not_erased_under_another_server(
    tables: tuple[SessionTable, SessionTable], ada: SessionFolders, bob: SessionFolders
) -> None:
    first, _ = tables
    session = await first.activate(None, OWNER)
    assert bob.claim(session.id, 60.0)
    await first.end_quietly(session, "expired")
    assert ada.is_stored(session.id)
    assert ada.may_live(session.id)

"""One owner a store, lifetimes on disk, and erasing that is remembered until it is done."""

from pathlib import Path

import pytest

from fitme.errors import StoreError
from fitme.session.folder import mark_kept
from stream.web.sessions.folders import DAY_S, EraseError, SessionFolders
from stream.web.sessions.rights import SessionRights
from stream.web.tokens import digest


def test_store_has_one_owner(tmp_path: Path) -> None:
    first = SessionFolders(tmp_path / "store")
    with pytest.raises(StoreError, match="another server"):
        SessionFolders(tmp_path / "store")
    first.release()
    SessionFolders(tmp_path / "store").release()


def test_unusable_store_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be used"):
        SessionFolders(tmp_path / "file")


def test_lifetimes(tmp_path: Path) -> None:
    folders = SessionFolders(tmp_path)
    session = folders.new_id()
    assert folders.is_id(session)
    assert not folders.may_live(session)
    folders.renew(session, 60.0)
    assert folders.ids() == [session]
    assert not folders.may_live(session), "nobody owns it"
    folders.write_rights(session, SessionRights(digest("owner")))
    assert folders.rights(session) == SessionRights(digest("owner"))
    assert folders.may_live(session)
    folders.renew(session, -1.0)
    assert not folders.may_live(session)
    mark_kept(folders.path(session), True)
    assert folders.may_live(session)
    (folders.path(session) / "expires").write_text("nonsense")
    mark_kept(folders.path(session), False)
    assert not folders.may_live(session)


def test_kept_sessions_stay_as_long_as_the_operator_allows(tmp_path: Path) -> None:
    folders = SessionFolders(tmp_path, kept_days=2.0)
    session = folders.new_id()
    mark_kept(folders.path(session), True)
    assert folders.may_live(session), "never used since it was marked"
    folders.renew(session, -1.9 * DAY_S)
    assert folders.may_live(session)
    folders.renew(session, -2.1 * DAY_S)
    assert not folders.may_live(session)
    folders.release()
    assert SessionFolders(tmp_path).may_live(session)


def test_erasing_is_remembered_by_the_next_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise StoreError(f"{folder}: busy")

    folders = SessionFolders(tmp_path)
    session = folders.new_id()
    folders.renew(session, 60.0)
    with monkeypatch.context() as patch:
        patch.setattr("stream.web.sessions.folders.delete_session", fail)
        with pytest.raises(EraseError, match="busy"):
            folders.erase(session)
    assert folders.erases(session)
    assert not folders.may_live(session)
    folders.release()
    folders = SessionFolders(tmp_path)
    assert folders.to_erase == {session}
    folders.erase(session)
    assert not folders.to_erase
    assert not folders.path(session).exists()
    assert not any((tmp_path / "erasing").iterdir())

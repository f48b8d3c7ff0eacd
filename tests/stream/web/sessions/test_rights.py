"""Rights by tokens of which only digests are kept."""

from pathlib import Path

import pytest

from fitme.errors import StoreError
from stream.web.sessions.rights import (
    RIGHTS_FILE,
    Caller,
    ForbiddenError,
    LinkLimitError,
    SessionRights,
    read_rights,
    write_rights,
)
from stream.web.tokens import digest, is_token, new_token

OWNER = new_token()
RIGHTS = SessionRights(digest(OWNER))


def test_tokens_have_a_form_and_differ() -> None:
    assert is_token(OWNER)
    assert new_token() != OWNER
    for text in ("", OWNER[:-1], OWNER + "a", OWNER[:-1] + ";", "ä" * 43):
        assert not is_token(text)


def test_only_the_owner_owns() -> None:
    RIGHTS.require_owner(Caller("::1", digest(OWNER)))
    for caller in (Caller("::1"), Caller("::1", digest(new_token())), Caller("::1", digest(digest(OWNER)))):
        with pytest.raises(ForbiddenError):
            RIGHTS.require_owner(caller)


def test_a_signed_in_users_session_needs_both() -> None:
    rights = SessionRights(digest(OWNER), digest("ada"))
    rights.require_owner(Caller("::1", digest(OWNER), digest("ada")))
    for user in ("", digest("bob")):
        with pytest.raises(ForbiddenError):
            rights.require_owner(Caller("::1", digest(OWNER), user))
    with pytest.raises(ForbiddenError):
        rights.require_owner(Caller("::1", digest(new_token()), digest("ada")))


def test_links_watch_until_they_end() -> None:
    rights, lasting, token = RIGHTS.with_link(None, 100.0, 8)
    rights, passing, other = rights.with_link(10.0, 100.0, 8)
    assert rights.link_of(token, 1e12) == lasting
    assert rights.link_of(other, 109.0) == passing
    assert rights.link_of(other, 111.0) is None
    assert rights.link_of(OWNER, 100.0) is None
    assert rights.without_link(lasting.id).link_of(token, 100.0) is None
    with pytest.raises(ForbiddenError):
        rights.require_owner(Caller("::1", digest(token)))
    with pytest.raises(LinkLimitError):
        rights.with_link(None, 100.0, 2)
    assert len(rights.with_link(None, 111.0, 2)[0].links) == 2, "links that have ended are dropped"


def test_disk_holds_digests_only(tmp_path: Path) -> None:
    rights, _, token = SessionRights(digest(OWNER), digest("ada")).with_link(5.0, 0.0, 8)
    write_rights(tmp_path / "session", rights)
    file = tmp_path / "session" / RIGHTS_FILE
    assert read_rights(tmp_path / "session") == rights
    assert file.stat().st_mode & 0o777 == 0o600
    for secret in (OWNER, token, "ada"):
        assert secret not in file.read_text()
    file.write_text("{}")
    assert read_rights(tmp_path / "session") is None
    assert read_rights(tmp_path / "nowhere") is None
    (tmp_path / "file").touch()
    with pytest.raises(StoreError):
        write_rights(tmp_path / "file", rights)

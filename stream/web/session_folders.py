"""Folders of the sessions in the store: which may live until when, and that what is erased is erased.

Below the store's folder::

    lock            held (flock) by the one server that owns the store
    erasing/ID      empty file: session ID is to be erased; there until nothing of the session is left
    ID/             folder of a session; `fitme.session.store` has its layout
        rights.json who owns it and which links may watch it; `stream.web.rights`
        expires     seconds since 1970 until which the session may live unless it is kept; renewed while it is used

A folder that no server knows, whose time is over and that is not kept, or kept for longer than the operator allows, is
erased: at the start of a server, and hourly.
All functions block.
"""

import logging
import re
import secrets
import time
from pathlib import Path

from filelock import FileLock, Timeout

from fitme.errors import StoreError
from fitme.session.folder import KEPT, delete_session, is_kept
from stream.web.rights import SessionRights, read_rights, write_rights

logger = logging.getLogger(__name__)

ID_BYTES = 24
"""192 random bits."""

DAY_S = 86_400.0

_ID_PATTERN = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")
_LOCK = "lock"
_ERASING = "erasing"
_EXPIRES = "expires"


class EraseError(StoreError):
    """A session cannot be erased now; it is remembered, and erasing is tried again."""


class SessionFolders:
    """The store's folder, owned by one server at a time."""

    def __init__(self, store: Path, kept_days: float | None = None) -> None:
        """Take ownership of the store, before anything in it is touched.

        :param kept_days: how long a kept session stays after its last use; None: until its owner deletes it.
        :raises StoreError: if another server owns it, or if it cannot be written.
        """
        self._store, self._kept_days = store, kept_days
        # On a file system without flock this fails: a fallback to a marker file would outlive a killed server.
        self._lock = FileLock(store / _LOCK, blocking=False, thread_local=False, fallback_to_soft=False)
        try:
            store.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock.acquire()
        except Timeout as error:
            raise StoreError(
                f"{store}: another server uses this store: stop it, or give --store another one"
            ) from error
        except OSError as error:
            raise StoreError(f"{store}: cannot be used as a store: {error}") from error
        self._to_erase = {path.name for path in (store / _ERASING).glob("*") if _ID_PATTERN.fullmatch(path.name)}

    def release(self) -> None:
        """Let another server own the store."""
        self._lock.release()

    @staticmethod
    def new_id() -> str:
        """Id of a new session: its public name, which nobody can guess all the same."""
        return secrets.token_hex(ID_BYTES)

    @staticmethod
    def is_id(text: str) -> bool:
        """Whether `text` has the form of a session's id."""
        return _ID_PATTERN.fullmatch(text) is not None

    def path(self, session_id: str) -> Path:
        """Folder of a session, which need not exist."""
        return self._store / session_id

    def erases(self, session_id: str) -> bool:
        """Whether a session is to be erased and is not yet gone."""
        return session_id in self._to_erase

    @property
    def to_erase(self) -> frozenset[str]:
        """Ids of the sessions that could not be erased yet."""
        return frozenset(self._to_erase)

    def renew(self, session_id: str, lifetime_s: float) -> None:
        """Let a session live for some more seconds; begins its folder if need be.

        A store that cannot be written is no error: the session goes on, and what it stores fails by itself.
        """
        folder = self.path(session_id)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / _EXPIRES).write_text(f"{time.time() + lifetime_s:.0f}\n")
        except OSError as error:
            logger.warning("the lifetime of a session cannot be written: %s", error)

    def rights(self, session_id: str) -> SessionRights | None:
        """Rights to a session on disk; None if there are none."""
        return read_rights(self.path(session_id))

    def write_rights(self, session_id: str, rights: SessionRights) -> None:
        """Keep the rights to a session on disk, unless they are there.

        :raises StoreError: if they cannot be written.
        """
        if self.rights(session_id) != rights:
            write_rights(self.path(session_id), rights)

    def erase(self, session_id: str) -> None:
        """Remove all of a session. What cannot be removed is remembered on disk and in `to_erase`.

        :raises EraseError: if something stays.
        """
        self._to_erase.add(session_id)
        marker = self._store / _ERASING / session_id
        try:
            marker.parent.mkdir(mode=0o700, exist_ok=True)
            marker.touch(mode=0o600)
        except OSError as error:
            logger.warning("a session that is to be erased cannot be marked: %s", error)
        try:
            delete_session(self.path(session_id))
            marker.unlink(missing_ok=True)
        except (StoreError, OSError) as error:
            raise EraseError(f"not everything could be erased yet, it is tried again: {error}") from error
        self._to_erase.discard(session_id)

    def ids(self) -> list[str]:
        """Ids of all session folders on disk."""
        return [path.name for path in self._store.iterdir() if self.is_id(path.name)]

    def may_live(self, session_id: str) -> bool:
        """Whether a session that nobody uses may stay for now: kept, and not for too long, or its time is not over."""
        if self.erases(session_id):
            return False
        folder = self.path(session_id)
        if is_kept(folder):
            if self._kept_days is None:
                return True
            used_s = _read_time(folder / _EXPIRES) or (folder / KEPT).stat().st_mtime
            return used_s + self._kept_days * DAY_S > time.time()
        if self.rights(session_id) is None:
            return False  # nobody could come back to it
        return (_read_time(folder / _EXPIRES) or 0.0) > time.time()


def _read_time(file: Path) -> float | None:
    """Seconds since 1970 that a file holds; None if it holds none."""
    try:
        return float(file.read_text())
    except (OSError, ValueError):
        return None

"""Folders of the sessions in the store: which may live until when, and that what is erased is erased.

Below the store's folder::

    lock            held (flock) by the one server that owns the store
    erasing/ID      empty file: session ID is to be erased; there until nothing of the session is left
    ID/             folder of a session; `fitme.session.store` has its layout
        rights.json who owns it and which links may watch it; `stream.web.sessions.rights`
        expires     seconds since 1970 until which the session may live unless it is kept; renewed while it is used

A folder that no server knows, whose time is over and that is not kept, or kept for longer than the operator allows, is
erased: at the start of a server, and hourly.

Several servers may share a store that is an object store: it has no lock. A session's `expires` then names the server
that has the session as well, and is written in place of one known version alone: of two servers that want a session,
or of one that wants it and one that erases it, one succeeds.

All functions block.
"""

import logging
import re
import secrets
import time
from pathlib import Path

from filelock import FileLock, Timeout

from fitme.errors import StoreError
from fitme.session.folder import (
    KEPT,
    SessionFolder,
    delete_session,
    is_kept,
    is_session,
    read_file,
    write_file,
)
from fitme.session.lease import end_lease, lease_holder
from fitme.session.object_folder import ObjectFolder
from stream.web.sessions.rights import SessionRights, read_rights, write_rights

logger = logging.getLogger(__name__)

ID_BYTES = 24
"""192 random bits."""

DAY_S = 86_400.0

_ID_PATTERN = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")
_LOCK = "lock"
_ERASING = "erasing"
_EXPIRES = "expires"
_ENDED_S = 0.0
"""`expires` of a session in a shared store that is to be erased: nobody can claim it."""


class EraseError(StoreError):
    """A session cannot be erased now; it is remembered, and erasing is tried again."""


class SessionFolders:
    """The store's folder, owned by one server at a time, or shared by several if it is an object store."""

    def __init__(self, store: SessionFolder, kept_days: float | None = None) -> None:
        """Take ownership of the store, before anything in it is touched.

        :param kept_days: how long a kept session stays after its last use; None: until its owner deletes it.
        :raises StoreError: if another server owns it, or if it cannot be written.
        """
        self._store, self._kept_days = store, kept_days
        self._tags: dict[str, str] = {}
        """Versions of `expires` that this server has written to a shared store."""
        self._lock: FileLock | None = None
        if isinstance(store, ObjectFolder):
            names = (store / _ERASING).names()  # also finds out whether the store answers
        else:
            self._lock = _own(store)
            names = [path.name for path in (store / _ERASING).glob("*")]
        self._to_erase = {name for name in names if _ID_PATTERN.fullmatch(name)}

    @property
    def shared(self) -> bool:
        """Whether other servers may use the store as well."""
        return isinstance(self._store, ObjectFolder)

    def release(self) -> None:
        """Let another server own the store."""
        if self._lock is not None:
            self._lock.release()

    @staticmethod
    def new_id() -> str:
        """Id of a new session: its public name, which nobody can guess all the same."""
        return secrets.token_hex(ID_BYTES)

    @staticmethod
    def is_id(text: str) -> bool:
        """Whether `text` has the form of a session's id."""
        return _ID_PATTERN.fullmatch(text) is not None

    def path(self, session_id: str) -> SessionFolder:
        """Folder of a session, which need not exist."""
        return self._store / session_id

    def exists(self, session_id: str) -> bool:
        """Whether there is anything of a session.

        :raises StoreError: if an object store does not answer.
        """
        return self.path(session_id).exists()

    def is_stored(self, session_id: str) -> bool:
        """Whether rounds of a session are stored, and it is not being erased.

        :raises StoreError: if an object store does not answer.
        """
        return is_session(self.path(session_id)) and not self.erases(session_id)

    def erases(self, session_id: str) -> bool:
        """Whether a session is to be erased and is not yet gone.

        :raises StoreError: if an object store does not answer.
        """
        if session_id in self._to_erase:
            return True
        return isinstance(self._store, ObjectFolder) and (self._store / _ERASING).read(session_id) is not None

    @property
    def to_erase(self) -> frozenset[str]:
        """Ids of the sessions that could not be erased yet."""
        return frozenset(self._to_erase)

    def claim(self, session_id: str, lifetime_s: float) -> bool:
        """Make a session, begun or not, this server's, and let it live for some more seconds; whether it is.

        It is not if another server has changed its lifetime at this moment, or has ended it. A store on a disk is this
        server's anyway.

        :raises StoreError: if an object store does not answer.
        """
        folder = self.path(session_id)
        if isinstance(folder, ObjectFolder):
            found = folder.read(_EXPIRES)
            if found is not None and _seconds(found.content) <= _ENDED_S:
                return False
            return self._write_expires(folder, time.time() + lifetime_s, None if found is None else found.tag)
        return self.renew(session_id, lifetime_s)

    def renew(self, session_id: str, lifetime_s: float) -> bool:
        """Let a session live for some more seconds; begins its folder if need be. False if another server has it now.

        A store that cannot be written is no error: the session goes on, and what it stores fails by itself.
        """
        folder = self.path(session_id)
        try:
            if isinstance(folder, ObjectFolder):
                return self._write_expires(folder, time.time() + lifetime_s, self._tags.get(session_id))
            folder.mkdir(mode=0o700, exist_ok=True)
            (folder / _EXPIRES).write_text(f"{time.time() + lifetime_s:.0f}\n")
        except (OSError, StoreError) as error:
            logger.warning("the lifetime of a session cannot be written: %s", error)
        return True

    def hand_on(self, session_id: str, lifetime_s: float) -> None:
        """Let another server that shares the store claim a session within some seconds, and write it at once: a process
        of this server that is slow to end loses what it has not stored. The store on a disk is nobody else's.
        """
        folder = self.path(session_id)
        self.renew(session_id, lifetime_s)
        if isinstance(folder, ObjectFolder):
            try:
                end_lease(folder)
            except StoreError as error:
                logger.warning("a session that is handed on waits until its lease is over: %s", error)

    def end_life(self, session_id: str) -> bool:
        """End the lifetime of a session that is to be erased; whether it is this server's to erase: no other one has
        it now, and none can claim it from now on.

        :raises StoreError: if an object store does not answer.
        """
        folder = self.path(session_id)
        if isinstance(folder, ObjectFolder):
            found = folder.read(_EXPIRES)
            if found is None:
                return self._write_expires(folder, _ENDED_S, None)
            others = found.tag != self._tags.get(session_id) and _seconds(found.content) > time.time()
            return not others and self._write_expires(folder, _ENDED_S, found.tag)
        return True

    def _write_expires(self, folder: ObjectFolder, expires_s: float, tag: str | None) -> bool:
        content = f"{expires_s:.6f} {folder.writer}\n".encode()
        written = folder.replace(_EXPIRES, content, tag)
        if written is None:
            self._tags.pop(folder.name, None)
            return False
        self._tags[folder.name] = written
        return True

    def rights(self, session_id: str) -> SessionRights | None:
        """Rights to a stored session; None if there are none.

        :raises StoreError: if there may be some, but they cannot be read.
        """
        return read_rights(self.path(session_id))

    def write_rights(self, session_id: str, rights: SessionRights) -> None:
        """Store the rights to a session, unless they are there.

        :raises StoreError: if they cannot be written.
        """
        if self.rights(session_id) != rights:
            write_rights(self.path(session_id), rights)

    def erase(self, session_id: str) -> None:
        """Remove all of a session. What cannot be removed is remembered in the store and in `to_erase`.

        :raises EraseError: if something stays.
        """
        self._to_erase.add(session_id)
        folder, markers = self.path(session_id), self._store / _ERASING
        try:
            write_file(markers, session_id, b"")
        except StoreError as error:
            logger.warning("a session that is to be erased cannot be marked: %s", error)
        try:
            if isinstance(folder, ObjectFolder):
                self._stop_others(folder)
            delete_session(folder)
            if isinstance(markers, ObjectFolder):
                markers.remove(session_id)
            else:
                (markers / session_id).unlink(missing_ok=True)
        except (StoreError, OSError) as error:
            raise EraseError(f"not everything could be erased yet, it is tried again: {error}") from error
        self._tags.pop(session_id, None)
        self._to_erase.discard(session_id)

    def _stop_others(self, folder: ObjectFolder) -> None:
        """Take a session from whichever server has it.

        :raises StoreError: while a process of another server still writes it.
        """
        self._tags[folder.name] = folder.write(_EXPIRES, f"{_ENDED_S} {folder.writer}\n".encode())
        if lease_holder(folder) not in (None, folder.writer):
            raise StoreError("another server still writes the session")

    def ids(self) -> list[str]:
        """Ids of all sessions in the store.

        :raises StoreError: if an object store does not answer.
        """
        store = self._store
        names = store.names() if isinstance(store, ObjectFolder) else [path.name for path in store.iterdir()]
        return [name for name in names if self.is_id(name)]

    def may_live(self, session_id: str) -> bool:
        """Whether a session that nobody uses may stay for now: kept, and not for too long, or its time is not over.

        :raises StoreError: if an object store does not answer.
        """
        if self.erases(session_id):
            return False
        folder = self.path(session_id)
        if is_kept(folder):
            if self._kept_days is None:
                return True
            used_s = _seconds(read_file(folder, _EXPIRES)) or _kept_since(folder)
            return used_s + self._kept_days * DAY_S > time.time()
        if self.rights(session_id) is None:
            return False  # nobody could come back to it
        return _seconds(read_file(folder, _EXPIRES)) > time.time()


def _own(store: Path) -> FileLock:
    """The lock of a store on disk, taken.

    :raises StoreError: if another server owns it, or if it cannot be written.
    """
    # On a file system without flock this fails: a fallback to a marker file would outlive a killed server.
    lock = FileLock(store / _LOCK, blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        store.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise StoreError(f"{store}: another server uses this store: stop it, or give --store another one") from error
    except OSError as error:
        raise StoreError(f"{store}: cannot be used as a store: {error}") from error
    return lock


def _kept_since(folder: SessionFolder) -> float:
    """When a session was marked as kept, seconds since 1970."""
    if isinstance(folder, ObjectFolder):
        return _seconds(read_file(folder, KEPT))
    return (folder / KEPT).stat().st_mtime


def _seconds(content: bytes | None) -> float:
    """Seconds since 1970 in the content of a file that begins with them; 0 if it does not, or there is no file."""
    try:
        return float(content.split()[0]) if content else 0.0
    except (ValueError, IndexError):
        return 0.0

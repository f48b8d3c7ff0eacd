"""Storing one session's rounds, however long the disk refuses: a fit goes on without, and storing is tried again."""

import math
import time

from fitme.errors import StoreError
from fitme.fit.state import FitState
from fitme.session.folder import SessionFolder, is_session
from fitme.session.store import SessionStore

FIRST_PAUSE_S = 1.0
"""Time between a failed attempt to store and the next one; doubled after each further failure."""
LONGEST_PAUSE_S = 60.0


class SessionStorage:
    """The store of one session, opened once it can be, and the newest state until it is written.

    `resume` opens a session that exists; a new one is begun with the first state that is written.
    """

    def __init__(self, folder: SessionFolder, secret: str | None = None) -> None:
        """:param secret: with which a new session is encrypted, and an encrypted one opened."""
        self.folder, self._secret = folder, secret
        self._store: SessionStore | None = None
        self._pending: FitState | None = None
        self._pause_s = 0.0
        self._due_s = -math.inf

    @property
    def due_s(self) -> float:
        """`time.monotonic()` from which storing is to be tried again; infinity if nothing is waiting to be stored."""
        return math.inf if self._pending is None else self._due_s

    def resume(self) -> FitState | None:
        """Open the session in the folder and read its last round; None if none is there.

        :raises StoreError: if it cannot be read. What is on disk is left as it is.
        """
        if not is_session(self.folder):
            return None
        store = SessionStore(self.folder, self._secret)
        try:
            state = store.read()
        except StoreError:
            store.close()
            raise
        self._store = store
        return state

    def write(self, state: FitState) -> bool:
        """Commit a state, or note it for `retry` while an earlier failure is too recent; whether it is on disk.

        :raises StoreError: if it cannot be written; it is noted for `retry`.
        """
        self._pending = state
        return self.retry()

    def retry(self) -> bool:
        """Commit the newest state that is not on disk, if it is time to; whether everything is on disk.

        :raises StoreError: if it cannot be written; the pause before the next attempt is then doubled.
        """
        if self._pending is None:
            return True
        if time.monotonic() < self._due_s:
            return False
        try:
            if self._store is None:
                # There was no session when this one was opened: what is there is a failed attempt's.
                self._store = SessionStore(self.folder, self._secret, anew=True)
            self._store.write_round(self._pending)
        except StoreError:
            self._pause_s = min(max(2.0 * self._pause_s, FIRST_PAUSE_S), LONGEST_PAUSE_S)
            self._due_s = time.monotonic() + self._pause_s
            raise
        self._pending, self._pause_s, self._due_s = None, 0.0, -math.inf
        return True

    def purge(self, state: FitState) -> bool:
        """Commit a state from which frames were removed, and erase the superseded commits that still hold them.

        :raises StoreError: as `write`.
        """
        stored = self.write(state)
        if stored and self._store is not None:
            self._store.compact()
        return stored

    def close(self) -> None:
        """Let another process write the session; what is still pending is given up."""
        self._pending = None
        if self._store is not None:
            self._store.close()
            self._store = None

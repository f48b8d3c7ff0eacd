"""Lease of a session on an object store: one process writes it, until it releases the lease or is silent for too long.

The lease keeps processes from working on one session at the same time. What makes that safe, whatever the clocks say
and however long a process stands still, is the check of `fitme.session.store` that its own commit is still the newest.
"""

import json
import logging
import secrets
import threading
import time

from fitme.errors import StoreError
from fitme.session.object_folder import ObjectFolder

logger = logging.getLogger(__name__)

LEASE = "lease"
RENEWALS = 3
"""Renewals within the time of a lease."""


class BusyError(StoreError):
    """Another process writes the session."""


class Lease:
    """The right to write one session, renewed by a thread of its own while it is held."""

    def __init__(self, folder: ObjectFolder) -> None:
        """Take the lease.

        :raises BusyError: if a process of another server has it.
        :raises StoreError: if the object store does not answer.
        """
        self._folder = folder
        self._period_s = folder.settings.lease_s
        self._name = f"{folder.writer}/{secrets.token_hex(4)}"
        self._lock = threading.Lock()
        self._released = threading.Event()
        found = folder.read(LEASE)
        # A process of the same server that has it has ended: the server opens a session in one process at a time.
        if found is not None and _server(found.content) not in (None, folder.writer):
            raise BusyError(f"{folder}: another process writes this session")
        self._tag = self._put(None if found is None else found.tag)
        if self._tag is None:
            raise BusyError(f"{folder}: another process has just begun to write this session")
        threading.Thread(target=self._keep, name=f"lease-{folder.name[:8]}", daemon=True).start()

    def renew(self) -> bool:
        """Extend the lease by its whole time from now; whether it is still this process's.

        :raises StoreError: if the object store does not answer.
        """
        with self._lock:
            if self._released.is_set() or self._tag is None:
                return False
            self._tag = self._put(self._tag)
            return self._tag is not None

    def release(self) -> None:
        """Let other processes have it; harmless if it is lost already."""
        with self._lock:
            if self._released.is_set():
                return
            self._released.set()
            try:
                if self._tag is not None:
                    self._folder.replace(LEASE, _text(self._name, 0.0), self._tag)
            except StoreError as error:
                logger.warning("a lease could not be released, it ends by itself: %s", error)

    def _put(self, tag: str | None) -> str | None:
        return self._folder.replace(LEASE, _text(self._name, time.time() + self._period_s), tag)

    def _keep(self) -> None:
        while not self._released.wait(self._period_s / RENEWALS):
            try:
                if not self.renew():
                    return
            except StoreError as error:
                logger.warning("a lease could not be renewed, it is tried again: %s", error)


def lease_holder(folder: ObjectFolder) -> str | None:
    """Name of the server whose process writes a session now; None if there is none.

    :raises StoreError: if the object store does not answer.
    """
    found = folder.read(LEASE)
    return None if found is None else _server(found.content)


def end_lease(folder: ObjectFolder) -> None:
    """Let other servers write a session at once, which a process of this one may still be writing: that process loses
    what it has not committed.

    :raises StoreError: if the object store does not answer.
    """
    found = folder.read(LEASE)
    if found is not None and _server(found.content) == folder.writer:
        folder.replace(LEASE, _text(f"{folder.writer}/{secrets.token_hex(4)}", 0.0), found.tag)


def _text(name: str, expires_s: float) -> bytes:
    return json.dumps({"holder": name, "expires_s": expires_s}).encode()


def _server(content: bytes) -> str | None:
    """Name of the server that holds a lease now, of its object's content; None if its time is over, or the content is
    no lease."""
    try:
        lease = json.loads(content)
        return str(lease["holder"]).partition("/")[0] if float(lease["expires_s"]) > time.time() else None
    except (ValueError, KeyError, TypeError):
        return None

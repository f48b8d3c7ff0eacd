"""Stored sessions: which of them wait for their owner, who may come back to them, and when they are erased."""

import asyncio
import logging
import time
from collections.abc import Collection

from fitme.errors import StoreError
from fitme.session.folder import is_kept
from stream.web.sessions.ending import EndingSessions
from stream.web.sessions.errors import UnknownSessionError
from stream.web.sessions.folders import EraseError, SessionFolders
from stream.web.sessions.rights import Caller, SessionRights

logger = logging.getLogger(__name__)


class StoredSessions:
    """Sessions on disk that hold no slot: parked, kept, or over."""

    def __init__(self, folders: SessionFolders, ending: EndingSessions) -> None:
        self._folders, self._ending = folders, ending
        self._parked: dict[str, float] = {}
        """When each became idle."""

    @property
    def parked(self) -> int:
        """Number of sessions that wait on disk."""
        return len(self._parked)

    def park(self, session_id: str, idle_since_s: float) -> None:
        """Let a session wait on disk for its owner."""
        self._parked[session_id] = idle_since_s

    def park_all(self) -> None:
        """Park the sessions that an earlier server left."""
        for session_id in self._folders.ids():
            if not self._folders.erases(session_id) and not is_kept(self._folders.path(session_id)):
                self._parked[session_id] = time.monotonic()

    def unpark(self, session_id: str) -> None:
        """Forget that a session waits, if it does: it is active again, or elsewhere."""
        self._parked.pop(session_id, None)

    def extend(self, session_id: str) -> None:
        """Begin the grace time of a parked session anew: its owner is there, and waits."""
        if session_id in self._parked:
            self._parked[session_id] = time.monotonic()

    async def require(self, session_id: str) -> bool:
        """Whether a session that is stored and waits for its owner is kept.

        :raises UnknownSessionError: if there is none of this id.
        """
        self._require_id(session_id)

        def find() -> tuple[bool, bool]:
            kept = is_kept(self._folders.path(session_id))
            waits = kept or session_id in self._parked or (self._folders.shared and self._folders.may_live(session_id))
            return kept, waits and self._folders.is_stored(session_id)

        kept, found = await asyncio.to_thread(find)
        if not found:
            raise UnknownSessionError("there is no such session, or it has ended: begin a new one")
        return kept

    async def rights(self, session_id: str, caller: Caller) -> SessionRights:
        """Rights to a session on disk, for its owner. One that was kept before there were rights, when its id was its
        secret, belongs to whoever knows the id.

        :raises UnknownSessionError: if there is none of this id.
        :raises ForbiddenError: if the caller does not own it.
        """
        await self.require(session_id)
        rights = await asyncio.to_thread(self._folders.rights, session_id)
        if rights is None:
            rights = SessionRights(caller.owner, caller.user)
        rights.require_owner(caller)
        return rights

    async def delete(self, session_id: str, caller: Caller) -> None:
        """Remove all of a session.

        :raises UnknownSessionError: if there is none of this id.
        :raises ForbiddenError: if the caller does not own it.
        :raises EraseError: if something of it stays for now.
        """
        self._require_id(session_id)
        await self._ending.wait(session_id)
        if not await asyncio.to_thread(lambda: self._folders.exists(session_id) or self._folders.erases(session_id)):
            raise UnknownSessionError("there is no such session, or it has ended")
        rights = await asyncio.to_thread(self._folders.rights, session_id)
        if rights is not None:
            rights.require_owner(caller)
        async with self._ending.claim(session_id):
            self.unpark(session_id)
            await asyncio.to_thread(self._folders.erase, session_id)

    def _require_id(self, session_id: str) -> None:
        if not self._folders.is_id(session_id):
            raise UnknownSessionError("this is not the id of a session")

    async def may_erase(self, session_id: str) -> bool | None:
        """Whether a session that is over is erased: not if it is kept; None if another server has it now.

        While an object store does not answer, nothing is erased; the sweep of some server does it later.
        """
        try:
            if await asyncio.to_thread(is_kept, self._folders.path(session_id)):
                return False
            return True if await asyncio.to_thread(self._folders.end_life, session_id) else None
        except StoreError as error:
            logger.warning("%s", error)
            return False

    async def end_parked(self, before_s: float | None = None) -> None:
        """End parked sessions, and erase them unless they are kept.

        :param before_s: only those that became idle before this time; all if left out.
        """
        for session_id, idle_since_s in list(self._parked.items()):
            if before_s is None or (idle_since_s < before_s and session_id not in self._ending):
                await self._end(session_id)

    async def _end(self, session_id: str) -> None:
        async with self._ending.claim(session_id):
            self.unpark(session_id)
            if await self.may_erase(session_id):
                await self._erase_later(session_id)

    async def sweep(self, active: Collection[str]) -> None:
        """Erase every session on disk that is nobody's: neither known here, nor kept, nor within its lifetime.

        :param active: ids of the sessions that hold a slot, now and later.
        """

        def is_over(session_id: str) -> bool:
            if session_id in self._folders.to_erase:
                return True
            return not self._folders.may_live(session_id) and self._folders.end_life(session_id)

        try:
            found = await asyncio.to_thread(self._folders.ids)
            for session_id in {*found, *self._folders.to_erase}:
                known = session_id in active or session_id in self._parked or session_id in self._ending
                if not known and await asyncio.to_thread(is_over, session_id):
                    await self._erase_later(session_id)
        except StoreError as error:
            logger.warning("sessions that are over could not be looked for: %s", error)

    async def erase_again(self) -> None:
        """Try again to erase what could not be erased."""
        for session_id in self._folders.to_erase:
            if session_id not in self._ending:
                await self._erase_later(session_id)

    async def _erase_later(self, session_id: str) -> None:
        """Erase a session now, or again and again by `erase_again`."""
        known = session_id in self._folders.to_erase
        try:
            await asyncio.to_thread(self._folders.erase, session_id)
        except EraseError as error:
            logger.log(logging.DEBUG if known else logging.ERROR, "%s", error)

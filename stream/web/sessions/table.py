"""Sessions of a server: begun, resumed, parked, expired, kept, erased.

A session holds a slot while it is *active*. One that has neither a camera nor a page of its owner is *idle*; when
somebody else needs its slot it is *parked* - closed, its data still on disk - and becomes active again when its owner's
page comes back. So is one whose owner has watched without a camera for long. An idle or parked session ends after the
grace time, and all of its data is erased unless the person asked to keep it. Whoever finds no slot waits in a line.

Servers that share a store hand sessions on: a page that comes to another server, since this one closes or the proxy
has chosen another one, resumes its session there, and this server gives it up.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Collection, Iterable

from fitme.errors import StoreError
from fitme.session.folder import is_kept, mark_kept
from stream.engine.interface import Engine
from stream.protocol.events import KeptEvent, StoredEvent, ViewersEvent, VoiceEvent
from stream.settings import ServeSettings
from stream.web.monitoring.metrics import Metrics
from stream.web.motion import MotionExchange
from stream.web.periodic import PeriodicWork, repeat
from stream.web.sessions.ending import EndingSessions
from stream.web.sessions.errors import FullError, TooManyError, UnknownSessionError
from stream.web.sessions.folders import EraseError, SessionFolders
from stream.web.sessions.rights import Caller, SessionRights, ViewLink
from stream.web.sessions.session import Session
from stream.web.sessions.stored import StoredSessions
from stream.web.sessions.waiting_line import WaitingLine

logger = logging.getLogger(__name__)

EXPIRE_PERIOD_S = 0.5
RENEW_PERIOD_S = 30.0
"""How often the lifetimes of active sessions are written."""
ERASE_RETRY_S = 5.0
HAND_ON_PATIENCE_S = 3.0
"""How long the engine may take to store a session that is handed on, before another server may write it."""
SWEEP_PERIOD_S = 3600.0
SHARED_SWEEP_PERIOD_S = 300.0
"""Of a shared store: what a server that has died has left is erased by another one."""
IDLE_RENEW_PERIOD_S = 2.0
"""How often idle sessions' lifetimes are written to a shared store: their owner may have gone to another server."""
LINE_PATIENCE = 2.5
"""Who waits for a place and has not asked again for this many times `retry_after_s` has left the line."""


class SessionTable:
    """All sessions of a server."""

    def __init__(self, settings: ServeSettings, engine: Engine, folders: SessionFolders) -> None:
        self._settings = settings
        self._engine = engine
        self._folders = folders
        self.motion = MotionExchange(settings.motion)
        self._active: dict[str, Session] = {}
        self._ending = EndingSessions()
        self._stored = StoredSessions(folders, self._ending)
        limits = settings.session
        self._line = WaitingLine(LINE_PATIENCE * limits.retry_after_s, limits.waiting_limit, limits.per_address_limit)
        self._activation = asyncio.Lock()
        """One newcomer at a time frees a slot and takes it."""
        self._stopped = False
        self.metrics = Metrics()
        self._cleanup: asyncio.Task[None] | None = None

    @property
    def active(self) -> Collection[Session]:
        """Sessions that hold a slot."""
        return self._active.values()

    @property
    def parked(self) -> int:
        """Number of sessions that wait on disk."""
        return self._stored.parked

    @property
    def waiting(self) -> int:
        """Number of people in the waiting line."""
        return len(self._line)

    @property
    def accepting(self) -> bool:
        """Whether new sessions may begin: the server is not closing."""
        return not self._stopped

    def __len__(self) -> int:
        return len(self._active)

    async def sweep(self) -> None:
        """Erase every session on disk that is nobody's: neither known here, nor kept, nor within its lifetime."""
        await self._stored.sweep(self._active.keys())

    def start(self) -> None:
        """Park the sessions that an earlier server left, and begin to end what is over."""
        if not self._folders.shared:
            self._stored.park_all()
        self._cleanup = asyncio.create_task(repeat(self._periodic_works()))

    async def stop(self) -> None:
        """End all sessions at once and refuse new ones; those that are kept stay on disk. Sessions in a shared store
        are handed on: pages are told to come again, and find them at another server."""
        if self._stopped:
            return
        self._stopped = True
        if self._cleanup is not None:
            self._cleanup.cancel()
            await asyncio.gather(self._cleanup, return_exceptions=True)
        if self._folders.shared:
            for session in self._active.values():
                session.send_away()
            await self._engine.stop()
            await asyncio.gather(*(self._hand_on(session) for session in list(self._active.values())))
            return
        for session in self._active.values():
            session.dismiss("shutdown")
        await self._engine.stop()  # sooner than closing one session after the other, each when its fit comes to it
        await asyncio.gather(*(self.end_quietly(session, "shutdown") for session in list(self._active.values())))
        await self._stored.end_parked()

    def get(self, session_id: str, caller: Caller) -> Session:
        """Active session of an id, for its owner.

        :raises UnknownSessionError: if there is none of this id.
        :raises ForbiddenError: if the caller does not own it.
        """
        session = self._active.get(session_id)
        if session is None:
            raise UnknownSessionError("there is no such session, or it has ended: begin a new one")
        session.rights.require_owner(caller)
        return session

    def watched(self, token: str) -> tuple[Session, ViewLink]:
        """Active session of a view link's token, and the link.

        :raises UnknownSessionError: if no active session has such a link, or it has ended.
        """
        now_s = time.time()
        for session in self._active.values():
            if (link := session.rights.link_of(token, now_s)) is not None:
                return session, link
        raise UnknownSessionError("this link does not lead to a session now")

    def is_active(self, session: Session) -> bool:
        """Whether a session still holds its slot."""
        return self._active.get(session.id) is session

    async def activate(self, session_id: str | None, caller: Caller) -> Session:
        """Activate the session of an id, from disk if need be, or a new one without an id.

        :raises UnknownSessionError: if there is none of this id.
        :raises ForbiddenError: if the caller does not own it.
        :raises TooManyError: if the caller has as many sessions as one may have.
        :raises FullError: if there is no slot for it.
        """
        if session_id in self._active:
            return self.get(session_id, caller)
        async with self._activation:
            if session_id is None:
                self._check_limits(caller)
                await self._free_slot(caller, None)
                session_id, rights = self._folders.new_id(), SessionRights(caller.owner, caller.user)
                await asyncio.to_thread(self._write_record, session_id, rights)
                return self._open(session_id, rights, caller, resumed=False, kept=False)
            await self._ending.wait(session_id)
            if session_id in self._active:
                return self.get(session_id, caller)
            rights = await self._stored.rights(session_id, caller)
            self._check_limits(caller)
            await self._free_slot(caller, session_id)
            async with self._ending.claim(session_id):  # it does not expire meanwhile
                kept = await self._stored.require(session_id)
                if not await asyncio.to_thread(self._write_record, session_id, rights):
                    raise UnknownSessionError("another server has this session now")
                return self._open(session_id, rights, caller, resumed=True, kept=kept)

    def _write_record(self, session_id: str, rights: SessionRights) -> bool:
        """Write until when a session that becomes active may live, and who owns it; whether it is this server's.
        Blocks."""
        try:
            claimed = self._folders.claim(session_id, self._active_lifetime_s)
            if claimed:
                self._folders.write_rights(session_id, rights)
        except StoreError as error:
            logger.warning("the owner of a session is not stored yet: %s", error)
            return True
        return claimed

    def _open(self, session_id: str, rights: SessionRights, caller: Caller, *, resumed: bool, kept: bool) -> Session:
        """Make a session active, in a slot that is free."""
        folder = self._folders.path(session_id)
        session = Session(
            session_id,
            folder,
            self._engine,
            resumed,
            rights,
            caller.address,
            exchange=self.motion,
            metrics=self.metrics,
            stored=resumed,
        )
        self.metrics.begun(resumed=resumed)
        self._active[session_id] = session
        self._stored.unpark(session_id)
        secret = caller.secret if self._settings.session.encrypt else None
        self._engine.open(session_id, folder, session.scene, session, secret)
        session.relay.publish(session.scene.event())
        session.relay.publish(KeptEvent(kept))
        session.relay.publish(StoredEvent(session.stored))
        session.relay.publish(ViewersEvent(0))
        session.relay.publish(VoiceEvent(False))
        return session

    def _check_limits(self, caller: Caller) -> None:
        busy = [session for session in self._active.values() if not session.idle]
        own = sum(caller.identity in (session.rights.owner, session.rights.user) for session in busy)
        if own >= self._settings.session.per_user_limit:
            raise TooManyError(f"you have {own} sessions already: leave one of them")
        near = sum(session.address == caller.address for session in busy)
        if near >= self._settings.session.per_address_limit:
            raise TooManyError(f"{near} sessions come from your address already: try again later")

    async def keep(self, session: Session, kept: bool) -> None:
        """Mark whether the session's data stays when it ends.

        Who owns it is written, too. On a full disk that waits, like the data, until there is room: see `_renew`.

        :raises StoreError: if the mark cannot be written.
        """
        if kept:
            try:
                await self.change_rights(session, session.rights)
            except StoreError as error:
                logger.warning("a kept session's owner is not stored yet: %s", error)
        await asyncio.to_thread(mark_kept, session.folder, kept)
        session.relay.publish(KeptEvent(kept))

    async def change_rights(self, session: Session, rights: SessionRights) -> None:
        """Give a session other rights, in memory and on disk.

        :raises StoreError: if they cannot be written; they then count until the session ends.
        """
        session.rights = rights
        await asyncio.to_thread(self._folders.write_rights, session.id, rights)

    async def delete(self, session_id: str, caller: Caller) -> None:
        """End a session, active or not, and remove all of its data.

        :raises UnknownSessionError: if there is none of this id.
        :raises ForbiddenError: if the caller does not own it.
        :raises EraseError: if something of it stays for now; the session has ended all the same.
        """
        if session_id in self._active:
            await self._end(self.get(session_id, caller), "deleted", erase=True)
            return
        await self._stored.delete(session_id, caller)

    async def _free_slot(self, caller: Caller, session_id: str | None) -> None:
        """Take a slot that is free or can be freed, if it is the caller's turn.

        :raises FullError: with the caller's place in the waiting line.
        """
        if self._stopped:
            raise FullError("the server is closing")
        cameraless_s = self._settings.session.cameraless_s
        parkable = [session for session in self._active.values() if session.parkable(cameraless_s)]
        free = self._settings.session.limit - len(self._active)
        place = self._line.ask(caller.identity, free + len(parkable), caller.address)
        if place:
            if session_id is not None:
                self._stored.extend(session_id)
            raise FullError(f"all places are taken: you are number {place} in the line", place)
        if free <= 0:
            longest = min(parkable, key=lambda session: session.cameraless_since_s)
            logger.info("parking a session without a camera for another one")
            await self._end(longest, "parked", erase=False)

    @property
    def _active_lifetime_s(self) -> float:
        """How long an active session may live after a write of its lifetime, should the server be killed."""
        return self._settings.session.grace_s + 2.0 * RENEW_PERIOD_S

    async def _renew(self, session: Session) -> None:
        """Write until when an active session may live, and who owns it; tried again later if that is not possible. A
        session that another server has now is given up."""
        if not await asyncio.to_thread(self._folders.renew, session.id, self._active_lifetime_s):
            logger.info("another server has a session now")
            await self._end(session, "moved", erase=False)
            return
        with contextlib.suppress(StoreError):  # the warning on the lifetime has told the reason
            await asyncio.to_thread(self._folders.write_rights, session.id, session.rights)

    async def _hand_on(self, session: Session) -> None:
        """End an active session that another server is to resume: its pages come again at once."""
        ending = asyncio.create_task(self._end(session, "parked", erase=False))
        await asyncio.wait([ending], timeout=HAND_ON_PATIENCE_S)
        await asyncio.to_thread(self._folders.hand_on, session.id, self._settings.session.grace_s)
        await ending
        self._stored.unpark(session.id)

    async def _end(self, session: Session, reason: str, *, erase: bool) -> None:
        """End an active session, and erase it or park it.

        :raises EraseError: if something of it stays for now.
        """
        if self._active.get(session.id) is not session:
            await self._ending.wait(session.id)
            return
        async with self._ending.claim(session.id):
            del self._active[session.id]
            self.metrics.ended(reason)
            if reason in ("parked", "moved"):
                session.send_away()
            elif reason != "deleted":
                session.dismiss(reason)
            try:
                await self._close(session)
                if erase:
                    await asyncio.to_thread(self._folders.erase, session.id)
            except EraseError:
                session.dismiss("not_erased")
                raise
            finally:
                session.dismiss(reason)
            if not erase and reason != "moved" and not await asyncio.to_thread(is_kept, session.folder):
                self._stored.park(session.id, session.idle_since_s)
                await asyncio.to_thread(self._folders.renew, session.id, self._settings.session.grace_s)

    async def _close(self, session: Session) -> None:
        await session.close()
        await self._engine.close(session.id)

    async def end_quietly(self, session: Session, reason: str) -> None:
        """End an active session; it is erased, now or later, unless it is kept."""
        try:
            erase = await self._stored.may_erase(session.id)
            await self._end(session, reason if erase is not None else "moved", erase=bool(erase))
        except EraseError as error:
            logger.error("%s", error)

    def _periodic_works(self) -> list[PeriodicWork]:
        """End expired sessions, renew the lifetimes of active ones, erase what is to be erased."""
        shared = self._folders.shared
        works = [
            PeriodicWork(min(EXPIRE_PERIOD_S, max(self._settings.session.grace_s / 4, 0.01)), self._expire),
            PeriodicWork(RENEW_PERIOD_S, lambda: self._renew_all(self._active.values())),
            PeriodicWork(ERASE_RETRY_S, self._stored.erase_again),
            PeriodicWork(SHARED_SWEEP_PERIOD_S if shared else SWEEP_PERIOD_S, self.sweep),
        ]
        if shared:
            works.append(PeriodicWork(IDLE_RENEW_PERIOD_S, self._renew_idle))
        return works

    async def _renew_all(self, sessions: Iterable[Session]) -> None:
        await asyncio.gather(*(self._renew(session) for session in list(sessions)))

    async def _renew_idle(self) -> None:
        await self._renew_all(session for session in self._active.values() if session.idle)

    async def _expire(self) -> None:
        oldest_s = time.monotonic() - self._settings.session.grace_s
        for session in list(self._active.values()):
            session.end_links(time.time())
            if session.idle and session.idle_since_s < oldest_s:
                await self.end_quietly(session, "expired")
        await self._stored.end_parked(oldest_s)

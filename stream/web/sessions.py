"""Sessions of a server: begun, resumed, parked, expired, kept, erased.

A session holds a slot while it is *active*. One that has neither a camera nor a page is *idle*; when somebody else
needs its slot it is *parked* - closed, its data still on disk - and becomes active again when its page comes back. An
idle or parked session ends after the grace time, and all of its data is erased unless the person asked to keep it.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

from fitme.errors import FitmeError
from fitme.session.folder import is_kept, is_session, mark_kept
from fitme.stage import Stage
from stream.engine.interface import Engine
from stream.protocol.client_messages import Ack, ClientMessage, Delete, Keep
from stream.protocol.events import HelloEvent, KeptEvent, PeerEvent, StoredEvent
from stream.protocol.protocol import PROTOCOL_VERSION
from stream.settings import ServeSettings
from stream.web.relay import Outbox
from stream.web.rtc import CameraPeer
from stream.web.session import Session
from stream.web.session_folders import EraseError, SessionFolders

logger = logging.getLogger(__name__)

JANITOR_PERIOD_S = 0.5
RENEW_PERIOD_S = 30.0
"""How often the lifetimes of active sessions are written."""
ERASE_RETRY_S = 5.0
SWEEP_PERIOD_S = 3600.0


class UnknownSessionError(FitmeError):
    """No session has this id, or it has ended."""


class FullError(FitmeError):
    """All slots are taken."""


class SessionTable:
    """All sessions of a server."""

    def __init__(self, settings: ServeSettings, engine: Engine, folders: SessionFolders) -> None:
        self._settings = settings
        self._engine = engine
        self._folders = folders
        self._active: dict[str, Session] = {}
        self._parked: dict[str, float] = {}
        """When each became idle."""
        self._ending: dict[str, asyncio.Future[None]] = {}
        self._activation = asyncio.Lock()
        """One newcomer at a time frees a slot and takes it."""
        self._stopped = False
        self._janitor: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._active)

    async def sweep(self) -> None:
        """Erase every session on disk that is nobody's: neither known here, nor kept, nor within its lifetime."""
        found = await asyncio.to_thread(self._folders.ids)
        for session_id in {*found, *self._folders.to_erase}:
            known = session_id in self._active or session_id in self._parked or session_id in self._ending
            if not known and not await asyncio.to_thread(self._folders.may_live, session_id):
                await self._erase_later(session_id)

    def start(self) -> None:
        """Park the sessions that an earlier server left, and begin to end what is over."""
        for session_id in self._folders.ids():
            if not self._folders.erases(session_id) and not is_kept(self._folders.path(session_id)):
                self._parked[session_id] = time.monotonic()
        self._janitor = asyncio.create_task(self._clean())

    async def stop(self) -> None:
        """End all sessions at once and refuse new ones; those that are kept stay on disk."""
        if self._stopped:
            return
        self._stopped = True
        if self._janitor is not None:
            self._janitor.cancel()
            await asyncio.gather(self._janitor, return_exceptions=True)
        for session in self._active.values():
            session.dismiss("shutdown")
        await asyncio.gather(*(self._end_quietly(session, "shutdown") for session in list(self._active.values())))
        for session_id in list(self._parked):
            await self._end_parked(session_id)

    def get(self, session_id: str) -> Session:
        """Active session of an id.

        :raises UnknownSessionError: if there is none of this id.
        """
        session = self._active.get(session_id)
        if session is None:
            raise UnknownSessionError("there is no such session, or it has ended: begin a new one")
        return session

    async def activate(self, session_id: str | None) -> Session:
        """Activate the session of an id, from disk if need be, or a new one without an id.

        :raises UnknownSessionError: if there is none of this id.
        :raises FullError: if there is no slot for it.
        """
        if session_id in self._active:
            return self._active[session_id]
        async with self._activation:
            if session_id is not None:
                await self._until_ended(session_id)
                if session_id in self._active:
                    return self._active[session_id]
                self._require_stored(session_id)
            await self._free_slot()
            if session_id is not None:
                self._require_stored(session_id)  # it may have expired meanwhile
            return self._open(session_id)

    def _open(self, session_id: str | None) -> Session:
        """Make a session active, in a slot that is free."""
        resumed = session_id is not None
        session_id = session_id or self._folders.new_id()
        folder = self._folders.path(session_id)
        session = Session(session_id, folder, self._engine, resumed, stored=resumed)
        self._active[session_id] = session
        self._parked.pop(session_id, None)
        self._folders.renew(session_id, self._active_lifetime_s)
        self._engine.open(session_id, folder, session.scene, session)
        session.relay.publish(session.scene.event())
        session.relay.publish(KeptEvent(is_kept(folder)))
        session.relay.publish(StoredEvent(session.stored))
        return session

    def _require_stored(self, session_id: str) -> None:
        folder = self._folder(session_id)
        waits = session_id in self._parked or is_kept(folder)
        if not waits or not is_session(folder) or self._folders.erases(session_id):
            raise UnknownSessionError("there is no such session, or it has ended: begin a new one")

    async def connect(self, session_id: str | None, sdp: str) -> tuple[Session, str, int]:
        """Answer a camera's offer; returns the session, the answer's SDP and the number of the peer.

        :raises UnknownSessionError: if there is none of this id.
        :raises FullError: if there is no slot for it.
        :raises OfferError: if the offer cannot be used; a session that was begun for it is erased.
        """
        session = await self.activate(session_id)
        number = session.peer_number = session.peer_number + 1
        peer = CameraPeer(
            self._settings.ice_servers,
            self._settings.camera.max_pixels,
            self._engine.frame_sink(session.id),
            lambda state: self._peer_changed(session, number, peer, state),
            connect_timeout_s=self._settings.session.connect_timeout_s,
            silence_timeout_s=self._settings.session.silence_timeout_s,
        )
        session.connecting += 1
        answer = None
        try:
            answer = await peer.accept(sdp)
        finally:
            session.connecting -= 1
            session.idle_since_s = time.monotonic()
            if answer is None:
                await peer.close()
                if session_id is None:
                    await self._end_quietly(session, "expired")
        if session.id not in self._active or number < session.peer_number:
            await peer.close()
            raise UnknownSessionError("the session ended, or a newer camera took over, while the offer was answered")
        previous, session.peer = session.peer, peer
        if previous is not None:
            session.relay.publish(PeerEvent(session.connected_number, "replaced"))
        session.connected_number = number
        session.relay.publish(PeerEvent(number, "connecting"))
        if previous is not None:
            await previous.close()
        return session, answer, number

    def join(self, session: Session) -> Outbox:
        """Add a page to the watchers of a session; returns its outbox.

        :raises FullError: if too many pages watch it.
        """
        if len(session.relay) >= self._settings.session.watchers_limit:
            raise FullError(f"{len(session.relay)} pages watch this session already: close one of them")
        outbox = session.relay.join(self.hello(session.id, resumed=session.resumed))
        session.request_render()
        return outbox

    def hello(self, session_id: str, *, resumed: bool) -> HelloEvent:
        """First message to a page."""
        size = self._settings.render.size_px
        return HelloEvent(PROTOCOL_VERSION, session_id, resumed, tuple(Stage), size, size)

    def leave(self, session: Session, outbox: Outbox) -> None:
        """Remove a page from the watchers."""
        session.relay.leave(outbox)
        session.idle_since_s = time.monotonic()

    async def handle(self, session: Session, outbox: Outbox, message: ClientMessage) -> None:
        """Carry out a page's message."""
        match message:
            case Ack(sequence):
                outbox.acknowledge(sequence)
                session.request_render()
            case Keep(keep):
                await self.keep(session, keep)
            case Delete():
                await self.delete(session.id)
            case _:
                session.set_scene(session.scene.changed(message))

    async def keep(self, session: Session, kept: bool) -> None:
        """Mark whether the session's data stays when it ends.

        :raises StoreError: if the mark cannot be written.
        """
        await asyncio.to_thread(mark_kept, session.folder, kept)
        session.relay.publish(KeptEvent(kept))

    async def delete(self, session_id: str) -> None:
        """End a session, active or not, and remove all of its data.

        :raises UnknownSessionError: if there is none of this id.
        :raises EraseError: if something of it stays for now; the session has ended all the same.
        """
        if session_id in self._active:
            await self._end(self._active[session_id], "deleted", erase=True)
            return
        folder = self._folder(session_id)
        await self._until_ended(session_id)
        if not folder.exists() and not self._folders.erases(session_id):
            raise UnknownSessionError("there is no such session, or it has ended")
        async with self._end_of(session_id):
            self._parked.pop(session_id, None)
            await asyncio.to_thread(self._folders.erase, session_id)

    def _folder(self, session_id: str) -> Path:
        if not self._folders.is_id(session_id):
            raise UnknownSessionError("this is not the id of a session")
        return self._folders.path(session_id)

    def _peer_changed(self, session: Session, number: int, peer: CameraPeer, state: str) -> None:
        if session.peer is not peer:
            return
        if state == "closed":
            session.peer = None
            session.idle_since_s = time.monotonic()
        session.relay.publish(PeerEvent(number, state))

    async def _free_slot(self) -> None:
        if self._stopped:
            raise FullError("the server is closing")
        if len(self._active) < self._settings.session.limit:
            return
        idle = [session for session in self._active.values() if session.idle]
        if not idle:
            raise FullError("all places are taken: try again later")
        longest = min(idle, key=lambda session: session.idle_since_s)
        logger.info("parking an idle session for a new one")
        await self._end(longest, "expired", erase=False)

    @property
    def _active_lifetime_s(self) -> float:
        """How long an active session may live after a write of its lifetime, should the server be killed."""
        return self._settings.session.grace_s + 2.0 * RENEW_PERIOD_S

    async def _until_ended(self, session_id: str) -> None:
        """Wait for an end of this session that is under way."""
        while (ending := self._ending.get(session_id)) is not None:
            await asyncio.shield(ending)

    @contextlib.asynccontextmanager
    async def _end_of(self, session_id: str) -> AsyncIterator[None]:
        """While the body runs, the session is ending: nobody can activate it."""
        ended = self._ending[session_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._ending[session_id]
            ended.set_result(None)

    async def _end(self, session: Session, reason: str, *, erase: bool) -> None:
        """End an active session, and erase it or park it.

        :raises EraseError: if something of it stays for now.
        """
        if self._active.get(session.id) is not session:
            await self._until_ended(session.id)
            return
        async with self._end_of(session.id):
            del self._active[session.id]
            if reason != "deleted":
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
            if not erase and not is_kept(session.folder):
                self._parked[session.id] = session.idle_since_s
                self._folders.renew(session.id, self._settings.session.grace_s)

    async def _close(self, session: Session) -> None:
        if session.peer is not None:
            await session.peer.close()
        await self._engine.close(session.id)

    async def _end_quietly(self, session: Session, reason: str) -> None:
        """End an active session; it is erased, now or later, unless it is kept."""
        try:
            await self._end(session, reason, erase=not is_kept(session.folder))
        except EraseError as error:
            logger.error("%s", error)

    async def _end_parked(self, session_id: str) -> None:
        async with self._end_of(session_id):
            self._parked.pop(session_id, None)
            if not is_kept(self._folders.path(session_id)):
                await self._erase_later(session_id)

    async def _erase_later(self, session_id: str) -> None:
        """Erase a session now, or again and again by `_clean`."""
        known = self._folders.erases(session_id)
        try:
            await asyncio.to_thread(self._folders.erase, session_id)
        except EraseError as error:
            logger.log(logging.DEBUG if known else logging.ERROR, "%s", error)

    async def _clean(self) -> None:
        """Loop: end expired sessions, renew the lifetimes of active ones, erase what is to be erased."""
        now_s = time.monotonic()
        renewed_s, retried_s, swept_s = now_s, now_s, now_s
        while True:
            await asyncio.sleep(min(JANITOR_PERIOD_S, max(self._settings.session.grace_s / 4, 0.01)))
            now_s = time.monotonic()
            try:
                await self._expire()
                if now_s - renewed_s >= RENEW_PERIOD_S:
                    renewed_s = now_s
                    for session_id in self._active:
                        self._folders.renew(session_id, self._active_lifetime_s)
                if now_s - retried_s >= ERASE_RETRY_S:
                    retried_s = now_s
                    for session_id in self._folders.to_erase - self._ending.keys():
                        await self._erase_later(session_id)
                if now_s - swept_s >= SWEEP_PERIOD_S:
                    swept_s = now_s
                    await self.sweep()
            except Exception:  # one session's fault must not keep the others from being erased
                logger.exception("cleaning up failed; it is tried again")

    async def _expire(self) -> None:
        oldest_s = time.monotonic() - self._settings.session.grace_s
        for session in list(self._active.values()):
            if session.idle and session.idle_since_s < oldest_s:
                await self._end_quietly(session, "expired")
        for session_id, since_s in list(self._parked.items()):
            if since_s < oldest_s and session_id not in self._ending:
                await self._end_parked(session_id)

"""Sessions: who may begin one, what keeps it alive, when it ends, and what stays of it.

A session holds a slot while it is *active*. One that has neither a camera nor a page is *idle*; when somebody else
needs its slot it is *parked* - closed, its data still on disk - and it comes back when its page does. An idle or parked
session ends after the grace time, and with it all of its data unless the person asked to keep it.
"""

import asyncio
import contextlib
import logging
import re
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from fitme.errors import FitmeError
from fitme.session.folder import delete_session, is_kept, is_session, mark_kept
from fitme.stage import Stage
from stream.engine.interface import Engine
from stream.protocol.client_messages import Ack, ClientMessage, Delete, Keep
from stream.protocol.events import EndedEvent, Event, HelloEvent, KeptEvent, PeerEvent
from stream.protocol.protocol import PROTOCOL_VERSION
from stream.protocol.render import Render
from stream.protocol.scene import Scene
from stream.settings import ServeSettings
from stream.web.relay import Outbox, Relay
from stream.web.rtc import CameraPeer

logger = logging.getLogger(__name__)

ID_BYTES = 24
"""192 random bits."""
JANITOR_PERIOD_S = 0.5

_ID_PATTERN = re.compile(rf"[0-9a-f]{{{2 * ID_BYTES}}}")


class UnknownSessionError(FitmeError):
    """There is no such session, or no longer."""


class FullError(FitmeError):
    """All slots are taken."""


@dataclass(eq=False)
class Session:
    """One person's session while it is active; listens to the engine."""

    id: str
    folder: Path
    engine: Engine
    resumed: bool
    """It has data from before it became active."""
    relay: Relay = field(default_factory=Relay)
    scene: Scene = field(default_factory=Scene)
    peer: CameraPeer | None = None
    connected_number: int = 0
    """Number of `peer`."""
    peer_number: int = 0
    """Number of the newest offer."""
    connecting: int = 0
    """Offers that are being answered."""
    idle_since_s: float = field(default_factory=time.monotonic)
    _render_requested: bool = False

    @property
    def idle(self) -> bool:
        """Neither a camera nor a page."""
        return self.peer is None and not self.connecting and len(self.relay) == 0

    def on_event(self, event: Event) -> None:
        """From the engine."""
        self.relay.publish(event)

    def on_render(self, render: Render) -> None:
        """From the engine."""
        self._render_requested = False
        self.relay.show(render)
        self.request_render()

    def request_render(self) -> None:
        """Ask the engine for a render if some page would draw it; at most one is asked for at a time."""
        if not self._render_requested and self.relay.accepts_renders:
            self._render_requested = True
            self.engine.request_render(self.id)

    def set_scene(self, scene: Scene) -> None:
        """Change the controls and tell every page."""
        self.scene = scene
        self.engine.set_scene(self.id, scene)
        self.relay.publish(scene.event())


class SessionTable:
    """All sessions of a server."""

    def __init__(self, settings: ServeSettings, engine: Engine) -> None:
        self._settings = settings
        self._engine = engine
        self._active: dict[str, Session] = {}
        self._parked: dict[str, float] = {}
        self._ending: dict[str, asyncio.Future[None]] = {}
        self._janitor: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        return len(self._active)

    async def start(self) -> None:
        """Find what an earlier server left, and begin to end what is over."""
        self._settings.store.mkdir(parents=True, exist_ok=True)
        now_s = time.monotonic()
        for folder in self._settings.store.iterdir():
            if _ID_PATTERN.fullmatch(folder.name) and folder.is_dir() and not is_kept(folder):
                self._parked[folder.name] = now_s
        self._janitor = asyncio.create_task(self._clean())

    async def stop(self) -> None:
        """End all sessions; those that are kept stay on disk."""
        if self._janitor is not None:
            self._janitor.cancel()
        for session in list(self._active.values()):
            await self._end(session, "shutdown", delete=not is_kept(session.folder))
        for session_id in list(self._parked):
            self._forget_parked(session_id)

    def get(self, session_id: str) -> Session:
        """An active session.

        :raises UnknownSessionError: if there is none of this id.
        """
        session = self._active.get(session_id)
        if session is None:
            raise UnknownSessionError("there is no such session, or it has ended: begin a new one")
        return session

    async def activate(self, session_id: str | None) -> Session:
        """The session of this id, brought back from disk if need be; a new one without an id.

        :raises UnknownSessionError: if there is none of this id.
        :raises FullError: if there is no slot for it.
        """
        if session_id in self._active:
            return self._active[session_id]
        if session_id is not None:
            folder = self._folder(session_id)
            with contextlib.suppress(KeyError):
                await self._ending[session_id]
            if not is_session(folder) or not (session_id in self._parked or is_kept(folder)):
                raise UnknownSessionError("there is no such session, or it has ended: begin a new one")
        await self._free_slot()
        if session_id in self._active:
            return self._active[session_id]
        resumed = session_id is not None
        session_id = session_id or secrets.token_hex(ID_BYTES)
        session = Session(session_id, self._folder(session_id), self._engine, resumed)
        self._active[session_id] = session
        self._parked.pop(session_id, None)
        self._engine.open(session_id, session.folder, session.scene, session)
        session.relay.publish(session.scene.event())
        session.relay.publish(KeptEvent(is_kept(session.folder)))
        return session

    async def connect(self, session_id: str | None, sdp: str) -> tuple[Session, str, int]:
        """Answer a camera's offer: the session, the answer's SDP, the number of the peer.

        :raises UnknownSessionError: if there is none of this id.
        :raises FullError: if there is no slot for it.
        :raises OfferError: if the offer cannot be used; a session that was begun for it is gone again.
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
                    await self._end(session, "expired", delete=True)
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
        """A page begins to watch.

        :raises FullError: if too many do.
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
        """A page is gone."""
        session.relay.leave(outbox)
        session.idle_since_s = time.monotonic()

    async def handle(self, session: Session, outbox: Outbox, message: ClientMessage) -> None:
        """Do what a page's message asks for."""
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
        """Remember whether the session's data stays when it ends."""
        await asyncio.to_thread(mark_kept, session.folder, kept)
        session.relay.publish(KeptEvent(kept))

    async def delete(self, session_id: str) -> None:
        """End a session, active or not, and remove all of its data.

        :raises UnknownSessionError: if there is none of this id.
        """
        if session_id in self._active:
            await self._end(self._active[session_id], "deleted", delete=True)
            return
        folder = self._folder(session_id)
        if not folder.exists():
            raise UnknownSessionError("there is no such session, or it has ended")
        self._parked.pop(session_id, None)
        await asyncio.to_thread(delete_session, folder)

    def _folder(self, session_id: str) -> Path:
        if not _ID_PATTERN.fullmatch(session_id):
            raise UnknownSessionError("this is not the id of a session")
        return self._settings.store / session_id

    def _peer_changed(self, session: Session, number: int, peer: CameraPeer, state: str) -> None:
        if session.peer is not peer:
            return
        if state == "closed":
            session.peer = None
            session.idle_since_s = time.monotonic()
        session.relay.publish(PeerEvent(number, state))

    async def _free_slot(self) -> None:
        if len(self._active) < self._settings.session.limit:
            return
        idle = [session for session in self._active.values() if session.idle]
        if not idle:
            raise FullError("all places are taken: try again later")
        longest = min(idle, key=lambda session: session.idle_since_s)
        logger.info("parking an idle session for a new one")
        await self._end(longest, "expired", delete=False)
        if len(self._active) >= self._settings.session.limit:
            raise FullError("all places are taken: try again later")
        if not is_kept(longest.folder):
            self._parked[longest.id] = longest.idle_since_s

    async def _end(self, session: Session, reason: str, *, delete: bool) -> None:
        if self._active.get(session.id) is not session:
            if session.id in self._ending:
                await self._ending[session.id]
            return
        ended = self._ending[session.id] = asyncio.get_running_loop().create_future()
        del self._active[session.id]
        try:
            session.relay.publish(EndedEvent(reason))
            session.relay.close()
            if session.peer is not None:
                await session.peer.close()
            await self._engine.close(session.id, delete=delete)
        finally:
            del self._ending[session.id]
            ended.set_result(None)

    async def _clean(self) -> None:
        grace_s = self._settings.session.grace_s
        while True:
            await asyncio.sleep(min(JANITOR_PERIOD_S, max(grace_s / 4, 0.01)))
            oldest_s = time.monotonic() - grace_s
            for session in list(self._active.values()):
                if session.idle and session.idle_since_s < oldest_s:
                    await self._end(session, "expired", delete=not is_kept(session.folder))
            for session_id, since_s in list(self._parked.items()):
                if since_s < oldest_s:
                    self._forget_parked(session_id)

    def _forget_parked(self, session_id: str) -> None:
        del self._parked[session_id]
        folder = self._folder(session_id)
        if is_kept(folder):
            return
        try:
            delete_session(folder)
        except FitmeError:
            logger.exception("an expired session could not be removed")

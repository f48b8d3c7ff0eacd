"""Pages of a session: the owner's, which steer it, and those of view links, which watch it."""

import time

from fitme.stage import Stage
from stream.protocol.client_messages import Ack, ClientMessage, Delete, Keep, Receive
from stream.protocol.events import HelloEvent
from stream.protocol.protocol import PROTOCOL_VERSION, Role
from stream.settings import ServeSettings
from stream.web.peers.network import PeerNetwork
from stream.web.peers.voice import NoVoiceError
from stream.web.relay import Joining, Outbox
from stream.web.sessions.errors import FullError
from stream.web.sessions.rights import Caller, ForbiddenError, ViewLink
from stream.web.sessions.session import Session
from stream.web.sessions.table import SessionTable


class Viewing:
    """Joins pages to sessions and carries out what they ask."""

    def __init__(self, settings: ServeSettings, network: PeerNetwork, table: SessionTable) -> None:
        self._settings = settings
        self._network = network
        self._table = table

    def hello(self, session: Session | None, role: Role) -> HelloEvent:
        """First message to a page; viewers do not learn the session's name."""
        size = self._settings.render.size_px
        name = session.id if session is not None and role is Role.OWNER else ""
        resumed = session is not None and session.resumed
        avatar, model = ("", "") if session is None else (session.relay.avatar.name, session.engine.model_digest)
        return HelloEvent(PROTOCOL_VERSION, name, resumed, tuple(Stage), size, size, role, avatar, model)

    def join(self, session: Session, link: ViewLink | None, joining: Joining) -> Outbox:
        """Add a page of the owner, or of a view link; returns its outbox.

        :raises FullError: if too many pages watch already.
        """
        relay, limits = session.relay, self._settings.session
        count, limit = (relay.owners, limits.watchers_limit) if link is None else (relay.viewers, limits.viewers_limit)
        if count >= limit:
            raise FullError(f"{count} pages watch this session already: close one of them")
        role = Role.OWNER if link is None else Role.VIEWER
        outbox = relay.join(self.hello(session, role), None if link is None else link.id, joining)
        if link is not None:
            session.count_viewers()
        session.request_render()
        return outbox

    def leave(self, session: Session, outbox: Outbox) -> None:
        """Remove a page."""
        session.relay.leave(outbox)
        if outbox.link is None:
            session.idle_since_s = time.monotonic()
        else:
            session.count_viewers()

    async def handle(self, session: Session, outbox: Outbox, message: ClientMessage, caller: Caller) -> None:
        """Carry out a page's message.

        :raises ForbiddenError: if a viewer asks for anything but the next render or other feeds.
        """
        if isinstance(message, Ack):
            outbox.acknowledge(message.sequence)
            session.request_render()
            return
        if isinstance(message, Receive):
            outbox.receive(message.feeds)
            session.request_render()
            return
        if outbox.link is not None:
            raise ForbiddenError("a view link may watch, and nothing else")
        match message:
            case Keep(keep):
                await self._table.keep(session, keep)
            case Delete():
                await self._table.delete(session.id, caller)
            case _:
                session.set_scene(session.scene.changed(message))

    async def listen(self, session: Session, link: ViewLink, sdp: str, caller: Caller) -> str:
        """Answer a viewer's offer to hear the owner; returns the answer.

        :raises NoVoiceError: if the owner's microphone is off.
        :raises FullError: if too many listen already.
        :raises OfferError: if the offer cannot be used.
        """
        if session.voice is None:
            raise NoVoiceError("the owner's microphone is off")
        if len(session.voice) >= self._settings.session.viewers_limit:
            raise FullError("too many listen already")
        candidates, timeout_s = self._network.candidates_of(caller.address), self._settings.session.connect_timeout_s
        return await session.voice.listen(sdp, link.id, self._network, candidates, timeout_s)

    async def add_link(self, session: Session, lifetime_s: float | None) -> tuple[ViewLink, str]:
        """Make a view link; returns it and its token.

        :raises LinkLimitError: if the session has as many as it may have.
        :raises StoreError: if it cannot be written; it counts until the session ends.
        """
        rights, link, token = session.rights.with_link(lifetime_s, time.time(), self._settings.session.links_limit)
        await self._table.change_rights(session, rights)
        return link, token

    async def revoke_link(self, session: Session, link_id: str) -> None:
        """End a view link, and disconnect whoever watches by it; no error if there is none.

        :raises StoreError: if that cannot be written; the link has ended until the server does.
        """
        session.end_link(link_id)
        await self._table.change_rights(session, session.rights.without_link(link_id))

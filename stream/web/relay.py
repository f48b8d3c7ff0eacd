"""Distribution of a session's events, renders, parameters and pieces to the pages that watch it: a slow page delays no
other one.

Each page has an `Outbox`, emptied by that page's own task. For a slow page, only the newest render, the newest
parameters, the slots of the avatar that have changed and the last event of most kinds are queued, so the queue is
bounded. A page that never acknowledges receives one render and then only events; after `PATIENCE_S` nothing is rendered
for it.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import msgspec

from stream.protocol.avatar import Slot
from stream.protocol.events import (
    PERSISTENT_ERRORS,
    PERSISTENT_EVENTS,
    VIEWER_EVENTS,
    ErrorEvent,
    Event,
    TrackingEvent,
)
from stream.protocol.protocol import CLOSE_ENDED, CLOSE_REVOKED, DEFAULT_FEEDS, Feed
from stream.protocol.render import Render
from stream.protocol.requests import HeldAvatar
from stream.web.avatar_state import AvatarState

PASSING_EVENTS_LIMIT = 16
"""Other events (errors, the camera's, the end) in one page's queue; the oldest are dropped."""
COALESCED_EVENTS = frozenset(PERSISTENT_EVENTS) - {"peer"}
"""Kinds of events of which only the last one is queued."""
PATIENCE_S = 0.5
"""A page that has not acknowledged a render for this long accepts none until it does."""
SLIM_PERIOD_S = 1.0
"""Between two `tracking` events that say nothing new to a page without the feed `LANDMARKS`."""


class Outbox:
    """Queue of what is to be sent to one page."""

    def __init__(self, avatar: AvatarState, feeds: frozenset[Feed] = DEFAULT_FEEDS, link: str | None = None) -> None:
        """
        :param avatar: of the session.
        :param link: id of the view link by which a viewer watches; None for a page of the owner.
        """
        self.feeds = feeds
        self.link = link
        self.close_code = CLOSE_ENDED
        """Code with which the websocket is closed at the end."""
        self._avatar = avatar
        self._slots: dict[Slot, None] = {}
        """Slots whose newest pieces are to be sent, in order."""
        self._parameters: bytes | None = None
        self._piece_first = False
        """The last thing sent were parameters: a slow page gets pieces all the same."""
        self._events: dict[str | int, Event] = {}
        self._passing = 0
        self._render: Render | None = None
        self._in_flight: int | None = None
        self._sent_time_s = 0.0
        self._filled = asyncio.Event()
        self._closed = False

    @property
    def accepts_renders(self) -> bool:
        """Whether the page takes renders, and acknowledges them as fast as they are sent."""
        patient = self._in_flight is None or time.monotonic() - self._sent_time_s < PATIENCE_S
        return Feed.RENDERS in self.feeds and patient and not self._closed

    def receive(self, feeds: frozenset[Feed], held: HeldAvatar | None = None) -> None:
        """Change what the page receives.

        :param held: the avatar that it has, if it asks for the feed `AVATAR` only now.
        """
        asked = feeds - self.feeds
        self.feeds = feeds
        if Feed.AVATAR in asked:
            self.queue_pieces(self._avatar.slots_after(held))
        if Feed.AVATAR not in feeds:
            self._slots.clear()
        if Feed.PARAMETERS not in feeds:
            self._parameters = None
        if Feed.RENDERS not in feeds:
            self._render = self._in_flight = None

    def put(self, event: Event) -> None:
        """Queue an event, in place of a queued one of the same kind in `COALESCED_EVENTS`."""
        if event.type in COALESCED_EVENTS:
            self._events.pop(event.type, None)
            self._events[event.type] = event
        else:
            self._events[self._passing] = event
            self._passing += 1
            self._events.pop(self._passing - 1 - PASSING_EVENTS_LIMIT, None)
        self._filled.set()

    def publish(self, event: Event) -> None:
        """Queue an event of the session; viewers get only those of `VIEWER_EVENTS`."""
        if self.link is None or event.type in VIEWER_EVENTS:
            self.put(event)

    def show(self, render: Render) -> None:
        """Queue a render, in place of a queued one."""
        if Feed.RENDERS in self.feeds:
            self._render = render
            self._filled.set()

    def move(self, parameters: bytes) -> None:
        """Queue packed parameters, in place of queued ones."""
        if Feed.PARAMETERS in self.feeds:
            self._parameters = parameters
            self._filled.set()

    def queue_pieces(self, slots: Iterable[Slot]) -> None:
        """Queue the newest pieces of slots, each once."""
        if Feed.AVATAR in self.feeds:
            self._slots.update(dict.fromkeys(slots))
            self._filled.set()

    def acknowledge(self, sequence: int) -> None:
        """Note that the page has drawn or dropped the render in flight; other sequence numbers are ignored."""
        if sequence == self._in_flight:
            self._in_flight = None
            self._filled.set()

    def close(self, code: int = CLOSE_ENDED) -> None:
        """End the queue: `take` returns None after the queued events."""
        self.close_code = code
        self._closed = True
        self._filled.set()

    async def take(self) -> Event | Render | bytes | None:
        """Wait for what is to be sent next: events, then parameters and pieces in turn, then renders; None at the end.

        Parameters and pieces are binary messages, ready to be sent.
        """
        while True:
            if self._events:
                return self._events.pop(next(iter(self._events)))
            if self._closed:
                return None
            if (message := self._take_message()) is not None:
                return message
            if self._render is not None and self._in_flight is None:
                render, self._render = self._render, None
                self._in_flight, self._sent_time_s = render.sequence, time.monotonic()
                return replace(render, sent_time_s=self._sent_time_s)
            self._filled.clear()
            await self._filled.wait()

    def _take_message(self) -> bytes | None:
        """Parameters or a piece."""
        if self._parameters is not None and not (self._piece_first and self._slots):
            self._piece_first = True
            message, self._parameters = self._parameters, None
            return message
        self._piece_first = False
        while self._slots:
            slot = next(iter(self._slots))
            del self._slots[slot]
            piece = self._avatar.message(slot, last=not self._slots)
            if piece is not None:
                return piece
        return None


@dataclass
class _SlimTracking:
    """What pages without landmarks know of the face."""

    known: tuple[str, str | None] | None = None
    due_s: float = 0.0

    def of(self, event: TrackingEvent) -> TrackingEvent | None:
        """The event without landmarks; None if it says nothing new."""
        state, now_s = (event.status, event.prompt), time.monotonic()
        if state == self.known and now_s < self.due_s:
            return None
        self.known, self.due_s = state, now_s + SLIM_PERIOD_S
        return msgspec.structs.replace(event, landmarks=None)


def _without_landmarks(event: Event) -> Event:
    return msgspec.structs.replace(event, landmarks=None) if isinstance(event, TrackingEvent) else event


@dataclass(frozen=True)
class Joining:
    """What a page asks for when it joins."""

    feeds: frozenset[Feed] = DEFAULT_FEEDS
    held: HeldAvatar | None = field(default=None)


class Relay:
    """Outboxes of all pages that watch a session, the last event of each persistent kind, persistent errors, and the
    avatar."""

    def __init__(self) -> None:
        self.avatar = AvatarState()
        self._slim = _SlimTracking()
        self._outboxes: set[Outbox] = set()
        self._last: dict[str, Event] = {}
        self._errors: dict[str, ErrorEvent] = {}
        """Persistent errors, by their codes."""

    @property
    def owners(self) -> int:
        """Number of the owner's pages."""
        return sum(outbox.link is None for outbox in self._outboxes)

    @property
    def viewers(self) -> int:
        """Number of pages that watch by view links."""
        return sum(outbox.link is not None for outbox in self._outboxes)

    def viewers_of(self, link: str) -> int:
        """Number of pages that watch by one view link."""
        return sum(outbox.link == link for outbox in self._outboxes)

    @property
    def accepts_renders(self) -> bool:
        """Whether some page acknowledges renders as fast as they are sent."""
        return any(outbox.accepts_renders for outbox in self._outboxes)

    def join(self, hello: Event, link: str | None = None, joining: Joining | None = None) -> Outbox:
        """Add a page; its outbox begins with `hello`, then the last event of each persistent kind and error, then what
        it lacks of the avatar.

        :param link: id of a viewer's link; None for a page of the owner.
        """
        joining = joining or Joining()
        outbox = Outbox(self.avatar, joining.feeds, link)
        outbox.put(hello)
        lasting = [self._last[kind] for kind in PERSISTENT_EVENTS if kind in self._last]
        for event in (*lasting, *self._errors.values()):
            outbox.publish(event if Feed.LANDMARKS in joining.feeds else _without_landmarks(event))
        outbox.queue_pieces(self.avatar.slots_after(joining.held))
        self._outboxes.add(outbox)
        return outbox

    def leave(self, outbox: Outbox) -> None:
        """Remove a page."""
        outbox.close()
        self._outboxes.discard(outbox)

    def publish(self, event: Event) -> None:
        """Queue an event for every page; persistent kinds and errors also for pages that join later."""
        if event.type in PERSISTENT_EVENTS:
            self._last[event.type] = event
        if isinstance(event, ErrorEvent) and event.code in PERSISTENT_ERRORS:
            self._errors[event.code] = event
        slim = self._slim.of(event) if isinstance(event, TrackingEvent) else event
        for outbox in self._outboxes:
            if Feed.LANDMARKS in outbox.feeds:
                outbox.publish(event)
            elif slim is not None:
                outbox.publish(slim)

    def move(self, parameters: bytes) -> None:
        """Queue packed parameters for every page that receives them."""
        for outbox in self._outboxes:
            outbox.move(parameters)

    def update_avatar(self, pieces: Sequence[tuple[Slot, bytes]], dropped: Sequence[Slot]) -> None:
        """Take packed pieces into the avatar, and queue what has changed for every page that draws it."""
        changed = self.avatar.put(pieces, dropped)
        for outbox in self._outboxes:
            outbox.queue_pieces(changed)

    def show(self, render: Render) -> None:
        """Queue a render for every page."""
        for outbox in self._outboxes:
            outbox.show(render)

    def close(self, code: int = CLOSE_ENDED) -> None:
        """End every page's queue."""
        for outbox in self._outboxes:
            outbox.close(code)

    def close_link(self, link: str) -> None:
        """End the queues of all viewers of a link that has been revoked."""
        for outbox in self._outboxes:
            if outbox.link == link:
                outbox.close(CLOSE_REVOKED)

"""Distribution of a session's events and renders to the pages that watch it: a slow page delays no other one.

Each page has an `Outbox`, emptied by that page's own task. For a slow page, only the newest render and the last event
of most kinds are queued, so the queue is bounded. A page that never acknowledges receives one render and then only
events; after `PATIENCE_S` nothing is rendered for it.
"""

import asyncio
import time
from dataclasses import replace

from stream.protocol.events import PERSISTENT_ERRORS, PERSISTENT_EVENTS, VIEWER_EVENTS, ErrorEvent, Event
from stream.protocol.protocol import CLOSE_ENDED, CLOSE_REVOKED
from stream.protocol.render import Render

PASSING_EVENTS_LIMIT = 16
"""Other events (errors, the camera's, the end) in one page's queue; the oldest are dropped."""
COALESCED_EVENTS = frozenset(PERSISTENT_EVENTS) - {"peer"}
"""Kinds of events of which only the last one is queued."""
PATIENCE_S = 0.5
"""A page that has not acknowledged a render for this long accepts none until it does."""


class Outbox:
    """Queue of what is to be sent to one page."""

    def __init__(self, link: str | None = None) -> None:
        """
        :param link: id of the view link by which a viewer watches; None for a page of the owner.
        """
        self.link = link
        self.close_code = CLOSE_ENDED
        """Code with which the websocket is closed at the end."""
        self._events: dict[str | int, Event] = {}
        self._passing = 0
        self._render: Render | None = None
        self._in_flight: int | None = None
        self._sent_time_s = 0.0
        self._filled = asyncio.Event()
        self._closed = False

    @property
    def accepts_renders(self) -> bool:
        """Whether the page acknowledges renders as fast as they are sent."""
        patient = self._in_flight is None or time.monotonic() - self._sent_time_s < PATIENCE_S
        return patient and not self._closed

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
        self._render = render
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

    async def take(self) -> Event | Render | None:
        """Wait for what is to be sent next: events before renders; None at the end."""
        while True:
            if self._events:
                return self._events.pop(next(iter(self._events)))
            if self._closed:
                return None
            if self._render is not None and self._in_flight is None:
                render, self._render = self._render, None
                self._in_flight, self._sent_time_s = render.sequence, time.monotonic()
                return replace(render, sent_time_s=self._sent_time_s)
            self._filled.clear()
            await self._filled.wait()


class Relay:
    """Outboxes of all pages that watch a session, the last event of each persistent kind, and persistent errors."""

    def __init__(self) -> None:
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

    def join(self, hello: Event, link: str | None = None) -> Outbox:
        """Add a page; its outbox begins with `hello`, then the last event of each persistent kind and error.

        :param link: id of a viewer's link; None for a page of the owner.
        """
        outbox = Outbox(link)
        outbox.put(hello)
        lasting = [self._last[kind] for kind in PERSISTENT_EVENTS if kind in self._last]
        for event in (*lasting, *self._errors.values()):
            outbox.publish(event)
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
        for outbox in self._outboxes:
            outbox.publish(event)

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

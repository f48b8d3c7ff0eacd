"""From one session to all pages that watch it: events in order, renders newest-first, slow readers on their own.

Each page has an `Outbox`, emptied by that page's own task. A page that reads slowly finds only the newest render and
the last event of most kinds when it comes back, so what waits for it is bounded; one that never acknowledges
gets one render and then only events, and after a moment nothing is rendered for it any more.
"""

import asyncio
import time
from dataclasses import replace

from stream.protocol.events import PERSISTENT_EVENTS, Event
from stream.protocol.render import Render

PASSING_EVENTS_LIMIT = 16
"""Other events (errors, the camera's, the end) that may wait for one page; the oldest go first."""
COALESCED_EVENTS = frozenset(PERSISTENT_EVENTS) - {"peer"}
"""Kinds of which only the last one matters to a page that has not read the others yet."""
PATIENCE_S = 0.5
"""A page that has not acknowledged a render for this long wants none for now."""


class Outbox:
    """What is to be sent to one page."""

    def __init__(self) -> None:
        self._events: dict[str | int, Event] = {}
        self._passing = 0
        self._render: Render | None = None
        self._in_flight: int | None = None
        self._sent_time_s = 0.0
        self._filled = asyncio.Event()
        self._closed = False

    @property
    def accepts_renders(self) -> bool:
        """It draws renders about as fast as they come."""
        patient = self._in_flight is None or time.monotonic() - self._sent_time_s < PATIENCE_S
        return patient and not self._closed

    def put(self, event: Event) -> None:
        """Queue an event; of some kinds only the last one is kept."""
        if event.type in COALESCED_EVENTS:
            self._events.pop(event.type, None)
            self._events[event.type] = event
        else:
            self._events[self._passing] = event
            self._passing += 1
            self._events.pop(self._passing - 1 - PASSING_EVENTS_LIMIT, None)
        self._filled.set()

    def show(self, render: Render) -> None:
        """Offer a render; it replaces one that waits."""
        self._render = render
        self._filled.set()

    def acknowledge(self, sequence: int) -> None:
        """The page has done with the render in flight; acknowledgements of others mean nothing."""
        if sequence == self._in_flight:
            self._in_flight = None
            self._filled.set()

    def close(self) -> None:
        """Let `take` return None once all events have been taken."""
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
    """Everything that a session tells its pages."""

    def __init__(self) -> None:
        self._outboxes: set[Outbox] = set()
        self._last: dict[str, Event] = {}

    def __len__(self) -> int:
        return len(self._outboxes)

    @property
    def accepts_renders(self) -> bool:
        """Some page draws renders about as fast as they come."""
        return any(outbox.accepts_renders for outbox in self._outboxes)

    def join(self, hello: Event) -> Outbox:
        """A new page: it gets `hello`, then the last event of each lasting kind."""
        outbox = Outbox()
        outbox.put(hello)
        for kind in PERSISTENT_EVENTS:
            if kind in self._last:
                outbox.put(self._last[kind])
        self._outboxes.add(outbox)
        return outbox

    def leave(self, outbox: Outbox) -> None:
        """The page is gone."""
        outbox.close()
        self._outboxes.discard(outbox)

    def publish(self, event: Event) -> None:
        """Tell every page, now and later."""
        if event.type in PERSISTENT_EVENTS:
            self._last[event.type] = event
        for outbox in self._outboxes:
            outbox.put(event)

    def show(self, render: Render) -> None:
        """Offer a render to every page."""
        for outbox in self._outboxes:
            outbox.show(render)

    def close(self) -> None:
        """Let every page's `take` come to its end."""
        for outbox in self._outboxes:
            outbox.close()

"""Newest render wins, one in flight, and no page can slow or fill another."""

import asyncio
from dataclasses import replace

import pytest

from fitme.stage import Stage
from stream.protocol.events import EndedEvent, ErrorEvent, Event, HelloEvent, KeptEvent, PeerEvent, ProgressEvent
from stream.protocol.render import Codec, Render
from stream.web.relay import PASSING_EVENTS_LIMIT, Outbox, Relay

HELLO = HelloEvent(1, "0", False, ("waiting",), 4, 4)


def render(sequence: int) -> Render:
    return Render(sequence, Codec.JPEG, 0, 4, 4, 0.0, 0.0, 0.0, 0.0, (0.0,) * 6, 0, b"x")


async def taken(outbox: Outbox) -> Event | Render | None:
    return await asyncio.wait_for(outbox.take(), 1.0)


async def nothing_comes(outbox: Outbox) -> bool:
    try:
        await asyncio.wait_for(outbox.take(), 0.02)
    except TimeoutError:
        return True
    return False


async def test_newest_render_wins_and_one_is_in_flight() -> None:
    relay = Relay()
    outbox = relay.join(HELLO)
    assert await taken(outbox) == HELLO
    for sequence in (1, 2, 3):
        relay.show(render(sequence))
    first = await taken(outbox)
    assert isinstance(first, Render)
    assert first.sequence == 3
    assert first.sent_time_s > 0
    relay.show(render(4))
    relay.show(render(5))
    assert await nothing_comes(outbox)
    outbox.acknowledge(4)
    assert await nothing_comes(outbox)
    outbox.acknowledge(3)
    second = await taken(outbox)
    assert isinstance(second, Render)
    assert replace(second, sent_time_s=0.0) == render(5)


async def test_late_joiner_hears_what_lasts() -> None:
    relay = Relay()
    relay.publish(ProgressEvent(Stage.SKIN, 0.3, True))
    relay.publish(ErrorEvent("x", "passing"))
    relay.publish(ErrorEvent("session_unreadable", "lasting"))
    relay.publish(KeptEvent(False))
    relay.publish(ProgressEvent(Stage.TUNING, 1.0, True))
    outbox = relay.join(HELLO)
    got = [await taken(outbox) for _ in range(4)]
    lasting = ErrorEvent("session_unreadable", "lasting")
    assert got == [HELLO, KeptEvent(False), ProgressEvent(Stage.TUNING, 1.0, True), lasting]
    assert await nothing_comes(outbox)


async def test_slow_page_gets_the_last_of_each_kind_and_all_peers() -> None:
    relay = Relay()
    outbox = relay.join(HELLO)
    for number in range(1000):
        relay.publish(ProgressEvent(Stage.SKIN, number / 1000, True))
        relay.publish(KeptEvent(number % 2 == 0))
    relay.publish(PeerEvent(1, "replaced"))
    relay.publish(PeerEvent(2, "connecting"))
    got = [await taken(outbox) for _ in range(5)]
    expected = [HELLO, ProgressEvent(Stage.SKIN, 0.999, True), KeptEvent(False)]
    assert got == [*expected, PeerEvent(1, "replaced"), PeerEvent(2, "connecting")]


async def test_what_waits_is_bounded() -> None:
    outbox = Relay().join(HELLO)
    for number in range(1000):
        outbox.put(ErrorEvent("bad_message", str(number)))
    outbox.close()
    got = []
    while (event := await taken(outbox)) is not None:
        got.append(event)
    assert len(got) == PASSING_EVENTS_LIMIT
    assert got[-1] == ErrorEvent("bad_message", "999")


async def test_page_that_never_acknowledges_leaves_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.web.relay.PATIENCE_S", 0.05)
    relay = Relay()
    silent, lively = relay.join(HELLO), relay.join(HELLO)
    await taken(silent)
    await taken(lively)
    for sequence in range(1, 50):
        relay.show(render(sequence))
        if sequence == 1:
            assert isinstance(await taken(silent), Render)
        shown = await taken(lively)
        assert isinstance(shown, Render)
        assert shown.sequence == sequence
        lively.acknowledge(sequence)
    assert relay.accepts_renders
    relay.leave(lively)
    await asyncio.sleep(0.06)
    assert not relay.accepts_renders
    silent.acknowledge(1)
    assert relay.accepts_renders


async def test_the_end_comes_last() -> None:
    relay = Relay()
    outbox = relay.join(HELLO)
    relay.show(render(1))
    relay.publish(EndedEvent("deleted"))
    relay.close()
    assert [await taken(outbox) for _ in range(3)] == [HELLO, EndedEvent("deleted"), None]

"""Newest render wins, one in flight, and no page can slow or fill another."""

import asyncio
from dataclasses import replace

import pytest

from fitme.stage import Stage
from stream.protocol.avatar import Piece, PieceKind, Slot
from stream.protocol.events import (
    EndedEvent,
    ErrorEvent,
    Event,
    HelloEvent,
    KeptEvent,
    PeerEvent,
    ProgressEvent,
    TrackingEvent,
)
from stream.protocol.protocol import Feed
from stream.protocol.render import Codec, Render
from stream.protocol.requests import HeldAvatar
from stream.web.relay import PASSING_EVENTS_LIMIT, Joining, Outbox, Relay

HELLO = HelloEvent(1, "0", False, ("waiting",), 4, 4)


def render(sequence: int) -> Render:
    return Render(sequence, Codec.JPEG, 0, 4, 4, 0.0, 0.0, 0.0, 0.0, (0.0,) * 6, 0, b"x")


async def taken(outbox: Outbox) -> Event | Render | bytes | None:
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


def piece(number: int, size: int = 1) -> tuple[Slot, bytes]:
    slot = Slot(PieceKind.TILE, 0, number)
    return slot, Piece(slot, {"n": number}, bytes(size)).pack()


async def pieces_of(outbox: Outbox) -> list[Piece]:
    got = []
    while not await nothing_comes_but(outbox, got):
        pass
    return got


async def nothing_comes_but(outbox: Outbox, got: list[Piece]) -> bool:
    """Whether nothing comes any more; a piece that does is added to `got`."""
    try:
        message = await asyncio.wait_for(outbox.take(), 0.02)
    except TimeoutError:
        return True
    if isinstance(message, bytes):
        got.append(Piece.unpack(message))
    return False


DRAWING = Joining(frozenset({Feed.AVATAR, Feed.PARAMETERS}))


async def test_late_joiner_gets_the_newest_piece_of_each_slot_and_nothing_that_it_has() -> None:
    relay = Relay()
    relay.update_avatar([piece(0), piece(1), piece(2)], [])
    early = await pieces_of(relay.join(HELLO, joining=DRAWING))
    assert [(got.slot.tile, got.version, got.complete) for got in early] == [
        (0, 1, False), (1, 2, False), (2, 3, True),
    ]  # fmt: skip
    relay.update_avatar([piece(1, 5), piece(0)], [Slot(PieceKind.TILE, 0, 2)])  # 0 is as it was
    late = await pieces_of(relay.join(HELLO, joining=DRAWING))
    assert [(got.slot.tile, got.version, got.complete) for got in late] == [(0, 1, False), (1, 4, True)]
    held = HeldAvatar(relay.avatar.name, 3)
    again = await pieces_of(relay.join(HELLO, joining=Joining(DRAWING.feeds, held)))
    assert [(got.slot.tile, len(got.payload)) for got in again] == [(1, 5)]
    other = await pieces_of(relay.join(HELLO, joining=Joining(DRAWING.feeds, HeldAvatar("other", 3))))
    assert len(other) == 2
    assert not await pieces_of(relay.join(HELLO))


async def test_what_waits_for_a_page_that_never_reads_is_the_newest() -> None:
    relay = Relay()
    silent = relay.join(HELLO, joining=DRAWING)
    assert await taken(silent) == HELLO
    for number in range(1000):
        relay.move(b"parameters %d" % number)
        relay.update_avatar([piece(0, number + 1), piece(1, number + 1)], [])
    assert await taken(silent) == b"parameters 999"
    got = await pieces_of(silent)
    assert [(found.slot.tile, len(found.payload), found.complete) for found in got] == [
        (0, 1000, False),
        (1, 1000, True),
    ]


async def test_pieces_come_between_parameters() -> None:
    """A slow page, for which new parameters always wait, gets the avatar all the same."""
    relay = Relay()
    relay.update_avatar([piece(number) for number in range(3)], [])
    outbox = relay.join(HELLO, joining=DRAWING)
    assert await taken(outbox) == HELLO
    kinds = []
    for _ in range(6):
        relay.move(b"parameters")
        kinds.append(await taken(outbox) == b"parameters")
    assert kinds == [True, False] * 3


async def test_a_page_that_draws_for_itself_asks_for_no_renders() -> None:
    relay = Relay()
    outbox = relay.join(HELLO, joining=DRAWING)
    assert not relay.accepts_renders
    relay.show(render(1))
    assert await taken(outbox) == HELLO
    assert await nothing_comes(outbox)
    outbox.receive(frozenset({Feed.RENDERS}))
    assert relay.accepts_renders
    relay.move(b"parameters")
    relay.update_avatar([piece(0)], [])
    relay.show(render(2))
    shown = await taken(outbox)
    assert isinstance(shown, Render)
    assert await nothing_comes(outbox)
    outbox.receive(frozenset({Feed.AVATAR}))
    assert [got.slot.tile for got in await pieces_of(outbox)] == [0]


async def test_landmarks_are_for_those_who_ask() -> None:
    relay = Relay()
    mine, theirs = relay.join(HELLO), relay.join(HELLO, joining=DRAWING)
    await taken(mine)
    await taken(theirs)
    for number in range(5):
        relay.publish(tracking("ok", number))
        event = await taken(mine)
        assert isinstance(event, TrackingEvent)
        assert event.landmarks == (number,)
    first = await taken(theirs)
    assert isinstance(first, TrackingEvent)
    assert first.landmarks is None
    assert await nothing_comes(theirs)
    relay.publish(tracking("no_face", 6))
    changed = await taken(theirs)
    assert isinstance(changed, TrackingEvent)
    assert (changed.status, changed.landmarks) == ("no_face", None)
    late = relay.join(HELLO, joining=DRAWING)
    await taken(late)
    told = await taken(late)
    assert isinstance(told, TrackingEvent)
    assert told.landmarks is None


def tracking(status: str, landmark: int) -> TrackingEvent:
    return TrackingEvent(status, None, 0.0, 4, 4, (landmark,), None, None, None, None, None)

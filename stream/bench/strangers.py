"""`fitme bench strangers`: what a stranger on the network may try, while somebody else is served.

Fuzzed messages, fuzzed offers, connections that vanish, idle sockets, and a camera whose frames claim 8192 x 8192
pixels, from an address of their own. Meanwhile an honest person has a session: the figures say how long they waited for
a render or for the page at worst, how large the web process grew, and whether anything ended or failed.
"""

import asyncio
import contextlib
import fractions
import json
import random
import secrets
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
import psutil
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from fitme.bench.rows import BenchmarkRow
from stream.bench.encoded_camera import PacketTrack
from stream.bench.native_peer import ClipTrack, NativePeer, offer_sdp
from stream.bench.sample import sample_frames
from stream.bench.server_process import ServerProcess
from stream.protocol.protocol import PROTOCOL_VERSION

CYCLES = 1_000
"""Fuzzed offers, and as many connections that vanish."""
MESSAGES_PER_CYCLE = 100
STRANGERS_ADDRESS = "127.0.0.66"
"""Source address of the strangers: limits by address count them apart from the honest person."""
HONEST_RATE = 10.0
"""Frames a second of the honest person's camera."""
WATCH_PERIOD_S = 0.25
"""Between two looks at the page and at the web process."""
IDLE_SOCKETS = 1_100
IDLE_S = 5.0
BOMB_SIDE_PX = 8_192
BOMB_RATE_HZ = 10.0
BOMB_S = 15.0
ANSWER_TIMEOUT_S = 30.0
LONGEST_WAIT_S = 5.0
LARGEST_WEB_MIB = 400
MEBIBYTE = 2**20

MESSAGES = (
    '{"type": "ack", "sequence": 7}',
    '{"type": "light", "preset": "rim", "ambient": 1.0, "direction": [0.3, 0.5, 0.8], "intensity": 2.0}',
    '{"type": "camera", "yaw": 0.3, "pitch": 0.1, "distance": 0.6}',
    '{"type": "mode", "mode": "turntable"}',
    '{"type": "background", "color": [0.1, 0.2, 0.3]}',
    '{"type": "receive", "feeds": ["renders", "avatar", "parameters", "landmarks"]}',
    '{"type": "keep", "keep": false}',
)
"""Valid messages, of which fuzzed ones are made; none that ends the session."""
INSERTIONS = ("1e999", "-1", "null", "[[[[", "{}", "\\u0000", "\ufffd", '"', "NaN", "9" * 400, "true", "\r\n", "a=")


@dataclass
class _Honest:
    """What the person who was there before sees."""

    longest_render_gap_s: float = 0.0
    longest_page_s: float = 0.0
    largest_web_bytes: int = 0
    renders: int = 0


@dataclass
class _Attempts:
    """What the strangers tried, and what came back."""

    messages: int = 0
    offers: Counter[int] = field(default_factory=Counter)
    """Answers to fuzzed offers by their status; 0 for none."""
    vanished: int = 0
    idle_sockets: int = 0
    bombs: int = 0


def strangers(count: int = CYCLES) -> list[BenchmarkRow]:
    """Try `count` offers and connections that vanish, `MESSAGES_PER_CYCLE` times as many messages, and bombs."""
    seed = secrets.randbelow(2**31)
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        processes = server.processes()
        honest, attempts = asyncio.run(_run(server, random.Random(seed), count))
        ended = sum(not process.is_running() for process in processes.values())
        tracebacks = server.log().count("Traceback")
    return [
        BenchmarkRow("seed", seed, "", None),
        BenchmarkRow("fuzzed messages", attempts.messages, "", None),
        BenchmarkRow("fuzzed offers", attempts.offers.total(), "", None),
        *(BenchmarkRow(f"answers {status}", number, "", None) for status, number in sorted(attempts.offers.items())),
        BenchmarkRow("connections that vanished", attempts.vanished, "", None),
        BenchmarkRow("idle sockets at once", attempts.idle_sockets, "", None),
        BenchmarkRow(f"frames of {BOMB_SIDE_PX} x {BOMB_SIDE_PX} pixels", attempts.bombs, "", None),
        BenchmarkRow("processes that ended", ended, "", "<= 0"),
        BenchmarkRow("errors of the server's own", tracebacks + attempts.offers[500], "", "<= 0"),
        BenchmarkRow("web process, largest", honest.largest_web_bytes / MEBIBYTE, "MiB", f"<= {LARGEST_WEB_MIB}"),
        BenchmarkRow("honest person: renders", honest.renders, "", None),
        BenchmarkRow(
            "honest person: longest wait for a render", honest.longest_render_gap_s, "s", f"<= {LONGEST_WAIT_S:g}"
        ),
        BenchmarkRow("honest person: longest wait for the page", honest.longest_page_s, "s", f"<= {LONGEST_WAIT_S:g}"),
    ]


async def _run(server: ServerProcess, rng: random.Random, count: int) -> tuple[_Honest, _Attempts]:
    attempts, frames = _Attempts(), sample_frames()
    bomb = await asyncio.to_thread(_bomb)
    async with _honest_person(server, frames) as honest:
        # First what needs a place: afterwards the strangers' own offers wait in the line for a while.
        await _send_bombs(server, bomb, attempts)
        await _fuzz_messages(server, frames, rng, count * MESSAGES_PER_CYCLE, attempts)
        await _fuzz_offers(server, rng, count, attempts)
        await _vanish(server, rng, count, attempts)
        await _stay_idle(server, attempts)
    return honest, attempts


@contextlib.asynccontextmanager
async def _honest_person(server: ServerProcess, frames: list[av.VideoFrame]) -> AsyncIterator[_Honest]:
    """A session with a camera; while the body runs, how long its page waits is noted."""
    honest, peer = _Honest(), NativePeer(server.address)
    await peer.send_camera(ClipTrack(frames, HONEST_RATE))
    await peer.watch()
    await peer.until(lambda: peer.renders > 0, ANSWER_TIMEOUT_S)
    last_s = time.monotonic()

    def note() -> None:
        nonlocal last_s
        now_s = time.monotonic()
        honest.longest_render_gap_s = max(honest.longest_render_gap_s, now_s - last_s)
        last_s = now_s
        honest.renders += 1

    peer.on_render = lambda render: note()
    watcher = asyncio.create_task(_watch(server, honest))
    try:
        yield honest
        note()
    finally:
        watcher.cancel()
        await asyncio.gather(watcher, return_exceptions=True)
        await peer.delete()
        await peer.close()


async def _watch(server: ServerProcess, honest: _Honest) -> None:
    """Loop: open the page from the honest address, and read the web process's memory."""
    web = psutil.Process(server.process.pid)
    while True:
        start_s = time.monotonic()
        status = await _ask(server, b"GET / HTTP/1.1\r\n\r\n", None)
        waited_s = time.monotonic() - start_s if status == 200 else ANSWER_TIMEOUT_S
        honest.longest_page_s = max(honest.longest_page_s, waited_s)
        honest.largest_web_bytes = max(honest.largest_web_bytes, web.memory_info().rss)
        await asyncio.sleep(WATCH_PERIOD_S)


async def _ask(server: ServerProcess, head: bytes, source: str | None, body: bytes = b"") -> int:
    """Status of the answer to a raw HTTP request, to which `Host` and `Content-Length` are added; 0 without an answer.

    :param source: address from which it comes; None for any.
    """
    host, port = server.address.removeprefix("http://").split(":")
    local = None if source is None else (source, 0)
    fields = f"Host: {host}:{port}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, int(port), local_addr=local)
            writer.write(head.removesuffix(b"\r\n") + fields + body)
            line = await reader.readline()
            writer.close()
            return int(line.split()[1]) if line else 0
    except (OSError, TimeoutError):
        return 0


def _fuzzed(text: str, rng: random.Random) -> str:
    """A text with a few random edits: parts cut out, doubled, replaced, or inserted."""
    for _ in range(rng.randint(1, 4)):
        begin = rng.randrange(len(text) + 1)
        end = min(len(text), begin + rng.randint(0, 20))
        replacement = rng.choice(("", text[begin:end] * 2, rng.choice(INSERTIONS), chr(rng.randrange(0xD800))))
        text = text[:begin] + replacement + text[end:]
    return text


async def _fuzz_messages(
    server: ServerProcess, frames: list[av.VideoFrame], rng: random.Random, count: int, attempts: _Attempts
) -> None:
    """Send fuzzed messages in a session of one's own, and join again whenever the server ends the websocket."""
    peer = NativePeer(server.address)
    await peer.send_camera(ClipTrack(frames, 1.0))
    await peer.watch()
    while attempts.messages < count:
        assert peer.websocket is not None
        message: str | bytes = _fuzzed(rng.choice(MESSAGES), rng)
        if rng.random() < 0.05:
            message = rng.randbytes(rng.randint(0, 300))
        try:
            await peer.websocket.send(message)
            attempts.messages += 1
        except ConnectionClosed:
            await peer.watch()
    await peer.delete()
    await peer.close()


async def _fuzz_offers(server: ServerProcess, rng: random.Random, count: int, attempts: _Attempts) -> None:
    """Send fuzzed offers: of the description, or of the JSON around it."""
    sdp = await offer_sdp()
    offer = {"protocol": PROTOCOL_VERSION, "sdp": sdp, "type": "offer"}
    for _ in range(count):
        inside = rng.random() < 0.8
        body = json.dumps(offer | {"sdp": _fuzzed(sdp, rng)}) if inside else _fuzzed(json.dumps(offer), rng)
        attempts.offers[await _ask(server, b"POST /offer HTTP/1.1\r\n\r\n", STRANGERS_ADDRESS, body.encode())] += 1


async def _vanish(server: ServerProcess, rng: random.Random, count: int, attempts: _Attempts) -> None:
    """Connect, begin something, and go without a word."""
    host, port = server.address.removeprefix("http://").split(":")
    offer = json.dumps({"protocol": PROTOCOL_VERSION, "sdp": await offer_sdp(), "type": "offer"}).encode()
    request = f"POST /offer HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(offer)}\r\n\r\n".encode() + offer
    upgrade = f"ws://{host}:{port}/session/{'0' * 48}/view?protocol={PROTOCOL_VERSION}"
    for _ in range(count):
        if rng.random() < 0.2:
            with contextlib.suppress(OSError, ConnectionClosed, InvalidHandshake):
                websocket = await connect(upgrade, local_addr=(STRANGERS_ADDRESS, 0))
                websocket.transport.abort()
        else:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, int(port), local_addr=(STRANGERS_ADDRESS, 0))
                # Whole requests as well: their answer finds nobody.
                writer.write(request[: rng.choice((0, 10, len(request) - 1, len(request)))])
                await writer.drain()
                writer.transport.abort()
        attempts.vanished += 1


async def _stay_idle(server: ServerProcess, attempts: _Attempts) -> None:
    """Open sockets and send nothing."""
    host, port = server.address.removeprefix("http://").split(":")
    writers = []
    for _ in range(IDLE_SOCKETS):
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection(host, int(port), local_addr=(STRANGERS_ADDRESS, 0))
            writers.append(writer)
    attempts.idle_sockets = len(writers)
    await asyncio.sleep(IDLE_S)
    for writer in writers:
        writer.transport.abort()


async def _send_bombs(server: ServerProcess, bomb: bytes, attempts: _Attempts) -> None:
    """Send frames that are small and would be huge when decoded, in a session of one's own."""
    peer, track = NativePeer(server.address), PacketTrack([bomb], BOMB_RATE_HZ)
    await peer.send_camera(track)
    await peer.watch()
    await asyncio.sleep(BOMB_S)
    attempts.bombs = len(track.handed_over_s)
    await peer.delete()
    await peer.close()


def _bomb() -> bytes:
    """A VP8 key frame of `BOMB_SIDE_PX` x `BOMB_SIDE_PX` pixels of one colour."""
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width = encoder.height = BOMB_SIDE_PX
    encoder.pix_fmt = "yuv420p"
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0"}
    encoder.framerate = fractions.Fraction(30)
    image = np.full((BOMB_SIDE_PX * 3 // 2, BOMB_SIDE_PX), 128, np.uint8)  # planes of yuv420p
    packets = encoder.encode(av.VideoFrame.from_ndarray(image, format="yuv420p"))
    return bytes(packets[0])

"""`fitme bench telepresence`: what an avatar drawn by its pages costs on the wire and on the server, and its delay.

Native peers measure, since browsers on the same cores would disturb. Their cameras send frames that were encoded
before. Times run from the moment in which the camera hands a frame over to the moment in which a peer has read its
parameters from the socket. Costs of a session at rest are measured once its fit reports that nothing is left to do, and
a row of its own says whether that held until the end.
"""

import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fitme.bench.rows import BenchmarkRow
from stream.bench.encoded_camera import Arrivals, PacketTrack, sample_packets
from stream.bench.native_peer import NativePeer, request
from stream.bench.server_process import ServerProcess
from stream.protocol.avatar import Piece
from stream.protocol.protocol import Feed

T = TypeVar("T")

RATE_HZ, CROWDED_RATE_HZ = 30.0, 24.0
VIEWERS = 10
CROWD = 4
"""Sessions at a time in the last measurement."""
DRAWING = (Feed.AVATAR, Feed.PARAMETERS)
WINDOW_S = 15.0
"""Length of each measurement."""
SETTLE_S = 3.0
REST_S = 10.0
"""A fit that has had nothing to do for this long is at rest."""
REST_TIMEOUT_S = 420.0
ATTEMPTS = 3
START_TIMEOUT_S = 120.0
SHORT_HEADER_BYTES, HEADER_BYTES = 2, 4
"""Of a websocket's frame from the server: with less than 126 bytes of payload, and with less than 65,536."""


def telepresence() -> list[BenchmarkRow]:
    """Measure bytes, delays and processor time."""
    return asyncio.run(_measure(sample_packets()))


async def _measure(packets: list[bytes]) -> list[BenchmarkRow]:
    rows = []
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        rows += await _one_owner(server, packets)
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), "--sessions", str(CROWD)) as server:
        rows += await _crowd(server, packets)
    return rows


async def _one_owner(server: ServerProcess, packets: list[bytes]) -> list[BenchmarkRow]:
    """One owner whose avatar is fitted and comes to rest, and its viewers."""
    track = PacketTrack(packets, RATE_HZ)
    owner, rounds, rest = NativePeer(server.address), _Rounds(), _Rest()
    owner.on_piece, owner.on_event = rounds.note, rest.note
    await owner.send_camera(track)
    await owner.watch(DRAWING)
    await owner.until(lambda: owner.avatar_version >= 0, START_TIMEOUT_S)
    await rest.reached(REST_TIMEOUT_S)

    token = await _view_token(owner)
    viewers = [NativePeer(server.address) for _ in range(2 * VIEWERS)]
    arrivals = [Arrivals(RATE_HZ, track) for _ in viewers]
    for viewer, arrived in zip(viewers, arrivals, strict=True):
        viewer.on_parameters = arrived.note
    few, more = viewers[:VIEWERS], viewers[VIEWERS:]
    await _join(few, token)
    whole = few[0].bytes_received["piece"] + await _shared_bytes(server, few[0])

    async def watched_by_few() -> tuple[dict[str, float], Counter[str], list[float]]:
        for arrived in arrivals:
            arrived.clear()
        before = _socket_bytes(few[0])
        usage = await _usage(server)
        delays_s = [delay for arrived in arrivals[:VIEWERS] for delay in arrived.delays_s()]
        return usage, _socket_bytes(few[0]) - before, delays_s

    (usage, received, delays_s), at_rest = await _while_at_rest(rest, watched_by_few)
    await _join(more, token)
    usage_of_more, more_at_rest = await _while_at_rest(rest, lambda: _usage(server))
    for peer in (*viewers, owner):
        await peer.close()
    return [
        BenchmarkRow("fit at rest while this was measured (1: yes)", float(at_rest and more_at_rest), "", ">= 1"),
        BenchmarkRow("parameters at 30 Hz, a viewer's socket", _rate(received), "kB/s", "<= 10"),
        *_by_kind(received),
        BenchmarkRow("whole avatar with what is everybody's", whole / 1e6, "MB", "<= 3"),
        BenchmarkRow("what one more round sends, median", rounds.median_bytes() / 1e3, "kB", "<= 300"),
        BenchmarkRow(
            f"camera frame to parameters at {VIEWERS} viewers, p95",
            1e3 * float(np.percentile(delays_s, 95)),
            "ms",
            "<= 80",
        ),
        BenchmarkRow(f"processor time, fit at rest, {VIEWERS} viewers", sum(usage.values()), "cores", "<= 0.4"),
        *(BenchmarkRow(f"  of which {name} process", cores, "cores") for name, cores in usage.items()),
        BenchmarkRow(
            "processor time of one more viewer",
            (usage_of_more["web"] - usage["web"]) / len(more),
            "cores",
            "<= 0.005",
        ),
    ]


class _Rest:
    """Whether a session's fit has something to do, as its events report."""

    def __init__(self) -> None:
        self.converged = False
        self.unconverged = 0
        """How often the fit has had something to do again."""
        self._since_s = 0.0

    def note(self, event: dict[str, Any]) -> None:
        """An event of the session."""
        if event["type"] != "progress" or event["converged"] == self.converged:
            return
        self.converged, self._since_s = event["converged"], time.monotonic()
        self.unconverged += not self.converged

    async def reached(self, timeout_s: float) -> None:
        """Wait until there has been nothing to do for `REST_S`, or for as long as the timeout."""
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s:
            if self.converged and time.monotonic() - self._since_s > REST_S:
                return
            await asyncio.sleep(0.5)


async def _while_at_rest(rest: _Rest, measure: Callable[[], Awaitable[T]]) -> tuple[T, bool]:
    """What is measured while a fit has nothing to do, and whether that was so; measured again if a frame comes."""
    for _ in range(ATTEMPTS):
        await rest.reached(REST_TIMEOUT_S)
        begun = rest.unconverged
        measured = await measure()
        if at_rest := rest.converged and rest.unconverged == begun:
            break
    return measured, at_rest


def _socket_bytes(peer: NativePeer) -> Counter[str]:
    """Bytes that a peer's websocket has received so far, with the frames' headers, by kinds of messages."""
    return Counter(
        {
            kind: size + peer.messages_received[kind] * (SHORT_HEADER_BYTES if kind == "parameters" else HEADER_BYTES)
            for kind, size in peer.bytes_received.items()
        }
    )


def _rate(received: Counter[str]) -> float:
    return received.total() / WINDOW_S / 1e3


def _by_kind(received: Counter[str]) -> list[BenchmarkRow]:
    return [
        BenchmarkRow(f"  of which messages of kind {kind}", size / WINDOW_S / 1e3, "kB/s")
        for kind, size in received.most_common()
    ]


@dataclass
class _Rounds:
    """Pieces between two complete avatars: what a round has changed."""

    _bytes: int = 0
    _rounds: list[int] = field(default_factory=list)

    def note(self, piece: Piece, message: bytes) -> None:
        self._bytes += len(message)
        if piece.complete:
            self._rounds.append(self._bytes)
            self._bytes = 0

    def median_bytes(self) -> float:
        """Of all but the first, which is the grey head."""
        return float(np.median(self._rounds[1:])) if len(self._rounds) > 1 else float("nan")


async def _crowd(server: ServerProcess, packets: list[bytes]) -> list[BenchmarkRow]:
    """Several sessions whose fits go on; each owner's page draws for itself."""
    tracks = [PacketTrack(packets, CROWDED_RATE_HZ) for _ in range(CROWD)]
    owners = [NativePeer(server.address) for _ in tracks]
    arrivals = [Arrivals(CROWDED_RATE_HZ, track) for track in tracks]
    for owner, track, arrived in zip(owners, tracks, arrivals, strict=True):
        owner.on_parameters = arrived.note
        await owner.send_camera(track)
        await owner.watch(DRAWING)
    await asyncio.gather(*(_until_tracked(owner) for owner in owners))
    await asyncio.sleep(SETTLE_S)
    for arrived in arrivals:
        arrived.clear()
    usage = await _usage(server)
    delays_s = [np.array(arrived.split_delays_s()) for arrived in arrivals]  # of each: (N, 3)
    worst = max(delays_s, key=lambda each: float(np.percentile(each[:, 0], 95)))
    rates = [len(arrived.arrived_s) / WINDOW_S for arrived in arrivals]
    for owner in owners:
        await owner.close()
    name = f"{CROWD} sessions at 24 fps, {min(rates):.0f} parameters a second at least: p95 of the worst"
    parts = ("camera frame decoded", "parameters made, from then")
    return [
        BenchmarkRow(name, 1e3 * float(np.percentile(worst[:, 0], 95)), "ms", "<= 120"),
        *(
            BenchmarkRow(f"  of which {part}, p95", 1e3 * float(np.percentile(worst[:, index], 95)), "ms")
            for index, part in enumerate(parts, start=1)
        ),
        *(BenchmarkRow(f"  meanwhile, {process} process", cores, "cores") for process, cores in usage.items()),
    ]


async def _join(viewers: Sequence[NativePeer], token: str) -> None:
    """Let viewers watch, and wait until each has the whole avatar."""
    for viewer in viewers:
        await viewer.watch_link(token, DRAWING)
    for viewer in viewers:
        await _until_whole(viewer)
    await asyncio.sleep(SETTLE_S)


async def _until_whole(peer: NativePeer) -> None:
    await peer.until(lambda: peer.avatar_version >= 0, START_TIMEOUT_S)


async def _until_tracked(peer: NativePeer) -> None:
    await peer.until(lambda: peer.parameters is not None and peer.parameters.tracked, START_TIMEOUT_S)


async def _usage(server: ServerProcess) -> dict[str, float]:
    """Processor time of each of the server's processes over `WINDOW_S`, in cores."""

    def seconds() -> dict[str, float]:
        times = {name: process.cpu_times() for name, process in server.processes().items()}
        return {name: each.user + each.system for name, each in times.items()}

    before, start_s = seconds(), time.monotonic()
    await asyncio.sleep(WINDOW_S)
    after, passed_s = seconds(), time.monotonic() - start_s
    return {name: (after[name] - before[name]) / passed_s for name in after if name in before}


async def _shared_bytes(server: ServerProcess, viewer: NativePeer) -> int:
    """Size of what is everybody's and this avatar refers to."""
    digests = {str(viewer.events["hello"]["model"])}
    digests |= {str(piece.header["pattern"]) for piece in viewer.pieces.values() if "pattern" in piece.header}
    return sum([len(await request("GET", f"{server.address}/piece/{digest}")) for digest in digests])


async def _view_token(owner: NativePeer) -> str:
    return str(json.loads(await owner.request("POST", "/links", {}))["token"])

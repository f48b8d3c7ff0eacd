"""`fitme bench telepresence`: what an avatar drawn by its pages costs on the wire and on the server, and its delay.

Native peers measure, since browsers on the same cores would disturb. Their cameras send frames that were encoded
before. Times run from the moment in which the camera hands a frame over to the moment in which a peer has read its
parameters from the socket.
"""

import asyncio
import fractions
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from fitme.bench.rows import BenchmarkRow
from fitme.errors import InputError
from stream.bench.live import SIZE_PX
from stream.bench.native_peer import VIDEO_CLOCK_HZ, NativePeer, read_clip, request
from stream.bench.server_process import ServerProcess
from stream.protocol.avatar import Piece
from stream.protocol.parameters import Parameters
from stream.protocol.protocol import Feed
from stream.web.app import CLIENT_FOLDER, SAMPLE_NAMES

RATE_HZ, CROWDED_RATE_HZ = 30.0, 24.0
VIEWERS = 10
CROWD = 4
"""Sessions at a time in the last measurement."""
DRAWING = (Feed.AVATAR, Feed.PARAMETERS)
WINDOW_S = 15.0
"""Length of each measurement."""
SETTLE_S = 3.0
REST_S = 10.0
"""A fit that has sent nothing for this long is at rest."""
REST_TIMEOUT_S = 300.0
START_TIMEOUT_S = 120.0
FRAME_HEADER_BYTES = 2
"""Of a websocket's message of less than 126 bytes, from the server."""
BITRATE_BPS = 1_000_000


def telepresence() -> list[BenchmarkRow]:
    """Measure bytes, delays and processor time."""
    return asyncio.run(_measure(_sample_packets()))


class PacketTrack(MediaStreamTrack):
    """A camera that plays encoded frames over and over in real time."""

    kind = "video"

    def __init__(self, packets: Sequence[bytes], rate_hz: float) -> None:
        """
        :param packets: VP8 frames, the first of them a keyframe.
        """
        super().__init__()
        self._packets = packets
        self._rate_hz = rate_hz
        self._start_s: float | None = None
        self._count = 0
        self.handed_over_s: list[float] = []
        """When each frame was handed over: `time.monotonic()`."""

    async def recv(self) -> "av.Packet[Any]":
        """The next frame, when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        self._start_s = self._start_s or time.monotonic()
        await asyncio.sleep(max(0.0, self._start_s + self._count / self._rate_hz - time.monotonic()))
        packet = av.Packet(self._packets[self._count % len(self._packets)])
        packet.pts = round(self._count * VIDEO_CLOCK_HZ / self._rate_hz)
        packet.time_base = fractions.Fraction(1, VIDEO_CLOCK_HZ)
        self._count += 1
        self.handed_over_s.append(time.monotonic())
        return packet


@dataclass
class _Arrivals:
    """Parameters as one peer has got them."""

    rate_hz: float
    track: PacketTrack
    captured_s: list[float] = field(default_factory=list)
    received_s: list[float] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)

    def note(self, parameters: Parameters) -> None:
        if parameters.tracked:
            self.captured_s.append(parameters.capture_time_s)
            self.received_s.append(parameters.received_time_s)
            self.arrived_s.append(time.monotonic())

    def clear(self) -> None:
        for times in (self.captured_s, self.received_s, self.arrived_s):
            times.clear()

    def delays_s(self) -> list[float]:
        """Time from each camera frame to its parameters; infinity if none came at all.

        Media times count from the first frame that the server has decoded: which one that was follows from the server
        having got none before it was handed over.
        """
        if not self.captured_s:
            return [float("inf")]
        index = np.rint(np.array(self.captured_s) * self.rate_hz).astype(int)
        handed_over = np.array(self.track.handed_over_s)
        received = np.array(self.received_s)
        first = 0
        while (shifted := index + first + 1).max() < len(handed_over) and (
            received - handed_over[shifted] > -1e-3  # times on the wire are rounded to milliseconds
        ).all():
            first += 1
        return [float(delay) for delay in np.array(self.arrived_s) - handed_over[index + first]]


async def _measure(packets: list[bytes]) -> list[BenchmarkRow]:
    rows = []
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        rows += await _one_owner(server, packets)
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder), "--sessions", str(CROWD)) as server:
        rows.append(await _crowd(server, packets))
    return rows


async def _one_owner(server: ServerProcess, packets: list[bytes]) -> list[BenchmarkRow]:
    """One owner whose avatar is fitted and comes to rest, and its viewers."""
    track = PacketTrack(packets, RATE_HZ)
    owner, rounds = NativePeer(server.address), _Rounds()
    owner.on_piece = rounds.note
    await owner.send_camera(track)
    await owner.watch(DRAWING)
    await owner.until(lambda: rounds.at_rest_since_s > 0.0, START_TIMEOUT_S)
    deadline_s = time.monotonic() + REST_TIMEOUT_S
    while time.monotonic() < min(deadline_s, rounds.at_rest_since_s + REST_S):
        await asyncio.sleep(0.5)

    token = await _view_token(owner)
    viewers = [NativePeer(server.address) for _ in range(2 * VIEWERS)]
    arrivals = [_Arrivals(RATE_HZ, track) for _ in viewers]
    for viewer, arrived in zip(viewers, arrivals, strict=True):
        viewer.on_parameters = arrived.note
    few, more = viewers[:VIEWERS], viewers[VIEWERS:]
    await _join(few, token)
    whole = few[0].bytes_received + await _shared_bytes(server, few[0])
    for arrived in arrivals:
        arrived.clear()
    before, messages = few[0].bytes_received, few[0].messages_received
    usage = await _usage(server)
    seconds = WINDOW_S
    received = few[0].bytes_received - before + FRAME_HEADER_BYTES * (few[0].messages_received - messages)
    delays_s = [delay for arrived in arrivals[:VIEWERS] for delay in arrived.delays_s()]
    await _join(more, token)
    usage_of_more = await _usage(server)
    for peer in (*viewers, owner):
        await peer.close()
    return [
        BenchmarkRow("parameters at 30 Hz, a viewer's socket", received / seconds / 1e3, "kB/s", "<= 10"),
        BenchmarkRow("whole avatar with what is everybody's", whole / 1e6, "MB", "<= 3"),
        BenchmarkRow("what one more round sends, median", rounds.median_bytes() / 1e3, "kB", "<= 300"),
        BenchmarkRow(
            f"camera frame to parameters at {VIEWERS} viewers, p95",
            1e3 * float(np.percentile(delays_s, 95)),
            "ms",
            "<= 80",
        ),
        BenchmarkRow(f"processor time, fit at rest, {VIEWERS} viewers", usage, "cores", "<= 0.4"),
        BenchmarkRow("processor time of one more viewer", (usage_of_more - usage) / len(more), "cores", "<= 0.005"),
    ]


@dataclass
class _Rounds:
    """Pieces between two complete avatars: what a round has changed."""

    at_rest_since_s: float = 0.0
    """When the last piece came; 0 before the first whole avatar."""
    _bytes: int = 0
    _rounds: list[int] = field(default_factory=list)

    def note(self, piece: Piece, message: bytes) -> None:
        self._bytes += len(message)
        if piece.complete:
            self._rounds.append(self._bytes)
            self._bytes, self.at_rest_since_s = 0, time.monotonic()

    def median_bytes(self) -> float:
        """Of all but the first, which is the grey head."""
        return float(np.median(self._rounds[1:])) if len(self._rounds) > 1 else float("nan")


async def _crowd(server: ServerProcess, packets: list[bytes]) -> BenchmarkRow:
    """Several sessions whose fits go on; each owner's page draws for itself."""
    tracks = [PacketTrack(packets, CROWDED_RATE_HZ) for _ in range(CROWD)]
    owners = [NativePeer(server.address) for _ in tracks]
    arrivals = [_Arrivals(CROWDED_RATE_HZ, track) for track in tracks]
    for owner, track, arrived in zip(owners, tracks, arrivals, strict=True):
        owner.on_parameters = arrived.note
        await owner.send_camera(track)
        await owner.watch(DRAWING)
    await asyncio.gather(*(_until_tracked(owner) for owner in owners))
    await asyncio.sleep(SETTLE_S)
    for arrived in arrivals:
        arrived.clear()
    await asyncio.sleep(WINDOW_S)
    worst_s = max(float(np.percentile(arrived.delays_s(), 95)) for arrived in arrivals)
    rates = [len(arrived.arrived_s) / WINDOW_S for arrived in arrivals]
    for owner in owners:
        await owner.close()
    name = f"{CROWD} sessions at 24 fps, {min(rates):.0f} parameters a second at least: p95 of the worst"
    return BenchmarkRow(name, 1e3 * worst_s, "ms", "<= 120")


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


async def _usage(server: ServerProcess) -> float:
    """Processor time of the server's processes over `WINDOW_S`, in cores."""

    def seconds() -> float:
        times = [process.cpu_times() for process in server.processes().values()]
        return sum(each.user + each.system for each in times)

    before, start_s = seconds(), time.monotonic()
    await asyncio.sleep(WINDOW_S)
    return (seconds() - before) / (time.monotonic() - start_s)


async def _shared_bytes(server: ServerProcess, viewer: NativePeer) -> int:
    """Size of what is everybody's and this avatar refers to."""
    digests = {str(viewer.events["hello"]["model"])}
    digests |= {str(piece.header["pattern"]) for piece in viewer.pieces.values() if "pattern" in piece.header}
    return sum([len(await request("GET", f"{server.address}/piece/{digest}")) for digest in digests])


async def _view_token(owner: NativePeer) -> str:
    return str(json.loads(await owner.request("POST", "/links", {}))["token"])


def _sample_packets() -> list[bytes]:
    """The sample clip, forwards and backwards, as VP8 frames of which the first is a keyframe."""
    sample = next((CLIENT_FOLDER / name for name in SAMPLE_NAMES if (CLIENT_FOLDER / name).is_file()), None)
    if sample is None:
        raise InputError(f"{CLIENT_FOLDER}: there is no sample clip")
    frames = [frame.reformat(width=SIZE_PX[0], height=SIZE_PX[1], format="yuv420p") for frame in read_clip(sample)]
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *SIZE_PX, "yuv420p"
    encoder.bit_rate = BITRATE_BPS
    encoder.time_base = fractions.Fraction(1, round(RATE_HZ))
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "g": "9999"}
    packets: list[bytes] = []
    for index, source in enumerate([*frames, *frames[-2:0:-1]]):
        frame = av.VideoFrame.from_ndarray(source.to_ndarray(), format="yuv420p")
        frame.pts = index
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]

"""A camera whose frames were encoded before, and the times at which a peer gets their parameters."""

import asyncio
import fractions
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import av
import numpy as np
from aiortc import MediaStreamTrack
from aiortc.mediastreams import MediaStreamError

from stream.bench.native_peer import VIDEO_CLOCK_HZ
from stream.bench.sample import SIZE_PX, sample_frames
from stream.protocol.parameters import Parameters

BITRATE_BPS = 1_000_000
CLIP_RATE_HZ = 30


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


def sample_packets(size_px: tuple[int, int] = SIZE_PX) -> list[bytes]:
    """The sample clip, forwards and backwards, as VP8 frames of which the first is a keyframe.

    :param size_px: width and height.
    """
    frames = [frame.reformat(width=size_px[0], height=size_px[1]) for frame in sample_frames()]
    encoder = av.CodecContext.create("libvpx", "w")
    encoder.width, encoder.height, encoder.pix_fmt = *size_px, "yuv420p"
    encoder.bit_rate = BITRATE_BPS
    encoder.time_base = fractions.Fraction(1, CLIP_RATE_HZ)
    encoder.options = {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "0", "g": str(CLIP_RATE_HZ)}
    packets: list[bytes] = []
    for index, source in enumerate([*frames, *frames[-2:0:-1]]):
        frame = av.VideoFrame.from_ndarray(source.to_ndarray(), format="yuv420p")
        frame.pts = index
        packets += [bytes(packet) for packet in encoder.encode(frame)]
    return packets + [bytes(packet) for packet in encoder.encode(None)]


@dataclass
class Arrivals:
    """Parameters as one peer has got them."""

    rate_hz: float
    track: PacketTrack
    captured_s: list[float] = field(default_factory=list)
    received_s: list[float] = field(default_factory=list)
    arrived_s: list[float] = field(default_factory=list)
    server_s: list[float] = field(default_factory=list)
    """From the decoded frame to its parameters, on the server."""

    def note(self, parameters: Parameters) -> None:
        """Parameters that have just come."""
        if parameters.tracked:
            self.captured_s.append(parameters.capture_time_s)
            self.received_s.append(parameters.received_time_s)
            self.arrived_s.append(time.monotonic())
            self.server_s.append(parameters.delay_s)

    def clear(self) -> None:
        """Forget what came before."""
        for times in (self.captured_s, self.received_s, self.arrived_s, self.server_s):
            times.clear()

    def delays_s(self) -> list[float]:
        """Time from each camera frame to its parameters; infinity if none came at all."""
        return [total for total, _, _ in self.split_delays_s()]

    def split_delays_s(self) -> list[tuple[float, float, float]]:
        """Of each camera frame: time to its parameters, the part until it was decoded, and the part from then until
        the parameters were made; infinity if none came at all.

        Media times count from the first frame that the server has decoded: which one that was follows from the server
        having got none before it was handed over.
        """
        if not self.captured_s:
            return [(float("inf"),) * 3]
        index = np.rint(np.array(self.captured_s) * self.rate_hz).astype(int)
        handed_over = np.array(self.track.handed_over_s)
        received = np.array(self.received_s)
        first = 0
        while (shifted := index + first + 1).max() < len(handed_over) and (
            received - handed_over[shifted] > -1e-3  # times on the wire are rounded to milliseconds
        ).all():
            first += 1
        started = handed_over[index + first]
        parts = np.stack([np.array(self.arrived_s) - started, received - started, np.array(self.server_s)], 1)  # (N, 3)
        return [(float(total), float(decoded), float(made)) for total, decoded, made in parts]

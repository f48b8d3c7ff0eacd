"""Outputs and sources of motion by their addresses."""

import asyncio
import time
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Protocol

from fitme.motion.addresses import CONNECT, CONNECT_TLS, LISTEN, LIVE_LINK, VMC, MotionAddress
from fitme.motion.live_link import DEFAULT_SUBJECT, LiveLinkEncoder, unpacked_packet
from fitme.motion.motion import Motion
from fitme.motion.settings import MotionSettings
from fitme.motion.take import Take, TakeWriter
from fitme.motion.udp import Report, UdpOutput, UdpSource
from fitme.motion.vmc import VmcDecoder, VmcEncoder
from fitme.motion.websocket_links import WebsocketClient, WebsocketServerOutput, WebsocketServerSource


class MotionOutput(Protocol):
    """Takes motion to another program."""

    def send(self, motion: Motion) -> None:
        """Send a motion, later than the last; never waits."""
        ...

    async def close(self) -> None:
        """End."""
        ...


class MotionSource(Protocol):
    """Yields motion in real time."""

    async def take(self) -> Motion | None:
        """Wait for the newest motion that has not been taken; None at the end."""
        ...

    async def close(self) -> None:
        """End; `take` then returns None."""
        ...


async def open_output(address: MotionAddress, settings: MotionSettings, report: Report) -> MotionOutput:
    """Output at an address.

    :raises ConfigError: if it cannot be had: an unknown host, a port in use.
    """
    if address.scheme == VMC:
        return await UdpOutput.open(address, VmcEncoder(settings.vmc_bytes_per_second), report)
    if address.scheme == LIVE_LINK:
        return await UdpOutput.open(address, LiveLinkEncoder(address.path or DEFAULT_SUBJECT, _midnight_s()), report)
    if address.scheme == LISTEN:
        return await WebsocketServerOutput.open(address)
    assert address.scheme in (CONNECT, CONNECT_TLS)
    return WebsocketClient(address, report, receives=False)


async def open_source(address: MotionAddress, report: Report) -> MotionSource:
    """Source at an address.

    :raises ConfigError: if it cannot be had: an unknown host, a port in use.
    """
    if address.scheme == VMC:
        return await UdpSource.open(address, VmcDecoder().unpack, report)
    if address.scheme == LIVE_LINK:
        return await UdpSource.open(address, lambda data, time_s: unpacked_packet(data, time_s).motion, report)
    if address.scheme == LISTEN:
        return await WebsocketServerSource.open(address, report)
    assert address.scheme in (CONNECT, CONNECT_TLS)
    return WebsocketClient(address, report, receives=True)


def _midnight_s() -> float:
    """Seconds since this day's midnight, local time."""
    now = datetime.now().astimezone()
    return (now - now.replace(hour=0, minute=0, second=0, microsecond=0)).total_seconds()


class TakeOutput:
    """Records a take."""

    def __init__(self, path: Path, source: str) -> None:
        """
        :raises InputError: if the file cannot be written.
        """
        self._writer = TakeWriter(path, source)

    def send(self, motion: Motion) -> None:
        """Append a motion."""
        self._writer.write(motion)

    async def close(self) -> None:
        """Close the file."""
        self._writer.close()


class TakeSource:
    """Plays a take in real time, once or for ever."""

    def __init__(self, take: Take, *, repeat: bool = False) -> None:
        """
        :param repeat: begin again at the end.
        """
        self._motions: Sequence[Motion] = take.motions
        self._next = 0
        self._repeat = repeat
        self._begin_s = time.monotonic() - take.motions[0].time_s
        self._played_s = 0.0
        """Duration of the earlier rounds."""
        self._closed = False

    async def take(self) -> Motion | None:
        """Wait until the next motion is due; those that are late already are passed over."""
        while not self._closed:
            if self._next == len(self._motions):
                if not self._repeat:
                    return None
                self._next, self._played_s = 0, self._played_s + self._round_s()
            motion = self._motions[self._next]
            self._next += 1
            time_s = self._played_s + motion.time_s
            now_s = time.monotonic() - self._begin_s
            if time_s > now_s:
                await asyncio.sleep(time_s - now_s)
            elif self._next < len(self._motions) and self._played_s + self._motions[self._next].time_s <= now_s:
                continue
            return motion.at(time_s)
        return None

    def _round_s(self) -> float:
        """Time from a motion to itself in the next round: the take's, and one usual step."""
        span_s = self._motions[-1].time_s - self._motions[0].time_s
        return span_s + (span_s / (len(self._motions) - 1) if span_s else 1.0)

    async def close(self) -> None:
        """Play no more."""
        self._closed = True

"""Datagrams of VMC and Live Link Face, sent and received without blocking the event loop."""

import asyncio
import errno
import os
import socket
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

from fitme.errors import ConfigError, InputError
from fitme.motion.addresses import MotionAddress
from fitme.motion.motion import Motion
from fitme.motion.newest import NewestMotion

Report = Callable[[str], None]
"""Takes a sentence for people: what happened and what they may do."""

REPORT_PERIOD_S: Final = 10.0
"""Between two reports on datagrams that could not be sent or read."""
SENDER_SILENCE_S: Final = 1.0
"""A sender that is silent for this long leaves its place to another one."""


class Encoder(Protocol):
    """Packs motion into datagrams."""

    def pack(self, motion: Motion) -> bytes:
        """One frame as a datagram."""
        ...


Unpack = Callable[[bytes, float], Motion | None]
"""Motion of a datagram that came at a time, if it completes one; raises InputError if it is not the protocol's."""


class UdpOutput:
    """Sends each motion as one datagram. What the network does not take at once is dropped: the next one is newer."""

    def __init__(self, address: MotionAddress, connected: socket.socket, encoder: Encoder, report: Report) -> None:
        self.address = address
        self._socket = connected
        self._encoder = encoder
        self._report = report
        self._report_due_s = 0.0

    @staticmethod
    async def open(address: MotionAddress, encoder: Encoder, report: Report) -> "UdpOutput":
        """A socket that sends to an address.

        :raises ConfigError: if its host is unknown or cannot be reached from here.
        """
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(address.host, address.port, type=socket.SOCK_DGRAM)
        except OSError as error:
            raise ConfigError(f"{address}: there is no host {address.host!r} ({error.strerror})") from error
        family, kind, number, _, target = found[0]
        opened = socket.socket(family, kind, number)
        opened.setblocking(False)
        try:
            # Connected, so that the system reports a receiver that is not there.
            opened.connect(target)
        except OSError as error:
            opened.close()
            raise ConfigError(
                f"{address}: cannot be reached from this machine: {os.strerror(error.errno or 0)}"
            ) from error
        return UdpOutput(address, opened, encoder, report)

    def send(self, motion: Motion) -> None:
        """Send one frame, or drop it."""
        datagram = self._encoder.pack(motion)
        try:
            self._socket.send(datagram)
        except BlockingIOError:
            return
        except OSError as error:
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        now_s = time.monotonic()
        if now_s < self._report_due_s:
            return
        self._report_due_s = now_s + REPORT_PERIOD_S
        if error.errno == errno.ECONNREFUSED:
            self._report(f"{self.address}: nobody receives there yet: start the receiver, or correct host and port")
        else:
            self._report(f"{self.address}: cannot send: {error.strerror}")

    async def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class UdpSource:
    """Receives motion of one sender at a time."""

    def __init__(self, transport: asyncio.DatagramTransport, receiver: "_Receiver", newest: NewestMotion) -> None:
        self._transport = transport
        self._receiver = receiver
        self._newest = newest

    @property
    def port(self) -> int:
        """Port that it listens at."""
        return int(self._transport.get_extra_info("sockname")[1])

    @staticmethod
    async def open(address: MotionAddress, unpack: Unpack, report: Report) -> "UdpSource":
        """A socket that listens at an address.

        :raises ConfigError: if it cannot: most often, because another program does.
        """
        newest = NewestMotion()
        try:
            transport, receiver = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Receiver(address, newest, unpack, report), local_addr=(address.host, address.port)
            )
        except OSError as error:
            raise listening_error(address, error) from error
        return UdpSource(transport, receiver, newest)

    async def take(self) -> Motion | None:
        """Wait for the newest motion."""
        return await self._newest.take()

    async def close(self) -> None:
        """Close the socket; its port is free then."""
        self._newest.end()
        self._transport.close()
        await self._receiver.closed.wait()


class _Receiver(asyncio.DatagramProtocol):
    def __init__(self, address: MotionAddress, newest: NewestMotion, unpack: Unpack, report: Report) -> None:
        self._address = address
        self._newest = newest
        self._unpack = unpack
        self._report = report
        self._sender: Any = None
        self._received_s = -SENDER_SILENCE_S
        self._report_due_s = 0.0
        self._start_s = time.monotonic()
        self.closed = asyncio.Event()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is closed."""
        self.closed.set()

    def datagram_received(self, data: bytes, addr: Any) -> None:  # noqa: ANN401 -- of either address family
        """Take in a datagram, unless it is another sender's than the one that sends already."""
        now_s = time.monotonic()
        if addr != self._sender and now_s - self._received_s < SENDER_SILENCE_S:
            return
        try:
            motion = self._unpack(data, now_s - self._start_s)
        except InputError as error:
            if now_s >= self._report_due_s:
                self._report_due_s = now_s + REPORT_PERIOD_S
                self._report(f"{self._address}: a packet from {addr[0]} is dropped: {error}")
            return
        if addr != self._sender:
            self._report(f"{self._address}: motion comes from {addr[0]}")
        self._sender, self._received_s = addr, now_s
        if motion is not None:
            self._newest.put(motion)


def listening_error(address: MotionAddress, error: OSError) -> ConfigError:
    """Words for an address at which one cannot listen."""
    if error.errno == errno.EADDRINUSE:
        return ConfigError(
            f"{address}: another program listens at port {address.port} already: end it, or choose another port"
        )
    # asyncio of Python 3.13 gives no number where each address of the host is another machine's.
    if error.errno in (errno.EADDRNOTAVAIL, None):
        return ConfigError(f"{address}: {address.host} is not an address of this machine: use 127.0.0.1 or 0.0.0.0")
    if isinstance(error, socket.gaierror):
        return ConfigError(f"{address}: there is no host {address.host!r} ({error.strerror})")
    return ConfigError(f"{address}: cannot listen there: {error.strerror or error}")

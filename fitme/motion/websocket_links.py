"""Motion as JSON over websockets: a server at which programs and pages of this machine receive or send, and a client.

Browsers let any site's page open websockets of one's own machine: pages of other origins are refused.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Final

import websockets.asyncio.client
import websockets.asyncio.server
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Origin

from fitme.motion.addresses import MotionAddress
from fitme.motion.messages import MotionMessageError, motion_json, motion_of_json
from fitme.motion.motion import Motion
from fitme.motion.newest import NewestMotion
from fitme.motion.udp import REPORT_PERIOD_S, Report, listening_error

LOCAL_ORIGINS: Final = (
    None,  # programs
    Origin("null"),
    Origin("file://"),
    re.compile(r"https?://(localhost|127\.0\.0\.1|\[::1\])(:\d+)?"),
)
LARGEST_MESSAGE_BYTES: Final = 65_536
UNSENT_BYTES: Final = 16_384
"""A page that has this much of earlier motion to read is sent none."""
RETRY_S: Final = 1.0
CLOSE_TIMEOUT_S: Final = 1.0
"""How long the other side may take to end a connection in good order: one that does not read delays nobody's end."""


class WebsocketServerOutput:
    """Sends each motion to whoever is connected."""

    def __init__(self, server: websockets.asyncio.server.Server) -> None:
        self._server = server

    @property
    def port(self) -> int:
        """Port that it listens at."""
        return _port(self._server)

    @staticmethod
    async def open(address: MotionAddress) -> "WebsocketServerOutput":
        """A server at an address.

        :raises ConfigError: if it cannot listen there.
        """

        async def wait(connection: websockets.asyncio.server.ServerConnection) -> None:
            async for _ in connection:  # what receivers send has no meaning
                pass

        return WebsocketServerOutput(await _serve(address, wait))

    def send(self, motion: Motion) -> None:
        """Send to all who read as fast as motion comes."""
        ready = [
            connection
            for connection in self._server.connections
            if connection.transport.get_write_buffer_size() < UNSENT_BYTES
        ]
        if ready:
            websockets.asyncio.server.broadcast(ready, motion_json(motion))

    async def close(self) -> None:
        """Close all connections and the server."""
        self._server.close()
        await self._server.wait_closed()


class WebsocketServerSource:
    """Receives motion from whoever connects; the newest message wins."""

    def __init__(self, server: websockets.asyncio.server.Server, newest: NewestMotion) -> None:
        self._server = server
        self._newest = newest

    @property
    def port(self) -> int:
        """Port that it listens at."""
        return _port(self._server)

    @staticmethod
    async def open(address: MotionAddress, report: Report) -> "WebsocketServerSource":
        """A server at an address.

        :raises ConfigError: if it cannot listen there.
        """
        newest, start_s = NewestMotion(), time.monotonic()

        async def receive(connection: websockets.asyncio.server.ServerConnection) -> None:
            report(f"{address}: motion comes from {connection.remote_address[0]}")
            warned_s = -REPORT_PERIOD_S
            async for message in connection:
                try:
                    newest.put(motion_of_json(message).at(time.monotonic() - start_s))
                except MotionMessageError as error:
                    if time.monotonic() - warned_s >= REPORT_PERIOD_S:
                        warned_s = time.monotonic()
                        report(f"{address}: a message is dropped: {error}")

        return WebsocketServerSource(await _serve(address, receive), newest)

    async def take(self) -> Motion | None:
        """Wait for the newest motion."""
        return await self._newest.take()

    async def close(self) -> None:
        """Close all connections and the server."""
        self._server.close()
        await self._server.wait_closed()
        self._newest.end()


class WebsocketClient:
    """Sends motion to a server, or receives it from one; connects again whenever the connection ends."""

    def __init__(self, address: MotionAddress, report: Report, *, receives: bool) -> None:
        """
        :param receives: whether motion comes from the server.
        """
        self._address = address
        self._report = report
        self._newest = NewestMotion()
        self._receives = receives
        self._start_s = time.monotonic()
        self._task = asyncio.create_task(self._run())

    def send(self, motion: Motion) -> None:
        """Send the motion in place of an earlier one that could not be sent yet."""
        self._newest.put(motion)

    async def take(self) -> Motion | None:
        """Wait for the newest motion that came."""
        return await self._newest.take()

    async def close(self) -> None:
        """End the connection."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self._newest.end()

    async def _run(self) -> None:
        lost = False
        while True:
            try:
                async with websockets.asyncio.client.connect(
                    str(self._address),
                    max_size=LARGEST_MESSAGE_BYTES,
                    compression=None,
                    close_timeout=CLOSE_TIMEOUT_S,
                ) as connection:
                    if lost:
                        self._report(f"{self._address}: connected")
                    lost = False
                    await (self._receive(connection) if self._receives else self._transmit(connection))
            except (OSError, WebSocketException) as error:
                if not lost:
                    reason = getattr(error, "strerror", None) or str(error)
                    self._report(f"{self._address}: no connection ({reason}); it is tried again every second")
                lost = True
            await asyncio.sleep(RETRY_S)

    async def _transmit(self, connection: websockets.asyncio.client.ClientConnection) -> None:
        while (motion := await self._newest.take()) is not None:
            await connection.send(motion_json(motion))

    async def _receive(self, connection: websockets.asyncio.client.ClientConnection) -> None:
        warned = False
        try:
            async for message in connection:
                try:
                    self._newest.put(motion_of_json(message).at(time.monotonic() - self._start_s))
                except MotionMessageError as error:
                    if not warned:
                        self._report(f"{self._address}: a message is dropped: {error}")
                    warned = True
        except ConnectionClosed as error:
            self._report(f"{self._address}: the connection has ended ({error})")


async def _serve(
    address: MotionAddress, handle: Callable[[websockets.asyncio.server.ServerConnection], Awaitable[None]]
) -> websockets.asyncio.server.Server:
    try:
        return await websockets.asyncio.server.serve(
            handle,
            address.host,
            address.port,
            origins=LOCAL_ORIGINS,
            max_size=LARGEST_MESSAGE_BYTES,
            compression=None,
            close_timeout=CLOSE_TIMEOUT_S,
            server_header=None,
        )
    except OSError as error:
        raise listening_error(address, error) from error


def _port(server: websockets.asyncio.server.Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])

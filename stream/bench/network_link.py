"""A network link to a server of this machine that a measurement can slow down or cut: a TCP relay.

The kernel's own means (network namespaces with `netem`) need modules that not every machine has.
"""

import asyncio
import contextlib

PIECE_BYTES = 16_384


class NetworkLink:
    """Relays from a port of its own to another one, in the event loop. Use as an asynchronous context manager."""

    def __init__(self, target_port: int, port: int) -> None:
        self._target_port, self.port = target_port, port
        self.delay_s = 0.0
        """Added to each piece of at most `PIECE_BYTES`, in both directions."""
        self.bytes_per_second: float | None = None
        """Of each connection and direction; unlimited if None."""
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        """``http://127.0.0.1:PORT``"""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> "NetworkLink":
        await self.mend()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    def cut(self) -> None:
        """Reset all connections and refuse new ones, as the end of the server's process does."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in self._writers:
            writer.transport.abort()

    async def mend(self) -> None:
        """Take connections, again."""
        if self._server is None:
            self._server = await asyncio.start_server(self._relay, "127.0.0.1", self.port)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            self._end(writer)
            return
        self._writers.add(back)
        await asyncio.gather(self._carry(reader, back), self._carry(there, writer))
        for each in (writer, back):
            self._end(each)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one direction until it ends."""
        with contextlib.suppress(OSError):
            while piece := await reader.read(PIECE_BYTES):
                pause_s = self.delay_s + (len(piece) / self.bytes_per_second if self.bytes_per_second else 0.0)
                if pause_s > 0.0:
                    await asyncio.sleep(pause_s)
                writer.write(piece)
                await writer.drain()
            if writer.can_write_eof():
                writer.write_eof()

    def _end(self, writer: asyncio.StreamWriter) -> None:
        self._writers.discard(writer)
        writer.close()

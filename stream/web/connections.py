"""HTTP connections that a stranger cannot use up: bounded in number, and closed if a request does not come in time.

Asyncio goes on accepting connections when no file can be opened any more, and logs each failure; so the bound must lie
well below the process's limit of open files, which `raise_file_limit` lifts as far as the system lets it.
"""

import asyncio
import resource
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from stream.settings import ConnectionSettings


def raise_file_limit() -> None:
    """Let this process open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _BoundedProtocol(H11Protocol):
    """A connection of a server with `ConnectionSettings`; also one that becomes a websocket."""

    bounds: ConnectionSettings
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        from_address = sum(_address(other) == _address(self) for other in self.connections)
        if len(self.connections) > self.bounds.limit or from_address > self.bounds.per_address_limit:
            # It ends in the loop's next turn: until then it must not count against those that come in this one.
            self.connections.discard(self)
            transport.abort()
            return
        self._await_request()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or self.transport.get_protocol() is not self:
            self._stop_waiting()
        elif self._deadline is None:
            self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_request(self) -> None:
        """Close the connection unless the headers of a request are complete in time."""
        self._deadline = self.loop.call_later(self.bounds.header_timeout_s, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


def _address(connection: object) -> str | None:
    """IP address at the other end of one of uvicorn's connections."""
    client: tuple[str, int] | None = getattr(connection, "client", None)
    return client[0] if client else None


def bounded_protocol(settings: ConnectionSettings) -> type[asyncio.Protocol]:
    """Protocol for uvicorn's setting `http`, with the bounds of `settings`."""
    members: dict[str, Any] = {"bounds": settings}
    return type("BoundedProtocol", (_BoundedProtocol,), members)

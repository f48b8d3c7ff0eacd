"""Peer connections without media by which pages find out whether UDP gets through to the server."""

import asyncio

from aiortc import RTCPeerConnection, RTCSessionDescription

from fitme.errors import FitmeError
from stream.web.peers.candidates import CandidateFilter
from stream.web.peers.network import PeerNetwork
from stream.web.peers.rtc import MALFORMED, OfferError, close_connection

CHECKS_LIMIT = 8
"""Checks at a time, of all clients together."""
LIFETIME_S = 15.0
"""A connection is closed after this time: by then the page knows."""


class ManyChecksError(FitmeError):
    """Too many connections are being checked at the moment."""


class ConnectionChecks:
    """Connections that are being checked."""

    def __init__(self, network: PeerNetwork) -> None:
        self._network = network
        self._open: set[RTCPeerConnection] = set()
        self._closing: set[asyncio.Task[None]] = set()

    async def answer(self, sdp: str, candidates: CandidateFilter) -> str:
        """Answer an offer of a data channel; returns the answer.

        :raises OfferError: if the offer cannot be used.
        :raises ManyChecksError: if too many are being checked.
        """
        if len(self._open) >= CHECKS_LIMIT:
            raise ManyChecksError("too many check their connections just now: try again in a moment")
        connection = self._network.connect()
        self._open.add(connection)
        try:
            await connection.setRemoteDescription(RTCSessionDescription(candidates.filtered(sdp), "offer"))
            if connection.getTransceivers() or connection.sctp is None:
                raise OfferError("a check offers a data channel, and nothing else")
            await connection.setLocalDescription(await connection.createAnswer())
        except BaseException as error:
            await asyncio.shield(self._drop(connection))
            if isinstance(error, MALFORMED):
                raise OfferError(f"the offer cannot be used: {type(error).__name__}: {error}") from error
            raise
        asyncio.get_running_loop().call_later(LIFETIME_S, self._expire, connection)
        return self._network.described(connection)

    async def close(self) -> None:
        """End all of them."""
        await asyncio.gather(*(self._drop(connection) for connection in list(self._open)))

    def _expire(self, connection: RTCPeerConnection) -> None:
        task = asyncio.ensure_future(self._drop(connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _drop(self, connection: RTCPeerConnection) -> None:
        if connection in self._open:
            self._open.discard(connection)
            await close_connection(connection)

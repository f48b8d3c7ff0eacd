"""The owner's voice: one microphone track, relayed to each viewer who wants to hear it over a connection of their own.

A viewer's connection only receives: whatever else its offer holds is declined.
"""

import asyncio
import contextlib
import logging

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaRelay
from aiortc.mediastreams import MediaStreamError

from fitme.errors import FitmeError
from stream.web.peers.candidates import CandidateFilter
from stream.web.peers.network import PeerNetwork
from stream.web.peers.rtc import MALFORMED, OfferError, close_connection

logger = logging.getLogger(__name__)


class NoVoiceError(FitmeError):
    """There is nothing to hear now."""


class Voice:
    """Voice of one session's owner while the microphone is on."""

    def __init__(self, track: MediaStreamTrack) -> None:
        """Begin to read the track; needs a running event loop."""
        self._track = track
        self._relay = MediaRelay()
        self._listeners: dict[RTCPeerConnection, str] = {}
        """Connections of viewers, with the ids of their links."""
        # The track's queue has no bound: it is read also while nobody listens.
        self._drain = asyncio.create_task(_read(self._relay.subscribe(track, buffered=False)))

    def __len__(self) -> int:
        return len(self._listeners)

    async def listen(
        self, sdp: str, link: str, network: PeerNetwork, candidates: CandidateFilter, timeout_s: float
    ) -> str:
        """Answer a viewer's offer to receive audio; returns the answer.

        :param link: id of the viewer's link.
        :param timeout_s: a connection that is not established by then is closed.
        :raises OfferError: if the offer cannot be used.
        """
        connection = network.connect()
        self._listeners[connection] = link
        try:
            await connection.setRemoteDescription(RTCSessionDescription(candidates.filtered(sdp), "offer"))
            receivers = [item for item in connection.getTransceivers() if item.kind == "audio"]
            if not receivers:
                raise OfferError("the offer has no audio to receive")
            for transceiver in connection.getTransceivers():
                transceiver.direction = "inactive"
            receivers[0].sender.replaceTrack(self._relay.subscribe(self._track))
            receivers[0].direction = "sendonly"
            await connection.setLocalDescription(await connection.createAnswer())
        except BaseException as error:
            await asyncio.shield(self._drop(connection))
            if isinstance(error, MALFORMED):
                raise OfferError(f"the offer cannot be used: {type(error).__name__}: {error}") from error
            raise
        expiry = asyncio.get_running_loop().call_later(timeout_s, self._expire, connection)

        async def changed() -> None:
            if connection.connectionState == "connected":
                expiry.cancel()
            elif connection.connectionState in ("failed", "closed"):
                expiry.cancel()
                await self._drop(connection)

        connection.on("connectionstatechange", changed)
        return network.described(connection)

    async def close_link(self, link: str) -> None:
        """End the connections of all who listen by a link."""
        await asyncio.gather(*(self._drop(each) for each, of in list(self._listeners.items()) if of == link))

    async def close(self) -> None:
        """End all connections."""
        self._drain.cancel()
        await asyncio.gather(*(self._drop(connection) for connection in list(self._listeners)))

    def _expire(self, connection: RTCPeerConnection) -> None:
        task = asyncio.ensure_future(self._drop(connection))
        task.add_done_callback(lambda done: done.exception())

    async def _drop(self, connection: RTCPeerConnection) -> None:
        if self._listeners.pop(connection, None) is not None:
            await close_connection(connection)


async def _read(track: MediaStreamTrack) -> None:
    with contextlib.suppress(MediaStreamError):
        while True:
            await track.recv()

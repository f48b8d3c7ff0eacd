"""Cameras of sessions: an offer is read before any session begins or gives way for it."""

import asyncio
import time

from fitme.arrays import UInt8Array
from stream.engine.frame_slots import FrameSink
from stream.engine.interface import Engine
from stream.protocol.events import CameraEvent, ErrorEvent, PeerEvent
from stream.settings import ServeSettings
from stream.web.peers.network import PeerNetwork
from stream.web.peers.rtc import CameraPeer
from stream.web.sessions.errors import UnknownSessionError
from stream.web.sessions.rights import Caller
from stream.web.sessions.session import Session
from stream.web.sessions.table import SessionTable


class _Camera:
    """Listener of a peer, which exists before its session is known."""

    def __init__(self) -> None:
        self.peer: CameraPeer | None = None
        self.session: Session | None = None
        self.number = 0
        self.sink: FrameSink | None = None

    def take(self, image: UInt8Array, capture_time_s: float, received_time_s: float) -> None:
        """Hand a frame over; called in a worker thread."""
        if self.sink is not None:
            self.sink(image, capture_time_s, received_time_s)

    def change(self, state: str) -> None:
        """Send the camera's state to the pages, unless another camera has taken over."""
        session = self.session
        if session is None or session.peer is not self.peer:
            return
        session.camera_is_silent = state == "silent"
        if state == "silent":
            session.cameraless_since_s = time.monotonic()
        elif state == "closed":
            session.peer = None
            session.set_voice(None)
            session.idle_since_s = session.cameraless_since_s = time.monotonic()
        session.relay.publish(PeerEvent(self.number, state))

    def refuse(self, reason: str, max_pixels: int | None) -> None:
        """Send the owner's pages why frames of the camera are dropped, or which would not be."""
        if self.session is None:
            return
        words = f"the camera sends {reason}"
        wish = ErrorEvent("bad_camera", words) if max_pixels is None else CameraEvent(self.number, max_pixels, words)
        self.session.relay.publish(wish)

    def may_be_silent(self) -> bool:
        """Whether a page of the owner watches: hidden pages and phones that are put away send no frames."""
        return self.session is not None and self.session.relay.owners > 0


async def connect_camera(
    settings: ServeSettings,
    network: PeerNetwork,
    engine: Engine,
    table: SessionTable,
    session_id: str | None,
    sdp: str,
    caller: Caller,
) -> tuple[Session, str, int]:
    """Answer a camera's offer; returns the session, the answer's SDP and the number of the peer.

    :param session_id: session to join; None for a new one.
    :raises OfferError: if the offer cannot be used; nothing has changed then.
    :raises UnknownSessionError, ForbiddenError, TooManyError, FullError: as `SessionTable.activate`.
    """
    camera = _Camera()
    peer = camera.peer = CameraPeer(
        network,
        settings.camera.max_pixels,
        camera,
        network.candidates_of(caller.address),
        connect_timeout_s=settings.session.connect_timeout_s,
        silence_timeout_s=settings.session.silence_timeout_s,
    )
    try:
        answer = await peer.accept(sdp)
        session = await table.activate(session_id, caller)
    except BaseException:
        await asyncio.shield(peer.close())
        raise
    number = session.peer_number = session.peer_number + 1
    camera.session, camera.number, camera.sink = session, number, engine.frame_sink(session.id)
    previous, session.peer = session.peer, peer
    session.set_voice(peer.voice)
    if previous is not None:
        session.relay.publish(PeerEvent(session.connected_number, "replaced"))
    session.connected_number = number
    session.relay.publish(PeerEvent(number, "connecting"))
    if previous is not None:
        await previous.close()
    if peer.closed:
        camera.change("closed")
    if not table.is_active(session):
        raise UnknownSessionError("the session ended while the offer was answered")
    return session, answer, number

"""WebRTC peer of one camera: receives video, decodes it to RGB and hands over the newest frame only."""

import asyncio
import contextlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import av
import numpy as np
from aiortc import (
    InvalidAccessError,
    InvalidStateError,
    MediaStreamTrack,
    RTCDataChannel,
    RTCPeerConnection,
    RTCSessionDescription,
)
from aiortc.exceptions import OperationError
from aiortc.mediastreams import MediaStreamError
from aiortc.sdp import candidate_from_sdp

from fitme.arrays import UInt8Array
from fitme.errors import FitmeError
from stream.protocol.protocol import PARAMETERS_CHANNEL
from stream.web.peers.candidates import CandidateFilter
from stream.web.peers.decoders import RefusedFrame
from stream.web.peers.network import PeerNetwork

logger = logging.getLogger(__name__)


class CameraListener(Protocol):
    """Receives what one camera yields; called in the event loop, but for `take`."""

    def take(self, image: UInt8Array, capture_time_s: float, received_time_s: float) -> None:
        """A frame, as `stream.engine.frame_slots.FrameSink`; called in a worker thread."""
        ...

    def change(self, state: str) -> None:
        """State of the camera: ``connected``, ``silent``, or ``closed``, once and last."""
        ...

    def refuse(self, reason: str, max_pixels: int | None) -> None:
        """Why frames of the camera are dropped, each reason once; and the size of frames that would be taken, if the
        size is the reason."""
        ...

    def may_be_silent(self) -> bool:
        """Whether the camera may stay without sending frames."""
        ...


REASONS_LIMIT = 8
"""Different reasons of refusal that are reported of one camera."""
DECODE_THREADS = 2
"""Threads that convert frames, for all peers together."""

# Errors that aiortc raises for malformed descriptions and candidates: it has no common class for them.
MALFORMED = (
    ValueError, LookupError, TypeError, AttributeError, AssertionError, ArithmeticError, RuntimeError, OSError,
    InvalidAccessError, InvalidStateError, OperationError,
)  # fmt: skip

_converters = ThreadPoolExecutor(DECODE_THREADS, "convert")


class OfferError(FitmeError):
    """An offer or a candidate cannot be used."""


async def close_connection(connection: RTCPeerConnection) -> None:
    """Close a connection, also one that aiortc cannot close since it took a malformed offer in part: then none of its
    transports has begun."""
    try:
        await connection.close()
    except AttributeError as error:
        logger.info("a connection was given up half made: %s", error)


class NewestFrame:
    """Newest frame of a video track that has not been taken; the track's own queue, unlimited, is kept empty."""

    def __init__(self, track: MediaStreamTrack, listener: CameraListener) -> None:
        """Read the track until it ends or `stop` is called; needs a running event loop."""
        self._refusals: set[str] = set()
        self._listener = listener
        self._frame: av.VideoFrame | None = None
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read(track))

    async def take(self) -> av.VideoFrame:
        """Wait for a frame.

        :raises MediaStreamError: if the track has ended.
        """
        await self._changed.wait()
        if self._frame is None:
            raise MediaStreamError
        frame, self._frame = self._frame, None
        if not self._reader.done():
            self._changed.clear()
        return frame

    def stop(self) -> None:
        """Read no more."""
        self._reader.cancel()

    async def _read(self, track: MediaStreamTrack) -> None:
        with contextlib.suppress(MediaStreamError):
            while True:
                frame: object = await track.recv()
                if isinstance(frame, av.VideoFrame):
                    self._frame = frame
                    self._changed.set()
                elif isinstance(frame, RefusedFrame):
                    self._refuse(frame)
        self._changed.set()

    def _refuse(self, refused: RefusedFrame) -> None:
        if refused.reason not in self._refusals and len(self._refusals) < REASONS_LIMIT:
            self._refusals.add(refused.reason)
            self._listener.refuse(refused.reason, refused.max_pixels)


class CameraPeer:
    """Server side of one peer connection."""

    def __init__(
        self,
        network: PeerNetwork,
        max_pixels: int,
        listener: CameraListener,
        candidates: CandidateFilter,
        *,
        connect_timeout_s: float,
        silence_timeout_s: float,
    ) -> None:
        """
        :param max_pixels: larger frames are shrunk to it.
        :param candidates: decides on the peer's ICE candidates.
        :param connect_timeout_s: a peer that has sent no frame by then is closed.
        :param silence_timeout_s: a peer that has sent no frame for this long is silent, or closed.
        """
        self._network = network
        self._connection = network.connect()
        self._max_pixels = max_pixels
        self._listener = listener
        self._candidates = candidates
        self._connect_timeout_s = connect_timeout_s
        self._silence_timeout_s = silence_timeout_s
        self._state = ""
        """As the listener knows it; "" before the first frame."""
        self._reader: asyncio.Task[None] | None = None
        self._offered: list[MediaStreamTrack] = []
        self.voice: MediaStreamTrack | None = None
        """Microphone of the person, after `accept`, if the offer has one: it must be read by whoever takes it."""
        self._connection.on("track", self._offered.append)
        self._channel: RTCDataChannel | None = None
        self._connection.on("datachannel", self._channel_opened)
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the connection has ended."""
        return self._closed

    async def accept(self, sdp: str) -> str:
        """Take an offer with a video track, perhaps with one of audio, and begin to read the video; returns the answer.

        :raises OfferError: if the offer is malformed or has no video; the peer is then closed.
        """
        try:
            await self._connection.setRemoteDescription(RTCSessionDescription(self._candidates.filtered(sdp), "offer"))
            track = self._choose()
            self._connection.on("connectionstatechange", self._connection_changed)
            await self._connection.setLocalDescription(await self._connection.createAnswer())
        except OfferError:
            await self.close()
            raise
        except MALFORMED as error:
            await self.close()
            raise OfferError(f"the offer cannot be used: {type(error).__name__}: {error}") from error
        self._reader = asyncio.create_task(self._read(track))
        return self._network.described(self._connection)

    async def add_candidate(self, candidate: str | None, sdp_mid: str | None, line: int | None) -> None:
        """Add a remote ICE candidate; None or "" ends them.

        :raises OfferError: if it is malformed.
        """
        if self._closed:
            return
        try:
            parsed = None
            if candidate:
                parsed = candidate_from_sdp(candidate.removeprefix("candidate:"))
                parsed.sdpMid, parsed.sdpMLineIndex = sdp_mid, line
                if not self._candidates.takes(parsed.ip):
                    return
            await self._connection.addIceCandidate(parsed)
        except MALFORMED as error:
            raise OfferError(f"the candidate cannot be used: {type(error).__name__}: {error}") from error

    def send_parameters(self, message: bytes) -> None:
        """Send packed parameters over the page's data channel, if it has opened one; dropped while that is behind."""
        channel = self._channel
        if channel is None or channel.readyState != "open" or channel.bufferedAmount > len(message):
            return
        with contextlib.suppress(InvalidStateError):
            channel.send(message)

    async def close(self) -> None:
        """Close the connection and stop reading. Safe to call twice and from the state listener."""
        if self._closed:
            return
        self._closed = True
        reader = self._reader
        if reader is not None and reader is not asyncio.current_task():
            reader.cancel()
        await close_connection(self._connection)
        self._listener.change("closed")

    def _choose(self) -> MediaStreamTrack:
        """The first video track that is offered; the first audio track becomes `voice`, all else is declined, since
        nobody would empty its queue."""
        chosen = next((track for track in self._offered if track.kind == "video"), None)
        if chosen is None:
            raise OfferError("the offer has no video track that is sent; add the camera's track before the offer")
        self.voice = next((track for track in self._offered if track.kind == "audio"), None)
        for transceiver in self._connection.getTransceivers():
            received = transceiver.receiver.track in (chosen, self.voice)
            transceiver.direction = "recvonly" if received else "inactive"
        return chosen

    def _channel_opened(self, channel: RTCDataChannel) -> None:
        if channel.label == PARAMETERS_CHANNEL:
            self._channel = channel

    async def _connection_changed(self) -> None:
        logger.info("camera connection is %s", self._connection.connectionState)
        if self._connection.connectionState in ("failed", "closed"):
            await self.close()

    async def _read(self, track: MediaStreamTrack) -> None:
        loop = asyncio.get_running_loop()
        newest = NewestFrame(track, self._listener)
        first_time_s: float | None = None
        try:
            while True:
                frame = await self._next(newest)
                received_time_s, time_s = time.monotonic(), frame.time or 0.0
                first_time_s = time_s if first_time_s is None else first_time_s
                await loop.run_in_executor(_converters, self._convert, frame, time_s - first_time_s, received_time_s)
        except MediaStreamError:
            logger.info("camera ended")
        except TimeoutError:
            logger.info("camera ended: it has sent nothing for too long")
        finally:
            newest.stop()
            await self.close()

    async def _next(self, newest: NewestFrame) -> av.VideoFrame:
        """The next frame, however long the camera is silent before, if it may be.

        :raises TimeoutError: if it is silent for too long, and may not be.
        """
        while True:
            timeout_s = self._silence_timeout_s if self._state else self._connect_timeout_s
            try:
                frame = await asyncio.wait_for(newest.take(), timeout_s)
            except TimeoutError:
                if self._connection.connectionState != "connected" or not self._listener.may_be_silent():
                    raise
                self._become("silent")
            else:
                self._become("connected")
                return frame

    def _become(self, state: str) -> None:
        if state != self._state:
            self._state = state
            self._listener.change(state)

    def _convert(self, frame: av.VideoFrame, capture_time_s: float, received_time_s: float) -> None:
        width, height = frame.width, frame.height
        if width * height > self._max_pixels:
            scale = (self._max_pixels / (width * height)) ** 0.5
            width, height = max(2, int(width * scale) & ~1), max(2, int(height * scale) & ~1)
        image = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
        if not self._closed:
            self._listener.take(image.astype(np.uint8, copy=False), capture_time_s, received_time_s)

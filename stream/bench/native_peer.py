"""A page without a browser: sends a clip over WebRTC to a server and watches the avatar, as renders or as pieces and
parameters; for measurements and tests.
"""

import asyncio
import contextlib
import fractions
import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from aiortc import MediaStreamTrack, RTCDataChannel, RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from fitme.arrays import UInt8Array
from fitme.errors import FitmeError, InputError
from stream.protocol.avatar import PIECE_MAGIC, Piece, Slot
from stream.protocol.parameters import PARAMETERS_MAGIC, Parameters
from stream.protocol.protocol import PARAMETERS_CHANNEL, PROTOCOL_VERSION, Feed
from stream.protocol.render import Render

VIDEO_CLOCK_HZ = 90_000
HTTP_TIMEOUT_S = 60.0
OWNER_COOKIE = "fitme-owner"
KEY_HEADER = "X-Fitme-Key"


class ServerError(FitmeError):
    """The server answered with an error."""

    def __init__(self, status: int, body: str, retry_after: str | None, cookies: tuple[str, ...] = ()) -> None:
        super().__init__(f"the server answered {status}: {body}")
        self.cookies = cookies
        self.status = status
        self.body = body
        self.retry_after = retry_after

    @property
    def code(self) -> str:
        """The protocol's code of the error, or "" if it has none."""
        try:
            return str(json.loads(self.body)["error"]["code"])
        except (ValueError, KeyError, TypeError):
            return ""


@dataclass(frozen=True)
class Answer:
    """HTTP answer with a status of 2xx."""

    body: bytes
    cookies: tuple[str, ...]
    """Values of its `Set-Cookie` headers."""


async def exchange(method: str, url: str, content: object = None, headers: Mapping[str, str] | None = None) -> Answer:
    """Send an HTTP request.

    :param content: bytes as they are, or an object that is sent as JSON.
    :raises ServerError: for a status other than 2xx.
    """

    def send() -> Answer:
        data = content if isinstance(content, bytes) else None if content is None else json.dumps(content).encode()
        outgoing = urllib.request.Request(
            url, data, {"Content-Type": "application/json", **(headers or {})}, method=method
        )
        try:
            with urllib.request.urlopen(outgoing, timeout=HTTP_TIMEOUT_S) as answer:
                return Answer(answer.read(), tuple(answer.headers.get_all("Set-Cookie") or ()))
        except urllib.error.HTTPError as error:
            with error:
                cookies = tuple(error.headers.get_all("Set-Cookie") or ())
                text = error.read().decode()
                raise ServerError(error.code, text, error.headers.get("Retry-After"), cookies) from error

    return await asyncio.to_thread(send)


async def request(method: str, url: str, content: object = None, token: str | None = None) -> bytes:
    """The body of an HTTP answer.

    :param token: the owner's, of `NativePeer.token`.
    :raises ServerError: for a status other than 2xx.
    """
    return (await exchange(method, url, content, authorization(token))).body


def authorization(token: str | None) -> dict[str, str]:
    """Headers with an owner's token; none without one."""
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _owner_token(cookies: Sequence[str]) -> str | None:
    for cookie in cookies:
        name, _, value = cookie.partition(";")[0].partition("=")
        if name.removeprefix("__Host-") == OWNER_COOKIE:
            return value
    return None


async def offer_sdp() -> str:
    """Session description of an offer with a camera that never connects."""
    connection = RTCPeerConnection()
    connection.addTransceiver("video", direction="sendonly")
    await connection.setLocalDescription(await connection.createOffer())
    sdp: str = connection.localDescription.sdp
    await connection.close()
    return sdp


def read_clip(path: Path) -> list[av.VideoFrame]:
    """All frames of a short video, ready to be encoded.

    :raises InputError: if it holds none.
    """
    try:
        with av.open(str(path)) as container:
            frames = [frame.reformat(format="yuv420p") for frame in container.decode(video=0)]
    except (av.error.FFmpegError, IndexError) as error:
        raise InputError(f"{path}: not a video: {error}") from error
    if not frames:
        raise InputError(f"{path}: holds no frames")
    return frames


def frames_of(images: Sequence[UInt8Array]) -> list[av.VideoFrame]:
    """Video frames of images (H, W, 3) uint8 sRGB, ready to be encoded."""
    return [av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p") for image in images]


class ClipTrack(MediaStreamTrack):
    """A camera that plays frames over and over, forwards and backwards, in real time."""

    kind = "video"

    def __init__(self, frames: Sequence[av.VideoFrame], rate: float = 30.0) -> None:
        super().__init__()
        self._frames = [*frames, *frames[-2:0:-1]]
        self._rate = rate
        self._start_s: float | None = None
        self._count = 0

    async def recv(self) -> av.VideoFrame:
        """The next frame, when it is due."""
        if self.readyState != "live":
            raise MediaStreamError
        now_s = time.monotonic()
        if self._start_s is None:
            self._start_s = now_s
        due_s = self._start_s + self._count / self._rate
        if due_s > now_s:
            await asyncio.sleep(due_s - now_s)
        source = self._frames[self._count % len(self._frames)]
        frame = av.VideoFrame.from_ndarray(source.to_ndarray(), format="yuv420p")
        frame.pts = round(self._count * VIDEO_CLOCK_HZ / self._rate)
        frame.time_base = fractions.Fraction(1, VIDEO_CLOCK_HZ)
        # After a stall the clip goes on where real time is.
        self._count = max(self._count + 1, int((time.monotonic() - self._start_s) * self._rate))
        return frame


def _query(feeds: Collection[Feed] | None, held: str | None) -> str:
    """Query of a websocket's address."""
    receive = "" if feeds is None else f"&receive={','.join(feeds)}"
    return f"?protocol={PROTOCOL_VERSION}{receive}" + ("" if held is None else f"&have={held}")


class NativePeer:
    """One page: a camera and a view of one session."""

    def __init__(self, server: str, token: str | None = None, key: str | None = None) -> None:
        """
        :param server: address of the server, e.g. ``http://127.0.0.1:8000``.
        :param token: the owner's, of a session that is to be joined; the server gives one otherwise.
        :param key: the server's access key, if it has one.
        """
        self.server = server
        self.token = token
        self.key = key
        self.session: str | None = None
        self.renders = 0
        self.last_render: Render | None = None
        self.pieces: dict[Slot, Piece] = {}
        """The newest piece of each slot."""
        self.avatar_version = -1
        """Version of the avatar that is complete; -1 before the first."""
        self.parameters: Parameters | None = None
        """The newest ones, of the websocket."""
        self.bytes_received: Counter[str] = Counter()
        """Payload of the websocket's messages by their kinds: ``parameters``, ``piece``, ``render``, and types of
        events."""
        self.messages_received: Counter[str] = Counter()
        self.events: dict[str, dict[str, Any]] = {}
        """The last event of each type."""
        self.on_render: Callable[[Render], None] = lambda render: None
        self.on_parameters: Callable[[Parameters], None] = lambda parameters: None
        self.on_channel: Callable[[Parameters], None] = lambda parameters: None
        """Called with parameters of the data channel."""
        self.on_piece: Callable[[Piece, bytes], None] = lambda piece, message: None
        self.on_event: Callable[[dict[str, Any]], None] = lambda event: None
        self.close_code: int | None = None
        self.websocket: ClientConnection | None = None
        self._connection: RTCPeerConnection | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._changed = asyncio.Condition()

    @property
    def held(self) -> str:
        """What this page has of the avatar, for the address of its next websocket."""
        return f"{self.events['hello']['avatar']}.{self.avatar_version}"

    async def send_camera(
        self, track: MediaStreamTrack, session: str | None = None, *, channel: bool = False
    ) -> dict[str, Any]:
        """Offer a camera, to a session or for a new one; the server's answer.

        :param channel: open a data channel for parameters.
        :raises ServerError: if the server refuses.
        """
        connection = RTCPeerConnection()
        connection.addTransceiver(track, direction="sendonly")
        if channel:
            opened: RTCDataChannel = connection.createDataChannel(PARAMETERS_CHANNEL, ordered=False, maxRetransmits=0)
            opened.on("message", lambda message: self.on_channel(Parameters.unpack(message)))
        await connection.setLocalDescription(await connection.createOffer())
        offer: dict[str, Any] = {"protocol": PROTOCOL_VERSION, "sdp": connection.localDescription.sdp, "type": "offer"}
        if session is not None:
            offer["session"] = session
        try:
            answered = await exchange("POST", f"{self.server}/offer", offer, self._headers())
        except ServerError as error:
            self.token = self.token or _owner_token(error.cookies)
            await connection.close()
            raise
        self.token = self.token or _owner_token(answered.cookies)
        answer: dict[str, Any] = json.loads(answered.body)
        await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
        self._connection, self.session = connection, answer["session"]
        return answer

    async def watch(
        self, feeds: Collection[Feed] | None = None, *, held: str | None = None, acknowledge: bool = True
    ) -> None:
        """Open the websocket and receive events and feeds.

        :param feeds: the server's default if None.
        :param held: what this page has of the avatar.
        """
        await self._open(f"session/{self.session}/view", self._headers(), _query(feeds, held), acknowledge)

    async def watch_link(
        self,
        link: str,
        feeds: Collection[Feed] | None = None,
        *,
        held: str | None = None,
        acknowledge: bool = True,
    ) -> None:
        """Watch by the token of a view link, without the owner's; otherwise as `watch`."""
        await self._open(f"view/{link}/socket", {}, _query(feeds, held), acknowledge)

    async def request(self, method: str, path: str, content: object = None) -> bytes:
        """The body of an HTTP answer to a request on this session.

        :param path: behind ``/session/SESSION``, e.g. ``/keep``.
        :raises ServerError: for a status other than 2xx.
        """
        return await request(method, f"{self.server}/session/{self.session}{path}", content, self.token)

    async def delete(self) -> None:
        """End the session and erase its data.

        :raises ServerError: if the server refuses.
        """
        await self.request("DELETE", "")

    def _headers(self) -> dict[str, str]:
        return authorization(self.token) | ({} if self.key is None else {KEY_HEADER: self.key})

    async def _open(self, path: str, headers: dict[str, str], query: str, acknowledge: bool) -> None:
        address = f"{self.server.replace('http', 'ws', 1)}/{path}{query}"
        self.websocket = await connect(address, max_size=None, compression=None, additional_headers=headers)
        self._watcher = asyncio.create_task(self._watch(self.websocket, acknowledge))

    async def send(self, message: dict[str, Any]) -> None:
        """Send a message of the protocol."""
        assert self.websocket is not None
        await self.websocket.send(json.dumps(message))

    async def until(self, condition: Callable[[], bool], timeout_s: float) -> None:
        """Wait until a message of the websocket makes a condition true.

        :raises TimeoutError: if that takes too long.
        """

        async def wait() -> None:
            async with self._changed:
                await self._changed.wait_for(condition)

        await asyncio.wait_for(wait(), timeout_s)

    def senders(self) -> list[RTCRtpSender]:
        """Senders of the camera's connection."""
        return [] if self._connection is None else self._connection.getSenders()

    async def stop_camera(self) -> None:
        """Close the camera's connection."""
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def close(self) -> None:
        """End the camera and the view."""
        await self.stop_camera()
        if self.websocket is not None:
            await self.websocket.close()
        if self._watcher is not None:
            await self._watcher

    async def _watch(self, websocket: ClientConnection, acknowledge: bool) -> None:
        try:
            async for message in websocket:
                if isinstance(message, bytes):
                    kind = await self._receive(websocket, message, acknowledge)
                else:
                    event = json.loads(message)
                    kind = event["type"]
                    self.events[kind] = event
                    self.on_event(event)
                self.bytes_received[kind] += len(message)
                self.messages_received[kind] += 1
                async with self._changed:
                    self._changed.notify_all()
        except ConnectionClosed:
            pass
        self.close_code = websocket.close_code
        async with self._changed:
            self._changed.notify_all()

    async def _receive(self, websocket: ClientConnection, message: bytes, acknowledge: bool) -> str:
        """Take in a binary message: parameters, a piece or a render; returns which."""
        if message.startswith(PARAMETERS_MAGIC):
            self.parameters = Parameters.unpack(message)
            self.on_parameters(self.parameters)
            return "parameters"
        if message.startswith(PIECE_MAGIC):
            piece = Piece.unpack(message)
            self.pieces[piece.slot] = piece
            if piece.complete:
                self.avatar_version = piece.version
            self.on_piece(piece, message)
            return "piece"
        render = Render.unpack(message)
        if acknowledge:
            # If the server has closed meanwhile, the events that it sent before are still to be read.
            with contextlib.suppress(ConnectionClosed):
                await websocket.send(f'{{"type":"ack","sequence":{render.sequence}}}')
        self.renders, self.last_render = self.renders + 1, render
        self.on_render(render)
        return "render"

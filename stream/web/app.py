"""The web application: signalling, session API, websocket and page on one port. See `stream.protocol.protocol`."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import UNSET
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from fitme.errors import FitmeError
from stream.engine.interface import Engine, EngineError
from stream.protocol.client_messages import decode
from stream.protocol.protocol import PROTOCOL_VERSION, ProtocolError
from stream.protocol.requests import (
    AccessBody,
    CandidateBody,
    CheckBody,
    KeepBody,
    LinkBody,
    ListenBody,
    MotionBody,
    OfferBody,
    check_version,
)
from stream.settings import ServeSettings
from stream.web.access import AccessControl, AccessError, owner_token, set_owner_cookie
from stream.web.cameras import connect_camera
from stream.web.guard import Guard
from stream.web.operations import Operations
from stream.web.peers.checks import ConnectionChecks
from stream.web.peers.decoders import install_decoders
from stream.web.peers.network import PeerNetwork, bind_within
from stream.web.peers.rtc import OfferError
from stream.web.problems import UnknownPieceError, status_and_code
from stream.web.sessions.errors import FullError
from stream.web.sessions.folders import SessionFolders
from stream.web.sessions.session import Session
from stream.web.sessions.table import SessionTable
from stream.web.sockets import PageSockets
from stream.web.tokens import new_token
from stream.web.viewing import Viewing

T = TypeVar("T")

_PAGE_IN_WHEEL = Path(__file__).resolve().parents[1] / "page"
CLIENT_FOLDER = _PAGE_IN_WHEEL if _PAGE_IN_WHEEL.is_dir() else Path(__file__).resolve().parents[2] / "client"
"""Folder of the page's files."""
VIEWER_PAGE = "viewer.html"
SAMPLE_NAMES = ("assets/sample.webm", "assets/sample.mp4")
"""Possible files of the page's sample clip, relative to the client's folder."""


_offer_bodies = msgspec.json.Decoder(OfferBody)
_candidate_bodies = msgspec.json.Decoder(CandidateBody)
_keep_bodies = msgspec.json.Decoder(KeepBody)
_access_bodies = msgspec.json.Decoder(AccessBody)
_listen_bodies = msgspec.json.Decoder(ListenBody)
_check_bodies = msgspec.json.Decoder(CheckBody)
_link_bodies = msgspec.json.Decoder(LinkBody)
_motion_bodies = msgspec.json.Decoder(MotionBody)

SHARED_CACHE = "public, max-age=31536000, immutable"
"""`Cache-Control` of pieces that are everybody's: their addresses are their digests."""
NOT_READY_RETRY_S = 2
"""`Retry-After` of an avatar that is not ready."""
WRONG_KEY_PAUSE_S = 1.0
"""Time that a wrong access key costs whoever guesses."""


class Service:
    """HTTP handlers of one server."""

    def __init__(self, settings: ServeSettings, engine: Engine, folders: SessionFolders) -> None:
        self.settings = settings
        self.engine = engine
        self.sessions = SessionTable(settings, engine, folders)
        self.network = PeerNetwork.of(settings)
        self.viewing = Viewing(settings, self.network, self.sessions)
        self.checks = ConnectionChecks(self.network)
        self.access = AccessControl(settings.access)
        self.sockets = PageSockets(self.access, self.sessions, self.viewing, lambda: self.started)
        self.operations = Operations(settings, engine, self.sessions, folders, lambda: self.started)
        self.started = False
        """The engine is warm: sessions can begin."""
        self.failure: EngineError | None = None
        """Why the engine could not start."""
        self.on_failure: Callable[[], None] = lambda: None
        self.on_ready: Callable[[], None] = lambda: None

    @contextlib.asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Start the engine in the background, so that requests are answered meanwhile; end all sessions at last."""
        if self.settings.udp.ports is not None:
            bind_within(asyncio.get_running_loop(), self.settings.udp.ports)
        await self.sessions.sweep()  # before the engine warms up: what is over does not wait for that
        tasks = [asyncio.create_task(self._start()), asyncio.create_task(self.operations.monitor.run())]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self.checks.close()
            await self.sessions.stop()
            await self.engine.stop()

    async def _start(self) -> None:
        try:
            await self.engine.start()
        except EngineError as error:
            self.failure = error
            self.on_failure()
            return
        self.sessions.start()
        self.started = True
        self.on_ready()

    async def config(self, request: Request) -> Response:
        """``GET /config``"""
        servers = [
            {name: value for name, value in vars(server).items() if value is not None}
            for server in self.settings.ice_servers
        ]
        limits = {
            "sessions": self.settings.session.limit,
            "message_bytes": self.settings.max_message_bytes,
            "render_size": self.settings.render.size_px,
            "kept_days": self.settings.session.kept_days,
            "grace_seconds": self.settings.session.grace_s,
        }
        sample = next((name for name in SAMPLE_NAMES if (CLIENT_FOLDER / name).is_file()), None)
        content = {"protocol": PROTOCOL_VERSION, "iceServers": servers, "limits": limits, "sample": sample}
        return JSONResponse({**content, "key_needed": not self.access.admits(request)})

    async def enter(self, request: Request) -> Response:
        """``POST /access``"""
        body = await self._body(request, _access_bodies)
        response = Response(status_code=204)
        try:
            self.access.enter(request, body.key, response)
        except AccessError as error:
            await asyncio.sleep(WRONG_KEY_PAUSE_S)
            raise ProtocolError("bad_key", str(error)) from error
        return response

    async def offer(self, request: Request) -> Response:
        """``POST /offer``"""
        offer = await self._body(request, _offer_bodies)
        _check_offer(offer)
        self.access.require(request)
        self._check_engine()
        caller, token = self.access.caller(request), owner_token(request)
        if not token:
            token = request.state.new_owner = new_token()
            caller = caller.as_owner(token)
        wanted = None if offer.session is UNSET else offer.session
        session, sdp, peer = await connect_camera(
            self.settings, self.network, self.engine, self.sessions, wanted, offer.sdp, caller
        )
        answer = {"sdp": sdp, "type": "answer", "session": session.id, "peer": peer, "resumed": wanted is not None}
        return _with_owner(request, JSONResponse(answer))

    async def check(self, request: Request) -> Response:
        """``POST /check``"""
        offer = await self._body(request, _check_bodies)
        _check_offer(offer)
        candidates = self.network.candidates_of(self.access.caller(request).address)
        return JSONResponse({"sdp": await self.checks.answer(offer.sdp, candidates), "type": "answer"})

    async def trickle(self, request: Request) -> Response:
        """``PATCH /offer/{session}``"""
        session = self._session(request)
        candidate = await self._body(request, _candidate_bodies)
        if session.peer is not None and candidate.peer == session.connected_number:
            try:
                await session.peer.add_candidate(candidate.candidate, candidate.sdpMid, candidate.sdpMLineIndex)
            except OfferError as error:
                raise ProtocolError("bad_candidate", str(error)) from error
        return Response(status_code=204)

    async def avatar(self, request: Request) -> Response:
        """``GET /session/{session}/avatar.glb``"""
        session = self._session(request)
        self._check_engine()
        path = await self.engine.export(session.id)
        return _TemporaryFileResponse(path, media_type="model/gltf-binary", filename="avatar.glb")

    async def piece(self, request: Request) -> Response:
        """``GET /piece/{digest}``"""
        message = self.engine.shared_piece(request.path_params["digest"])
        if message is None:
            raise UnknownPieceError("there is no such piece: reload the page")
        return Response(message, media_type="application/octet-stream", headers={"Cache-Control": SHARED_CACHE})

    async def keep(self, request: Request) -> Response:
        """``POST /session/{session}/keep``"""
        session = self._session(request)
        wanted = await self._body(request, _keep_bodies)
        await self.sessions.keep(session, wanted.keep)
        response = JSONResponse({"kept": wanted.keep, "stored": session.stored})
        set_owner_cookie(request, response, owner_token(request), kept=wanted.keep)
        return response

    async def delete(self, request: Request) -> Response:
        """``DELETE /session/{session}``"""
        await self.sessions.delete(request.path_params["session"], self.access.caller(request))
        return Response(status_code=204)

    async def motion(self, request: Request) -> Response:
        """``GET /session/{session}/motion``"""
        return JSONResponse(self.sessions.motion.state(self._session(request)))

    async def change_motion(self, request: Request) -> Response:
        """``POST /session/{session}/motion``"""
        session, wanted = self._session(request), await self._body(request, _motion_bodies)
        if wanted.source is not UNSET:
            await self.sessions.motion.set_source(session, wanted.source)
        if wanted.send is not UNSET:
            await self.sessions.motion.set_sending(session, wanted.send)
        return JSONResponse(self.sessions.motion.state(session))

    async def add_link(self, request: Request) -> Response:
        """``POST /session/{session}/links``"""
        session = self._session(request)
        body = await self._body(request, _link_bodies)
        link, token = await self.viewing.add_link(session, None if body.seconds is UNSET else body.seconds)
        return JSONResponse({"id": link.id, "token": token, "path": f"view/{token}", "expires_s": link.expires_s})

    async def links(self, request: Request) -> Response:
        """``GET /session/{session}/links``"""
        session = self._session(request)
        links = [
            {"id": link.id, "viewers": session.relay.viewers_of(link.id), "expires_s": link.expires_s}
            for link in session.rights.links
        ]
        return JSONResponse({"links": links})

    async def revoke_link(self, request: Request) -> Response:
        """``DELETE /session/{session}/links/{link}``"""
        await self.viewing.revoke_link(self._session(request), request.path_params["link"])
        return Response(status_code=204)

    async def viewer_page(self, _request: Request) -> Response:
        """``GET /view/{token}``: the page, whatever the token; its websocket finds out whether it leads anywhere."""
        return FileResponse(CLIENT_FOLDER / VIEWER_PAGE, headers={"Cache-Control": "no-store"})

    async def listen(self, request: Request) -> Response:
        """``POST /view/{token}/voice``"""
        session, link = self.sessions.watched(request.path_params["token"])
        offer = await self._body(request, _listen_bodies)
        _check_offer(offer)
        sdp = await self.viewing.listen(session, link, offer.sdp, self.access.caller(request))
        return JSONResponse({"sdp": sdp, "type": "answer"})

    def _session(self, request: Request) -> Session:
        """The active session that a request names, if it comes from its owner."""
        return self.sessions.get(request.path_params["session"], self.access.caller(request))

    def _check_engine(self) -> None:
        if not self.started or not self.engine.healthy:
            raise EngineError("the engine is starting: try again in a moment")

    async def _body(self, request: Request, decoder: msgspec.json.Decoder[T]) -> T:
        """Body of a request, decoded strictly.

        :raises ProtocolError: with code ``too_large`` or ``bad_request``.
        """
        body = bytearray()
        try:
            async with asyncio.timeout(self.settings.connections.body_timeout_s):
                async for chunk in request.stream():
                    body += chunk
                    if len(body) > self.settings.max_message_bytes:
                        raise ProtocolError("too_large", f"a body has at most {self.settings.max_message_bytes} bytes")
        except TimeoutError as error:
            raise ProtocolError("timeout", "the body of the request did not come in time") from error
        except ClientDisconnect as error:
            raise ProtocolError("bad_request", "the client went before the body was complete") from error
        return decode(decoder, bytes(body), "bad_request")


class _TemporaryFileResponse(FileResponse):
    """Answer with a file that is removed afterwards, however the request ends: also after a malformed `Range`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See `FileResponse`."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.to_thread(Path(self.path).unlink, missing_ok=True)


def _check_offer(offer: OfferBody | ListenBody | CheckBody) -> None:
    """Refuse what is no offer, or a client's of another version.

    :raises ProtocolError: with its code.
    """
    check_version(offer.protocol)
    if offer.type != "offer":
        raise ProtocolError("bad_offer", f"type must be 'offer', not {offer.type[:40]!r}")


def _with_owner(request: Request, response: Response) -> Response:
    """Set the cookie of an owner's token that was made for this request."""
    token: str | None = getattr(request.state, "new_owner", None)
    if token is not None:
        set_owner_cookie(request, response, token, kept=False)
    return response


async def _refuse(websocket: WebSocket) -> None:
    """Refuse a websocket at any other address."""
    await websocket.close()


async def _page_gone(_websocket: WebSocket, _error: Exception) -> None:
    """Do nothing more for a page that went before it had its answer."""


def _error_response(retry_after_s: int) -> Callable[[Request, Exception], Awaitable[Response]]:
    async def respond(request: Request, error: Exception) -> Response:
        status, code = status_and_code(error)
        retry_s = {409: NOT_READY_RETRY_S, 429: retry_after_s, 503: retry_after_s}.get(status)
        headers = None if retry_s is None else {"Retry-After": str(retry_s)}
        content: dict[str, object] = {"code": code, "message": str(error)}
        if isinstance(error, FullError) and error.place:
            content["place"] = error.place
        return _with_owner(request, JSONResponse({"error": content}, status, headers))

    return respond


def create_app(settings: ServeSettings, engine: Engine, folders: SessionFolders) -> Starlette:
    """ASGI application of a server; its `Service` is `app.state.service`.

    :raises ConfigError: if settings contradict each other, or a file that they name cannot be used.
    """
    install_decoders(settings.camera)
    service = Service(settings, engine, folders)
    session = "/session/{session}"
    routes = [
        Route("/config", service.config),
        Route("/healthz", service.operations.health),
        Route("/readyz", service.operations.ready),
        Route("/metrics", service.operations.metrics),
        Route("/admin/drain", service.operations.drain, methods=["POST"]),
        Route("/offer", service.offer, methods=["POST"]),
        Route("/check", service.check, methods=["POST"]),
        Route("/offer/{session}", service.trickle, methods=["PATCH"]),
        Route("/piece/{digest}", service.piece),
        Route(f"{session}/avatar.glb", service.avatar),
        Route(f"{session}/keep", service.keep, methods=["POST"]),
        Route(f"{session}/motion", service.motion),
        Route(f"{session}/motion", service.change_motion, methods=["POST"]),
        Route(f"{session}/links", service.add_link, methods=["POST"]),
        Route(f"{session}/links", service.links),
        Route(f"{session}/links/{{link}}", service.revoke_link, methods=["DELETE"]),
        Route(session, service.delete, methods=["DELETE"]),
        Route("/access", service.enter, methods=["POST"]),
        Route("/view/{token}", service.viewer_page),
        Route("/view/{token}/voice", service.listen, methods=["POST"]),
        WebSocketRoute("/view/{token}/socket", service.sockets.view_by_link),
        WebSocketRoute(f"{session}/view", service.sockets.view),
        WebSocketRoute("/{path:path}", _refuse),
        Mount("/", StaticFiles(directory=CLIENT_FOLDER, html=True)),
    ]
    guard = Middleware(Guard, settings=settings.access, host=settings.host)
    app = Starlette(
        routes=routes,
        middleware=[guard],
        lifespan=service.lifespan,
        exception_handlers={
            FitmeError: _error_response(settings.session.retry_after_s),
            WebSocketDisconnect: _page_gone,
        },
    )
    app.state.service = service
    return app

"""Websockets of pages: the owner's and those of view links."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from starlette.websockets import WebSocket, WebSocketDisconnect

from fitme.errors import FitmeError
from stream.protocol.client_messages import parse_client_message
from stream.protocol.events import ErrorEvent
from stream.protocol.protocol import (
    CLOSE_BAD_ADDRESS,
    CLOSE_FORBIDDEN,
    CLOSE_FULL,
    CLOSE_OTHER_VERSION,
    CLOSE_UNKNOWN_SESSION,
    ProtocolError,
    Role,
)
from stream.protocol.render import Render
from stream.protocol.requests import check_version, parse_feeds, parse_held
from stream.web.access import AccessControl, AccessError, UserError
from stream.web.problems import status_and_code
from stream.web.relay import Joining, Outbox
from stream.web.sessions.errors import FullError, TooManyError, UnknownSessionError
from stream.web.sessions.rights import Caller, ForbiddenError, ViewLink
from stream.web.sessions.session import Session
from stream.web.sessions.table import SessionTable
from stream.web.viewing import Viewing

logger = logging.getLogger(__name__)


class PageSockets:
    """Handlers of the pages' websockets."""

    def __init__(
        self, access: AccessControl, sessions: SessionTable, viewing: Viewing, is_ready: Callable[[], bool]
    ) -> None:
        """
        :param is_ready: whether the engine is warm.
        """
        self._access = access
        self._sessions = sessions
        self._viewing = viewing
        self._is_ready = is_ready

    async def view(self, websocket: WebSocket) -> None:
        """Websocket ``/session/{session}/view``"""
        caller = self._access.caller(websocket)

        async def find() -> tuple[Session, ViewLink | None]:
            self._access.require(websocket)
            return await self._sessions.activate(websocket.path_params["session"], caller), None

        await self._watch(websocket, caller, Role.OWNER, find)

    async def view_by_link(self, websocket: WebSocket) -> None:
        """Websocket ``/view/{token}/socket``"""

        async def find() -> tuple[Session, ViewLink | None]:
            return self._sessions.watched(websocket.path_params["token"])

        await self._watch(websocket, self._access.caller(websocket), Role.VIEWER, find)

    async def _watch(
        self,
        websocket: WebSocket,
        caller: Caller,
        role: Role,
        find: Callable[[], Awaitable[tuple[Session, ViewLink | None]]],
    ) -> None:
        """Serve one page's websocket until either side ends it.

        :raises WebSocketDisconnect: if the page goes before it has its answer.
        """
        await websocket.accept()
        query = websocket.query_params
        try:
            check_version(query.get("protocol"))
        except ProtocolError as error:
            # Pages of version 1 understand a `hello` of another version: they stop and ask to be reloaded.
            await websocket.send_text(self._viewing.hello(None, role).to_json())
            await websocket.close(CLOSE_OTHER_VERSION, str(error))
            return
        if not self._is_ready():
            await websocket.close(CLOSE_FULL, "the engine is starting")
            return
        try:
            joining = Joining(parse_feeds(query.get("receive")), parse_held(query.get("have")))
        except ProtocolError as error:
            await websocket.close(CLOSE_BAD_ADDRESS, str(error))
            return
        try:
            session, link = await find()
            outbox = self._viewing.join(session, link, joining)
        except UnknownSessionError as error:
            await websocket.close(CLOSE_UNKNOWN_SESSION, str(error))
            return
        except (ForbiddenError, AccessError, UserError) as error:
            await websocket.close(CLOSE_FORBIDDEN, str(error))
            return
        except (FullError, TooManyError) as error:
            await websocket.close(CLOSE_FULL, str(error))
            return
        sender = asyncio.create_task(_send(websocket, outbox))
        receiver = asyncio.create_task(self._receive(websocket, session, outbox, caller))
        try:
            await asyncio.wait((sender, receiver), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._viewing.leave(session, outbox)
            for task in (sender, receiver):
                task.cancel()
            await asyncio.gather(sender, receiver, return_exceptions=True)

    async def _receive(self, websocket: WebSocket, session: Session, outbox: Outbox, caller: Caller) -> None:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            try:
                text = message.get("text")
                if text is None:
                    raise ProtocolError("bad_message", "pages send text messages only")
                await self._viewing.handle(session, outbox, parse_client_message(text), caller)
            except (ProtocolError, ForbiddenError) as error:
                outbox.put(ErrorEvent(status_and_code(error)[1], str(error)))
            except FitmeError as error:
                logger.warning("a page's message failed: %s", error)
                outbox.put(ErrorEvent(status_and_code(error)[1], str(error)))


async def _send(websocket: WebSocket, outbox: Outbox) -> None:
    try:
        while (item := await outbox.take()) is not None:
            if isinstance(item, bytes):
                await websocket.send_bytes(item)
            elif isinstance(item, Render):
                await websocket.send_bytes(item.pack())
            else:
                await websocket.send_text(item.to_json())
        await websocket.close(outbox.close_code)
    except (WebSocketDisconnect, RuntimeError):
        logger.debug("a page closed while a message was being sent to it")

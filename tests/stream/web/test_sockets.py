"""Websockets of pages that go at once."""

import asyncio
import logging
import socket
import struct
from pathlib import Path

import pytest
import uvicorn
from websockets.asyncio.client import connect

from stream.protocol.protocol import CLOSE_UNKNOWN_SESSION, PROTOCOL_VERSION
from stream.settings import ServeSettings
from stream.web.app import create_app
from stream.web.sessions.folders import SessionFolders

from .idle_engine import IdleEngine

PAGES = 40


async def test_pages_that_go_before_they_have_an_answer_are_no_errors(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(
        ServeSettings(store=str(tmp_path / "sessions")), IdleEngine(), SessionFolders(tmp_path / "sessions")
    )
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    address = f"127.0.0.1:{port}/session/{'0' * 48}/view?protocol={PROTOCOL_VERSION}"
    handshake = (
        f"GET /session/{'0' * 48}/view?protocol={PROTOCOL_VERSION} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    ).encode()
    with caplog.at_level(logging.ERROR):
        for _ in range(PAGES):
            page = socket.create_connection(("127.0.0.1", port))
            page.sendall(handshake)
            page.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # a reset, without a word
            page.close()
            await asyncio.sleep(0)
        async with connect(f"ws://{address}") as websocket:
            await websocket.wait_closed()
        server.should_exit = True
        await task
    assert websocket.close_code == CLOSE_UNKNOWN_SESSION, "others are answered"
    assert not caplog.records

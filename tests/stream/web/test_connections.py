"""Bounds on connections, against uvicorn with a small application."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from stream.settings import ConnectionSettings
from stream.web.connections import bounded_protocol, raise_file_limit

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


async def answer(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("here")


@contextlib.asynccontextmanager
async def serving(settings: ConnectionSettings) -> AsyncIterator[int]:
    """Port of a server."""
    config = uvicorn.Config(
        Starlette(routes=[Route("/", answer)]),
        port=0,
        http=bounded_protocol(settings),
        timeout_keep_alive=settings.idle_timeout_s,
        log_level="critical",
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def closed(reader: asyncio.StreamReader) -> bool:
    """Whether the server closes a connection without a word."""
    try:
        return await asyncio.wait_for(reader.read(), 10.0) == b""
    except ConnectionResetError:
        return True


async def answered(port: int) -> bool:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(REQUEST)
    try:
        return b"200 OK" in await asyncio.wait_for(reader.readline(), 10.0)
    except ConnectionResetError:
        return False
    finally:
        writer.close()


async def test_connections_are_bounded_and_free_again() -> None:
    async with serving(ConnectionSettings(limit=8, header_timeout_s=60.0)) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(8)]
        refused = [await asyncio.open_connection("127.0.0.1", port) for _ in range(20)]
        assert all([await closed(reader) for reader, _ in refused])
        for _, writer in held[:4]:
            writer.close()
        await asyncio.sleep(0.1)
        assert await answered(port)
        for _, writer in [*held, *refused]:
            writer.close()


async def test_connections_of_one_address_are_bounded() -> None:
    async with serving(ConnectionSettings(limit=100, per_address_limit=4, header_timeout_s=60.0)) as port:
        pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(5)]
        assert await closed(pairs[4][0])
        for _, writer in pairs:
            writer.close()


async def test_many_at_once_from_one_address_keep_nobody_else_out() -> None:
    async with serving(ConnectionSettings(limit=16, per_address_limit=4, header_timeout_s=60.0)) as port:
        # All of them wait for the server before its loop turns.
        strangers = [socket.create_connection(("127.0.0.1", port), source_address=("127.0.0.66", 0)) for _ in range(60)]
        with socket.create_connection(("127.0.0.1", port)) as honest:
            honest.sendall(REQUEST)
            honest.setblocking(False)
            line = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(honest, 15), 10.0)
        assert line == b"HTTP/1.1 200 OK"
        for stranger in strangers:
            stranger.close()


async def test_silence_slow_headers_and_slow_second_requests_are_ended() -> None:
    async with serving(ConnectionSettings(header_timeout_s=0.3, idle_timeout_s=60)) as port:
        silent, silent_writer = await asyncio.open_connection("127.0.0.1", port)
        slow, slow_writer = await asyncio.open_connection("127.0.0.1", port)
        second, second_writer = await asyncio.open_connection("127.0.0.1", port)
        second_writer.write(REQUEST)
        assert b"here" in await asyncio.wait_for(second.readuntil(b"here"), 10.0)
        second_writer.write(REQUEST[:10])

        async def drip() -> None:
            for byte in REQUEST[:-2] * 10:
                slow_writer.write(bytes([byte]))
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        assert await closed(silent)
        assert await closed(slow)
        assert await closed(second)
        dripping.cancel()
        assert await answered(port)
        for writer in (silent_writer, slow_writer, second_writer):
            writer.close()


def test_the_limit_of_files_is_lifted() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[0] // 2, before[1]))
        raise_file_limit()
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (before[1], before[1])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)

"""What the benchmark of a cluster's disasters finds: lost rounds, two owners, and a link that is slow or cut."""

import asyncio
import contextlib
import time

import pytest

from stream.bench.cluster_chaos import count_lost, is_owned_twice, read_journal
from stream.bench.network_link import NetworkLink
from stream.bench.server_process import free_port


def test_two_owners_are_found() -> None:
    in_turn = ["s a 0", "s a 1", "t x 0", "s b 2", "t x 1"]
    journal = read_journal(in_turn)
    assert [entry.index for entry in journal["s"]] == [0, 1, 2]
    assert not any(is_owned_twice(entries) for entries in journal.values())
    assert is_owned_twice(read_journal([*in_turn, "s a 3"])["s"]), "the first owner goes on after the second"
    assert is_owned_twice(read_journal([*in_turn, "s c 2"])["s"]), "a round is committed twice"


def test_lost_rounds_are_counted() -> None:
    entries = read_journal(["s a 0", "s a 1", "s b 2"])["s"]
    assert count_lost(entries, [0, 1, 2, 3], told=3) == 0
    assert count_lost(entries, [0, 1], told=1) == 1
    assert count_lost(entries, [0, 1, 2], told=4) == 2, "pages were told of rounds that nobody has"


async def test_a_link_is_slow_cut_and_mended() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    async def asked() -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", link.port)
        try:
            writer.write(b"hello")
            return await reader.read(100)
        finally:
            writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", free_port())
    async with server, NetworkLink(server.sockets[0].getsockname()[1], free_port()) as link:
        assert await asked() == b"hello"
        link.delay_s = 0.1
        start_s = time.monotonic()
        assert await asked() == b"hello"
        assert time.monotonic() - start_s >= 0.2, "there and back"
        reader, _ = await asyncio.open_connection("127.0.0.1", link.port)
        await asyncio.sleep(0)
        link.delay_s = 0.0
        assert await asked() == b"hello"
        link.cut()
        with pytest.raises(OSError):
            await asked()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read(1) == b"", "open connections end, too"
        await link.mend()
        assert await asked() == b"hello"

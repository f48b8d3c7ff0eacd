"""Outputs and sources by their addresses, over real sockets of this machine."""

import asyncio
import socket

import pytest
import websockets
from websockets.asyncio.client import connect

from fitme.errors import ConfigError
from fitme.motion.addresses import MotionAddress, parse_address
from fitme.motion.endpoints import open_output, open_source
from fitme.motion.messages import motion_of_json
from fitme.motion.settings import MotionSettings

SETTINGS = MotionSettings()


def free_port(kind=socket.SOCK_DGRAM):
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def sent_until_received(output, source, moving):
    """Send motion until some arrives; UDP may lose the first."""
    received = asyncio.create_task(source.take())
    for frame in range(1000):
        output.send(moving(frame / 60.0))
        await asyncio.sleep(0.005)
        if received.done():
            break
    return await asyncio.wait_for(received, 5.0)


@pytest.mark.parametrize("scheme", ["vmc", "livelink", "websocket"])
async def test_motion_goes_from_output_to_source(scheme, moving):
    reports: list[str] = []
    kind = socket.SOCK_STREAM if scheme == "websocket" else socket.SOCK_DGRAM
    address = parse_address(f"{scheme}://127.0.0.1:{free_port(kind)}")
    if scheme == "websocket":
        output = await open_output(address, SETTINGS, reports.append)
        source = await open_source(parse_address(f"ws://127.0.0.1:{address.port}"), reports.append)
    else:
        source = await open_source(address, reports.append)
        output = await open_output(address, MotionSettings(vmc_bytes_per_second=None), reports.append)
    motion = await sent_until_received(output, source, moving)
    assert motion.tracked
    assert 0.01 < sum(motion.weights) / 52 < 1.0
    await source.close()
    await output.close()
    if scheme != "websocket":
        assert reports == [f"{address}: motion comes from 127.0.0.1"]


async def test_a_client_sends_to_a_source_that_listens(moving):
    reports: list[str] = []
    port = free_port(socket.SOCK_STREAM)
    output = await open_output(parse_address(f"ws://127.0.0.1:{port}/"), SETTINGS, reports.append)
    await asyncio.sleep(0.05)
    source = await open_source(parse_address(f"websocket://127.0.0.1:{port}"), reports.append)
    motion = await sent_until_received(output, source, moving)
    assert motion.tracked
    assert any("it is tried again" in report for report in reports)
    await source.close()
    await output.close()


async def test_pages_of_other_sites_are_refused():
    output = await open_output(
        parse_address("websocket://127.0.0.1:0".replace(":0", f":{free_port()}")), SETTINGS, print
    )
    try:
        for origin in ("http://localhost:8000", "null", None):
            async with connect(f"ws://127.0.0.1:{output.port}", origin=origin):
                pass
        for origin in ("https://example.org", "http://localhost.example.org", "http://127.0.0.1.example.org"):
            with pytest.raises(websockets.exceptions.InvalidStatus, match="403"):
                async with connect(f"ws://127.0.0.1:{output.port}", origin=origin):
                    pass
    finally:
        await output.close()


async def test_who_reads_slowly_gets_the_newest_and_delays_nobody(moving):
    output = await open_output(parse_address(f"websocket://127.0.0.1:{free_port()}"), SETTINGS, print)
    address = f"ws://127.0.0.1:{output.port}"
    slowly = connect(address, max_queue=1, compression=None, close_timeout=0.1)
    async with slowly as slow, connect(address, compression=None, close_timeout=0.1) as prompt:
        for frame in range(3000):
            output.send(moving(frame / 60.0))
            if frame % 100 == 0:
                assert (await prompt.recv()) is not None
        # The slow one did not read: what waits for it is bounded, by the sockets' buffers too.
        waiting = [connection.transport.get_write_buffer_size() for connection in output._server.connections]
        assert max(waiting) < 100_000
        assert motion_of_json(await slow.recv()).tracked
    await output.close()


async def test_messages_that_are_no_motion_are_reported_once(moving):
    reports: list[str] = []
    source = await open_source(parse_address(f"websocket://127.0.0.1:{free_port()}"), reports.append)
    async with connect(f"ws://127.0.0.1:{source.port}") as sender:
        for _ in range(20):
            await sender.send("hello")
        await sender.send('{"type": "motion", "time": 3, "tracked": true, "weights": {"jawOpen": 0.5}}')
        motion = await asyncio.wait_for(source.take(), 5.0)
    assert max(motion.weights) == 0.5
    assert sum("a message is dropped" in report for report in reports) == 1
    await source.close()


async def test_packets_of_another_protocol_are_reported_and_dropped(moving):
    reports: list[str] = []
    address = parse_address(f"livelink://127.0.0.1:{free_port()}")
    source = await open_source(address, reports.append)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for _ in range(50):
            sender.sendto(b"/VMC/Ext/OK\0,i\0\0\0\0\0\1", ("127.0.0.1", address.port))
        output = await open_output(address, SETTINGS, reports.append)
        assert (await sent_until_received(output, source, moving)).tracked
    dropped = [report for report in reports if "dropped" in report]
    assert len(dropped) == 1
    assert "not Live Link Face of version 6" in dropped[0]
    await source.close()
    await output.close()


async def test_a_second_sender_waits_until_the_first_is_silent(moving):
    reports: list[str] = []
    address = parse_address(f"livelink://127.0.0.1:{free_port()}")
    source = await open_source(address, reports.append)
    first, second = [await open_output(address, SETTINGS, reports.append) for _ in range(2)]
    await sent_until_received(first, source, moving)
    for frame in range(20):
        first.send(moving(0.0))
        second.send(moving(frame / 60.0))
        await asyncio.sleep(0.002)
    assert len(reports) == 1, "one sender"
    for endpoint in (source, first, second):
        await endpoint.close()


@pytest.mark.parametrize("scheme", ["vmc", "livelink", "websocket"])
async def test_a_port_in_use(scheme):
    kind = socket.SOCK_STREAM if scheme == "websocket" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", 0))
        if kind == socket.SOCK_STREAM:
            taken.listen()
        address = parse_address(f"{scheme}://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(ConfigError, match="another program listens at port"):
            await open_source(address, print)


@pytest.mark.parametrize("scheme", ["vmc", "websocket"])
async def test_an_address_that_is_not_this_machines(scheme):
    with pytest.raises(ConfigError, match="not an address of this machine"):
        await open_source(MotionAddress(scheme, "192.0.2.1", 39539), print)


async def test_a_host_that_is_not_there():
    with pytest.raises(ConfigError, match="there is no host"):
        await open_output(MotionAddress("vmc", "nobody.invalid", 39539), SETTINGS, print)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vmc://127.0.0.1", MotionAddress("vmc", "127.0.0.1", 39539)),
        ("LiveLink://studio:11112/Alice%20B", MotionAddress("livelink", "studio", 11112, "Alice B")),
        ("websocket://[::1]:9000", MotionAddress("websocket", "::1", 9000)),
        ("ws://example.org/a?b=c", MotionAddress("ws", "example.org", 80, "a?b=c")),
    ],
)
def test_addresses(text, expected):
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["vmc://", "vmc:127.0.0.1", "osc://host", "vmc://host:port", "vmc://host:99999", "vmc://h:0"]
)
def test_what_is_no_address(text):
    with pytest.raises(ConfigError, match=r"use vmc://HOST"):
        parse_address(text)

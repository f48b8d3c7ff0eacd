"""Peer connections of a server behind NAT: its ports, and the addresses that it names."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import pytest
from aiortc import RTCPeerConnection, RTCSessionDescription

from fitme.errors import ConfigError
from stream.settings import ServeSettings, UdpSettings
from stream.web.peers import checks
from stream.web.peers.checks import CHECKS_LIMIT, ConnectionChecks, ManyChecksError
from stream.web.peers.network import PeerNetwork, bind_within
from stream.web.peers.rtc import OfferError

FORWARDED = "203.0.113.7"


def candidates(sdp: str) -> list[list[str]]:
    return [line.split() for line in sdp.splitlines() if line.startswith("a=candidate:")]


async def channel_offer() -> RTCPeerConnection:
    connection = RTCPeerConnection()
    connection.createDataChannel("check")
    await connection.setLocalDescription(await connection.createOffer())
    return connection


def free_ports(count: int) -> tuple[int, int]:
    """Some ports in a row that are free on all addresses, most likely."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("", 0))
        first = min(int(probe.getsockname()[1]), 65_000)
    return first + 1, first + count


class Forwarder(asyncio.DatagramProtocol):
    """NAT: packets to one address and port go to another one, and back."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.client: tuple[str, int] | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        if address == self.target:
            assert self.client is not None
            self.transport.sendto(data, self.client)
        else:
            self.client = address
            self.transport.sendto(data, self.target)


@pytest.fixture
async def checked() -> AsyncIterator[ConnectionChecks]:
    """Checks of a server whose ports are forwarded from another address."""
    loop = asyncio.get_running_loop()
    ports = free_ports(40)
    bind_within(loop, ports)
    settings = ServeSettings(udp=UdpSettings(ports, (FORWARDED, "2001:db8::7")))
    running = ConnectionChecks(PeerNetwork.of(settings))
    yield running
    await running.close()


async def test_a_client_reaches_a_server_behind_nat_by_the_address_that_it_names(checked: ConnectionChecks) -> None:
    client = await channel_offer()
    # The server learns the client's address from its packets.
    lines = client.localDescription.sdp.splitlines(keepends=True)
    hidden = "".join(line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates")))
    network = PeerNetwork()
    answer = await checked.answer(hidden, network.candidates_of("127.0.0.1"))
    named = [fields for fields in candidates(answer) if fields[4] == FORWARDED]
    inside = [fields for fields in candidates(answer) if fields[4] not in (FORWARDED, "2001:db8::7")]
    assert named, answer
    assert [fields[5] for fields in named] == [fields[5] for fields in inside if ":" not in fields[4]]
    forwarders = []
    loop = asyncio.get_running_loop()
    for outer, inner in zip(named, [fields for fields in inside if ":" not in fields[4]], strict=True):
        target = (inner[4], int(inner[5]))
        transport, _ = await loop.create_datagram_endpoint(
            lambda target=target: Forwarder(target), local_addr=(inner[4], 0)
        )
        host, port = transport.get_extra_info("sockname")
        forwarders.append((host, port, transport))
        answer = answer.replace(f" {outer[4]} {outer[5]} ", f" {host} {port} ")  # the router in between
    only_named = "".join(
        line
        for line in answer.splitlines(keepends=True)
        if not line.startswith("a=candidate:") or any(f" {host} {port} " in line for host, port, _ in forwarders)
    )
    await client.setRemoteDescription(RTCSessionDescription(only_named, "answer"))
    deadline_s = time.monotonic() + 10.0
    while client.connectionState != "connected":
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    await client.close()
    for _, _, transport in forwarders:
        transport.close()


async def test_sockets_lie_in_the_range_and_the_last_port_is_an_end() -> None:
    loop = asyncio.get_running_loop()
    ports = free_ports(3)
    bind_within(loop, ports)
    opened = [await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)) for _ in "abc"]
    numbers = {transport.get_extra_info("sockname")[1] for transport, _ in opened}
    assert numbers == set(range(ports[0], ports[1] + 1))
    with pytest.raises(OSError, match="in use"):
        await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    for transport, _ in opened:
        transport.close()


async def test_checks_are_bounded_and_take_no_media(monkeypatch: pytest.MonkeyPatch) -> None:
    running, network = ConnectionChecks(PeerNetwork()), PeerNetwork()
    monkeypatch.setattr(checks, "LIFETIME_S", 0.2)
    video = RTCPeerConnection()
    video.addTransceiver("video")
    await video.setLocalDescription(await video.createOffer())
    for bad in ("nonsense", "", video.localDescription.sdp):
        with pytest.raises(OfferError):
            await running.answer(bad, network.candidates_of("127.0.0.1"))
    client = await channel_offer()
    sdp = client.localDescription.sdp
    answers = [await running.answer(sdp, network.candidates_of("127.0.0.1")) for _ in range(CHECKS_LIMIT)]
    assert all("m=application" in answer for answer in answers)
    with pytest.raises(ManyChecksError):
        await running.answer(sdp, network.candidates_of("127.0.0.1"))
    await asyncio.sleep(0.3)
    await running.answer(sdp, network.candidates_of("127.0.0.1"))
    await running.close()
    await client.close()
    await video.close()


@pytest.mark.parametrize("udp", [UdpSettings((9, 8)), UdpSettings(public_addresses=("here",))])
def test_settings_that_cannot_be_used(udp: UdpSettings) -> None:
    with pytest.raises(ConfigError, match="udp"):
        PeerNetwork.of(ServeSettings(udp=udp))

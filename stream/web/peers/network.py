"""Network of the server's peer connections: ICE servers, ports, and addresses behind which the server lies.

Behind a container's bridge or NAT, a peer connection's own addresses lead nowhere for clients. Such a server binds its
UDP sockets to ports that are forwarded, and its answers name the address from which they are.
"""

import asyncio
import ipaddress
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection

from fitme.errors import ConfigError
from stream.settings import IceServer, ServeSettings
from stream.web.guard import Network, parse_networks
from stream.web.peers.candidates import ADDRESS_FIELD, CANDIDATE_PREFIX, CandidateFilter

HOST_TYPE = "host"
TYPE_FIELD = 7
"""Position of a candidate's type among its fields (RFC 8839, section 5.1)."""

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True)
class PeerNetwork:
    """What every peer connection of a server has in common."""

    ice_servers: tuple[IceServer, ...] = ()
    public_addresses: tuple[str, ...] = ()
    """IP addresses from which packets are forwarded to this machine, to ports of the same numbers."""
    candidate_networks: tuple[Network, ...] = ()
    """The only networks of clients' ICE candidates, if there are any."""

    @staticmethod
    def of(settings: ServeSettings) -> "PeerNetwork":
        """Network of a server's settings.

        :raises ConfigError: if they contradict each other.
        """
        addresses = settings.udp.public_addresses
        for address in addresses:
            _parsed(address)
        ports = settings.udp.ports
        if ports is not None and ports[0] > ports[1]:
            raise ConfigError(f"udp.ports: the first, {ports[0]}, must not be above the last, {ports[1]}")
        networks = parse_networks(settings.camera.candidate_networks, "camera.candidate_networks")
        return PeerNetwork(settings.ice_servers, addresses, networks)

    def candidates_of(self, client: str) -> CandidateFilter:
        """Filter of the candidates of one peer connection of a client at an IP address."""
        return CandidateFilter(client, self.candidate_networks)

    def connect(self) -> RTCPeerConnection:
        """A new peer connection."""
        servers = [RTCIceServer(list(item.urls), item.username, item.credential) for item in self.ice_servers]
        return RTCPeerConnection(RTCConfiguration(servers))

    def described(self, connection: RTCPeerConnection) -> str:
        """Local session description of a connection, with the public addresses among its candidates."""
        lines: list[str] = []
        for line in connection.localDescription.sdp.splitlines(keepends=True):
            lines += [*self._public_candidates(line), line]
        return "".join(lines)

    def _public_candidates(self, line: str) -> list[str]:
        """Candidates at the public addresses for one of this machine's own; none for other lines."""
        fields = line.rstrip().split(" ")
        if not line.startswith(CANDIDATE_PREFIX) or fields[TYPE_FIELD : TYPE_FIELD + 1] != [HOST_TYPE]:
            return []
        version = _parsed(fields[ADDRESS_FIELD]).version
        before, after = fields[:ADDRESS_FIELD], fields[ADDRESS_FIELD + 1 :]
        return [
            " ".join([f"{before[0]}{number}", *before[1:], address, *after]) + "\r\n"
            for number, address in enumerate(self.public_addresses)
            if _parsed(address).version == version
        ]


def bind_within(loop: asyncio.AbstractEventLoop, ports: tuple[int, int]) -> None:
    """Let a loop bind UDP sockets for which any port will do to ports from the first to the last of `ports`.

    aioice, which opens the sockets of peer connections, has no setting for it. When all ports are taken, opening a
    socket fails with OSError, and the peer connection has no such candidate.
    """
    create: Callable[..., Awaitable[Any]] = loop.create_datagram_endpoint

    async def create_within(factory: Any, local_addr: Any = None, **options: Any) -> Any:  # noqa: ANN401 (asyncio's)
        if local_addr is None or local_addr[1] != 0:
            return await create(factory, local_addr=local_addr, **options)
        numbers = range(ports[0], ports[1] + 1)
        failure = OSError("no port is left")
        # Not in order: who left a moment ago may still be sending to a port.
        for port in random.sample(numbers, len(numbers)):
            try:
                return await create(factory, local_addr=(local_addr[0], port), **options)
            except OSError as error:
                failure = error
        raise failure

    vars(loop)["create_datagram_endpoint"] = create_within


def _parsed(text: str) -> IpAddress:
    try:
        return ipaddress.ip_address(text)
    except ValueError as error:
        raise ConfigError(f"udp.public_addresses: {text} is no IP address") from error

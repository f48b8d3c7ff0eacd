"""ICE candidates that a server may use: a peer names addresses to which the server then sends packets.

Without `camera.candidate_networks`, a client on the internet may name addresses of the internet, one in a private
network also those of private networks, one on this machine any but multicast ones. So no stranger can make the server
probe the network that it is in.
"""

import ipaddress

from stream.web.guard import Network, is_in

CANDIDATE_PREFIX = "a=candidate:"
CANDIDATES_LIMIT = 32
"""Candidates of one peer, those of its offer and later ones together."""
ADDRESS_FIELD = 4
"""Position of the address among the fields of a candidate (RFC 8839, section 5.1)."""
HIDDEN_SUFFIX = ".local"
"""Browsers hide addresses of the private network behind names that only that network can resolve."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class CandidateFilter:
    """Decides on the candidates of one peer."""

    def __init__(self, client: str, networks: tuple[Network, ...] = ()) -> None:
        """
        :param client: IP address from which the peer's HTTP request came.
        :param networks: the only allowed ones, if there are any.
        """
        self._client = _parsed(client)
        self._networks = networks
        self._left = CANDIDATES_LIMIT

    def takes(self, address: str) -> bool:
        """Whether a candidate with this address, or hidden name, may be used; counts it."""
        if self._left <= 0 or not self._is_allowed(address):
            return False
        self._left -= 1
        return True

    def filtered(self, sdp: str) -> str:
        """A session description without the candidates that may not be used."""
        return "".join(line for line in sdp.splitlines(keepends=True) if self._keeps(line))

    def _keeps(self, line: str) -> bool:
        if not line.startswith(CANDIDATE_PREFIX):
            return True
        fields = line.split()
        return len(fields) > ADDRESS_FIELD and self.takes(fields[ADDRESS_FIELD])

    def _is_allowed(self, text: str) -> bool:
        client, address = self._client, _parsed(text)
        near = client is not None and (client.is_private or client.is_loopback)
        if address is None:
            return near and text.lower().endswith(HIDDEN_SUFFIX) and not self._networks
        if self._networks:
            return is_in(text, self._networks)
        if address.is_multicast or address.is_unspecified:
            return False
        if address == client or (client is not None and client.is_loopback) or address.is_global:
            return True
        return near and address.is_private and not (address.is_loopback or address.is_link_local)


def _parsed(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address

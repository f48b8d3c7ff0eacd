"""Where a peer may make the server send packets."""

import pytest

from stream.web.guard import parse_networks
from stream.web.peers.candidates import CANDIDATES_LIMIT, CandidateFilter

INTERNET, PRIVATE, LOCAL = "93.184.216.34", "192.168.1.20", "127.0.0.1"
HIDDEN = "0b4e5c1e-7d6f-4f3a-9a77-1f2e3d4c5b6a.local"


@pytest.mark.parametrize(
    ("client", "taken", "refused"),
    [
        (INTERNET, [INTERNET, "8.8.8.8", "2606:4700::1111"], [PRIVATE, LOCAL, "10.0.0.1", "169.254.169.254", HIDDEN]),
        (PRIVATE, [PRIVATE, "10.0.0.1", "8.8.8.8", HIDDEN], [LOCAL, "169.254.169.254", "::1", "224.0.0.1"]),
        (LOCAL, [LOCAL, PRIVATE, "::1", "8.8.8.8", HIDDEN], ["224.0.0.1", "0.0.0.0", "metadata.internal"]),
        ("::ffff:192.168.1.20", [PRIVATE], [LOCAL]),
        ("", ["8.8.8.8"], [PRIVATE, HIDDEN, "nonsense", ""]),
    ],
)
def test_candidates_suit_the_client(client: str, taken: list[str], refused: list[str]) -> None:
    for address in taken:
        assert CandidateFilter(client).takes(address), address
    for address in refused:
        assert not CandidateFilter(client).takes(address), address


def test_networks_of_the_settings_are_the_only_ones() -> None:
    allowed = CandidateFilter(LOCAL, parse_networks(("10.0.0.0/8",), "here"))
    assert allowed.takes("10.1.2.3")
    for address in (LOCAL, PRIVATE, "8.8.8.8", HIDDEN):
        assert not allowed.takes(address)


def test_descriptions_lose_what_is_not_allowed() -> None:
    lines = [
        "v=0",
        "a=candidate:1 1 udp 1 8.8.8.8 5 typ host",
        "a=candidate:1 1 udp 1 127.0.0.1 5 typ host",
        "a=candidate:x",
    ]
    sdp = "".join(f"{line}\r\n" for line in [*lines, "a=end-of-candidates"])
    assert CandidateFilter(INTERNET).filtered(sdp).split("\r\n") == [lines[0], lines[1], "a=end-of-candidates", ""]


def test_candidates_are_bounded() -> None:
    peer = CandidateFilter(LOCAL)
    assert sum(peer.takes(LOCAL) for _ in range(1000)) == CANDIDATES_LIMIT

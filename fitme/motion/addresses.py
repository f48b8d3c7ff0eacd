"""Addresses of motion: where it comes from and where it goes."""

from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote, urlsplit

from fitme.errors import ConfigError
from fitme.motion import live_link, vmc

VMC, LIVE_LINK, LISTEN, CONNECT, CONNECT_TLS = "vmc", "livelink", "websocket", "ws", "wss"
WEBSOCKET_PORT: Final = 8765
DEFAULT_PORTS: Final = {
    VMC: vmc.PORT,
    LIVE_LINK: live_link.PORT,
    LISTEN: WEBSOCKET_PORT,
    CONNECT: 80,
    CONNECT_TLS: 443,
}
FORMS: Final = (
    f"vmc://HOST[:{vmc.PORT}], livelink://HOST[:{live_link.PORT}][/SUBJECT], websocket://HOST[:{WEBSOCKET_PORT}] "
    "(listens) or ws://HOST:PORT/PATH (connects)"
)


@dataclass(frozen=True)
class MotionAddress:
    """A scheme of `DEFAULT_PORTS`, a host and a port."""

    scheme: str
    host: str
    port: int
    path: str = ""
    """Behind the port, without its first slash: the subject of Live Link."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" + (f"/{self.path}" if self.path else "")


def is_address(text: str) -> bool:
    """Whether a text is meant as an address of the network rather than as a file."""
    return "://" in text


def parse_address(text: str) -> MotionAddress:
    """Read an address.

    :raises ConfigError: if it has another form.
    """
    try:
        parts = urlsplit(text)
        scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
    except ValueError as error:
        raise ConfigError(f"{text}: not an address: {error}; use {FORMS}") from error
    if scheme not in DEFAULT_PORTS or not host:
        raise ConfigError(f"{text}: not an address of motion; use {FORMS}")
    if port == 0:
        raise ConfigError(f"{text}: port 0 is nobody's; use {FORMS}")
    path = unquote(parts.path.removeprefix("/")) + (f"?{parts.query}" if parts.query else "")
    return MotionAddress(scheme, host, port or DEFAULT_PORTS[scheme], path)

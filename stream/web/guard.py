"""Middleware before everything else: which hosts and pages may ask, who asks behind a proxy, and headers of answers.

A page of another site must not use a server through its visitors' browsers: requests whose `Origin` is not allowed are
refused, and so are those under a host name that is not this server's (DNS rebinding).
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fitme.errors import ConfigError
from stream.settings import AccessSettings
from stream.web.tokens import digest

SAFE_METHODS = ("GET", "HEAD")
LOCAL_NAMES = ("localhost", "ip6-localhost")

CONTENT_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "connect-src 'self' blob:",
        "worker-src 'self'",
        "frame-src 'self'",
        "frame-ancestors 'self'",
        "base-uri 'self'",
        "form-action 'none'",
    )
)
"""No inline code; pages of this server alone. Frames: another session's view beside one's own."""
PERMISSIONS = "camera=(self), microphone=(self), fullscreen=(self), autoplay=(self), geolocation=(), payment=(), usb=()"
HEADERS = {
    "content-security-policy": CONTENT_POLICY,
    "permissions-policy": PERMISSIONS,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def parse_networks(texts: tuple[str, ...], setting: str) -> tuple[Network, ...]:
    """Networks of texts as ``10.0.0.0/8`` or ``::1``.

    :param setting: where they come from, for the error.
    :raises ConfigError: if one is none.
    """
    try:
        return tuple(ipaddress.ip_network(text) for text in texts)
    except ValueError as error:
        raise ConfigError(f"{setting}: {error}") from error


def is_in(address: str, networks: tuple[Network, ...]) -> bool:
    """Whether an IP address lies in one of the networks; False for what is no address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped is not None:
        parsed = parsed.ipv4_mapped
    return any(parsed in network for network in networks)


class Guard:
    """ASGI middleware with the checks of the module."""

    def __init__(self, app: ASGIApp, settings: AccessSettings, host: str) -> None:
        """
        :param host: address on which the server listens.
        :raises ConfigError: if the settings contradict each other.
        """
        self._app = app
        self._proxies = parse_networks(settings.trusted_proxies, "access.trusted_proxies")
        self._user_header = settings.user_header
        if settings.user_header is not None and not self._proxies:
            raise ConfigError("access.user_header: needs access.trusted_proxies, or anybody could send the header")
        self._names = {*LOCAL_NAMES, host.lower(), *(name.lower() for name in settings.hosts)}
        own_name = socket.gethostname().lower()
        self._names |= {own_name, f"{own_name.partition('.')[0]}.local"}
        self._origins = {origin.lower().rstrip("/") for origin in settings.origins}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse the request, or pass it on."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scope = self._seen_through_proxy(dict(scope), headers)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer.setdefault(name, value)
            await send(message)

        if problem := self._problem(scope, headers):
            await _refuse(scope, receive, send_with_headers, *problem)
            return
        await self._app(scope, receive, send_with_headers)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[str, str] | None:
        """Code and message of what is wrong with a request's host or origin."""
        host = headers.get("host", "")
        if not self._is_own_host(host):
            return "bad_host", "this server has no such name: the operator can allow it by access.hosts"
        origin = headers.get("origin")
        unsafe = scope["type"] == "websocket" or scope["method"] not in SAFE_METHODS
        if origin is None:
            crosses = unsafe and headers.get("sec-fetch-site", "none") not in ("same-origin", "none")
            return ("bad_origin", "pages of other sites may not use this server") if crosses else None
        own = urlsplit(origin).netloc.lower() == host.lower()
        if unsafe and not own and origin.lower() not in self._origins:
            return "bad_origin", "pages of other sites may not use this server: see access.origins"
        return None

    def _is_own_host(self, host: str) -> bool:
        """Names must be known; addresses are always, since no name can be made to point from them elsewhere."""
        try:
            name = urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        if name is None:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True

    def _seen_through_proxy(self, scope: Scope, headers: Headers) -> Scope:
        """The request as a trusted proxy received it; headers of proxies that are not trusted count for nothing."""
        client = scope.get("client")
        if client is None or not is_in(client[0], self._proxies):
            return scope
        forwarded = [part.strip() for part in headers.get("x-forwarded-for", "").split(",") if part.strip()]
        # The last address that no trusted proxy has is that of the client; those before it may be invented.
        outside = next((part for part in reversed(forwarded) if not is_in(part, self._proxies)), None)
        if outside is not None:
            scope["client"] = (outside, 0)
        if headers.get("x-forwarded-proto") == "https":
            scope["scheme"] = "wss" if scope["type"] == "websocket" else "https"
        if self._user_header is not None and (user := headers.get(self._user_header)):
            scope["fitme.user"] = digest(user)
        return scope


async def _refuse(scope: Scope, receive: Receive, send: Send, code: str, message: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": message})
        return
    await JSONResponse({"error": {"code": code, "message": message}}, 403)(scope, receive, send)

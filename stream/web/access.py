"""Who asks: the owner's token, the server's access key and the signed-in user of a request; and the cookies for them.

A browser has one owner's token, in a cookie that no script can read and no other site can make it send; it owns all
sessions that were begun with it. Programs send the same token as ``Authorization: Bearer TOKEN``.
"""

import hashlib
import hmac
from pathlib import Path

from starlette.requests import HTTPConnection
from starlette.responses import Response

from fitme.errors import ConfigError, FitmeError
from stream.settings import AccessSettings
from stream.web.sessions.rights import Caller
from stream.web.tokens import is_token

OWNER_COOKIE = "fitme-owner"
ACCESS_COOKIE = "fitme-access"
KEY_HEADER = "x-fitme-key"
SHORTEST_KEY = 16
KEPT_COOKIE_S = 365 * 86_400
"""Lifetime of the owner's cookie while a session is kept; else it ends with the browser."""


class AccessError(FitmeError):
    """The server's access key is missing or wrong."""


class UserError(FitmeError):
    """The reverse proxy has signed nobody in."""


class AccessControl:
    """Reads rights from requests."""

    def __init__(self, settings: AccessSettings) -> None:
        """
        :raises ConfigError: if the key's file cannot be used.
        """
        self._settings = settings
        key = None if settings.key_file is None else _read_key(settings.key_file)
        self._key = key
        self._pass = "" if key is None else hmac.new(key.encode(), b"fitme access", hashlib.sha256).hexdigest()

    def caller(self, connection: HTTPConnection) -> Caller:
        """Who sent a request; no right follows from it yet."""
        token = owner_token(connection)
        address = connection.client.host if connection.client else ""
        caller = Caller(address, user=connection.scope.get("fitme.user", ""))
        return caller.as_owner(token) if token else caller

    def admits(self, connection: HTTPConnection) -> bool:
        """Whether the request comes with the access key, or the server needs none."""
        if self._key is None:
            return True
        cookie = connection.cookies.get(_cookie_name(ACCESS_COOKIE, connection), "")
        return hmac.compare_digest(cookie.encode(), self._pass.encode()) or self._is_key(
            connection.headers.get(KEY_HEADER, "")
        )

    def require(self, connection: HTTPConnection) -> None:
        """Check what beginning or joining a session needs.

        :raises AccessError: without the access key.
        :raises UserError: if a signed-in user is needed and there is none.
        """
        if not self.admits(connection):
            raise AccessError("this server asks for its access key")
        if self._settings.user_header is not None and not connection.scope.get("fitme.user"):
            raise UserError("nobody is signed in: open this page through the address that asks you to sign in")

    def enter(self, connection: HTTPConnection, key: str, response: Response) -> None:
        """Let a browser in that knows the key.

        :raises AccessError: if the key is wrong.
        """
        if self._key is None:
            return
        if not self._is_key(key):
            raise AccessError("this is not the access key of this server")
        _set_cookie(connection, response, ACCESS_COOKIE, self._pass, KEPT_COOKIE_S)

    def _is_key(self, text: str) -> bool:
        return self._key is not None and hmac.compare_digest(text.encode(), self._key.encode())


def owner_token(connection: HTTPConnection) -> str:
    """The owner's token that came with a request; "" if none did."""
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and is_token(bearer.strip()):
        return bearer.strip()
    cookie = connection.cookies.get(_cookie_name(OWNER_COOKIE, connection), "")
    return cookie if is_token(cookie) else ""


def set_owner_cookie(connection: HTTPConnection, response: Response, token: str, *, kept: bool) -> None:
    """Give a browser its owner's token: until the browser ends, or longer if a session of it is kept."""
    _set_cookie(connection, response, OWNER_COOKIE, token, KEPT_COOKIE_S if kept else None)


def _is_secure(connection: HTTPConnection) -> bool:
    return connection.url.scheme in ("https", "wss")


def _cookie_name(name: str, connection: HTTPConnection) -> str:
    """Over TLS, cookies have a prefix with which no other host of the domain can set them."""
    return f"__Host-{name}" if _is_secure(connection) else name


def _set_cookie(connection: HTTPConnection, response: Response, name: str, value: str, age_s: int | None) -> None:
    response.set_cookie(
        _cookie_name(name, connection),
        value,
        max_age=age_s,
        secure=_is_secure(connection),
        httponly=True,
        samesite="strict",
    )


def _read_key(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"access.key_file: {path} cannot be read: {error}") from error
    if len(key) < SHORTEST_KEY or not key.isascii():
        raise ConfigError(f"access.key_file: {path} must hold one line of {SHORTEST_KEY} ASCII characters or more")
    return key

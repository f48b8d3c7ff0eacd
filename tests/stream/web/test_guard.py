"""Hosts, origins and proxies, against a small application behind the guard."""

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from fitme.errors import ConfigError
from stream.settings import AccessSettings
from stream.web.guard import Guard
from stream.web.tokens import digest


async def echo(request: Request) -> JSONResponse:
    client = request.client.host if request.client else ""
    return JSONResponse([client, request.url.scheme, request.scope.get("fitme.user", "")])


async def ask(
    settings: AccessSettings, headers: dict[str, str], method: str = "POST", client: str = "203.0.113.7"
) -> httpx.Response:
    guard = Guard(Starlette(routes=[Route("/", echo, methods=["GET", "POST"])]), settings, "127.0.0.1")
    transport = httpx.ASGITransport(guard, client=(client, 5))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost:8000") as asker:
        return await asker.request(method, "/", headers=headers)


OPEN = AccessSettings()


@pytest.mark.parametrize(
    "host", ["localhost:8000", "LOCALHOST", "127.0.0.1:8000", "192.168.1.9:8000", "[::1]:8000", "avatar.example"]
)
async def test_own_hosts(host: str) -> None:
    assert (await ask(AccessSettings(hosts=("avatar.example",)), {"Host": host})).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "evil.example:8000", "[::1", "a b"])
async def test_forged_hosts(host: str) -> None:
    answer = await ask(OPEN, {"Host": host}, "GET")
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "bad_host")


async def test_foreign_origins() -> None:
    for origin in ("http://evil.example", "null", "http://localhost:9000", "http://localhost:8000.evil.example"):
        answer = await ask(OPEN, {"Origin": origin})
        assert (answer.status_code, answer.json()["error"]["code"]) == (403, "bad_origin"), origin
        assert (await ask(OPEN, {"Origin": origin}, "GET")).status_code == 200
    assert (await ask(OPEN, {"Origin": "http://localhost:8000"})).status_code == 200
    assert (await ask(AccessSettings(origins=("https://obs.example",)), {"Origin": "https://obs.example"})).is_success
    assert (await ask(OPEN, {"Sec-Fetch-Site": "cross-site"})).status_code == 403
    assert (await ask(OPEN, {})).status_code == 200


async def test_headers_of_every_answer() -> None:
    for headers in ({}, {"Host": "evil.example"}):
        answer = await ask(OPEN, headers)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "camera=(self)" in answer.headers["permissions-policy"]


PROXIED = {
    "X-Forwarded-For": "198.51.100.1, 203.0.113.50, 10.0.0.2",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-User": "ada",
}
BEHIND = AccessSettings(user_header="X-Forwarded-User", trusted_proxies=("10.0.0.0/8",))


async def test_a_trusted_proxy_says_who_asks() -> None:
    assert (await ask(BEHIND, PROXIED, client="10.0.0.1")).json() == ["203.0.113.50", "https", digest("ada")]


async def test_nobody_else_says_who_asks() -> None:
    for settings in (BEHIND, OPEN):
        assert (await ask(settings, PROXIED)).json() == ["203.0.113.7", "http", ""]


def test_contradictory_settings() -> None:
    for settings in (AccessSettings(user_header="X-User"), AccessSettings(trusted_proxies=("here",))):
        with pytest.raises(ConfigError):
            Guard(Starlette(), settings, "localhost")

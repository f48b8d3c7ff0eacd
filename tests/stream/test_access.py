"""Rights against a real server: owners, viewers, strangers, other sites, those who wait."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from stream.bench.native_peer import ClipTrack, NativePeer, ServerError, exchange, frames_of, offer_sdp, request
from stream.bench.server_process import ServerProcess
from stream.protocol.protocol import (
    CLOSE_FORBIDDEN,
    CLOSE_FULL,
    CLOSE_REVOKED,
    CLOSE_UNKNOWN_SESSION,
    PROTOCOL_VERSION,
    Feed,
)
from stream.web.tokens import new_token

GREY = frames_of([np.full((240, 320, 3), 90 + shade, np.uint8) for shade in range(3)])


@contextlib.asynccontextmanager
async def owner(server: ServerProcess, token: str | None = None) -> AsyncIterator[NativePeer]:
    peer = NativePeer(server.address, token)
    await peer.send_camera(ClipTrack(GREY))
    await peer.watch()
    try:
        await peer.until(lambda: peer.renders > 0, 30.0)
        yield peer
    finally:
        with contextlib.suppress(ServerError):
            await peer.delete()
        await peer.close()


async def refused(method: str, url: str, content: object = None, token: str | None = None) -> tuple[int, str]:
    with pytest.raises(ServerError) as caught:
        await request(method, url, content, token)
    return caught.value.status, caught.value.code


async def close_code_of(server: ServerProcess, path: str, token: str | None = None) -> int | None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    address = f"{server.address.replace('http', 'ws')}/{path}?protocol={PROTOCOL_VERSION}"
    async with connect(address, additional_headers=headers) as websocket:
        with pytest.raises(ConnectionClosed):
            await websocket.recv()
        return websocket.close_code


async def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20.0
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


async def test_the_name_of_a_session_gives_no_right(server: ServerProcess) -> None:
    async with owner(server) as peer:
        session = f"{server.address}/session/{peer.session}"
        offer = {"protocol": PROTOCOL_VERSION, "sdp": await offer_sdp(), "type": "offer", "session": peer.session}
        for token in (None, new_token()):
            assert await close_code_of(server, f"session/{peer.session}/view", token) == CLOSE_FORBIDDEN
            for method, url, content in [
                ("POST", f"{server.address}/offer", offer),
                ("PATCH", f"{server.address}/offer/{peer.session}", {"peer": 1, "candidate": None}),
                ("GET", f"{session}/avatar.glb", None),
                ("POST", f"{session}/keep", {"keep": True}),
                ("POST", f"{session}/links", {}),
                ("GET", f"{session}/links", None),
                ("DELETE", f"{session}/links/x", None),
                ("DELETE", session, None),
            ]:
                assert await refused(method, url, content, token) == (403, "forbidden"), (method, url)
        # A stranger's camera has not taken over.
        assert peer.events["peer"]["peer"] == 1
        assert str(peer.token) not in server.log()


async def test_the_owners_cookie_is_out_of_reach(server: ServerProcess) -> None:
    offer = {"protocol": PROTOCOL_VERSION, "sdp": await offer_sdp(), "type": "offer"}
    answer = await exchange("POST", f"{server.address}/offer", offer)
    (cookie,) = answer.cookies
    session, token = json.loads(answer.body)["session"], cookie.partition("=")[2].partition(";")[0]
    assert "httponly" in cookie.lower()
    assert "samesite=strict" in cookie.lower()
    assert "max-age" not in cookie.lower(), "it ends with the browser"
    assert token not in answer.body.decode()
    url = f"{server.address}/session/{session}"
    kept = await exchange("POST", f"{url}/keep", {"keep": True}, {"Cookie": f"fitme-owner={token}"})
    assert "max-age" in kept.cookies[0].lower()
    again = await exchange("POST", f"{url}/keep", {"keep": False}, {"Cookie": f"fitme-owner={token}"})
    assert "max-age" not in again.cookies[0].lower()
    await request("DELETE", url, token=token)


async def test_viewers_watch_and_nothing_else(server: ServerProcess) -> None:
    async with owner(server) as peer:
        link = json.loads(await peer.request("POST", "/links", {}))
        viewer = NativePeer(server.address)
        await viewer.watch_link(link["token"])
        await viewer.until(lambda: viewer.renders > 2, 20.0)
        await peer.until(lambda: peer.events["viewers"]["count"] == 1, 5.0)
        assert viewer.events["hello"]["role"] == "viewer"
        assert viewer.events["hello"]["session"] == ""
        scene = peer.events["scene"]
        for message in (
            {"type": "light", "preset": "rim"},
            {"type": "camera", "yaw": 1.0},
            {"type": "mode", "mode": "turntable"},
            {"type": "background", "color": [1, 1, 1]},
            {"type": "keep", "keep": True},
            {"type": "delete"},
        ):
            viewer.events.pop("error", None)
            await viewer.send(message)
            await viewer.until(lambda: "error" in viewer.events, 5.0)
            assert viewer.events["error"]["code"] == "forbidden"
        assert peer.events["scene"] == scene
        assert not peer.events["kept"]["kept"]
        # The owner's light is the viewers' light; what is measured on the owner's face is not theirs.
        await peer.send({"type": "light", "preset": "rim"})
        await viewer.until(lambda: viewer.events["scene"]["preset"] == "rim", 5.0)
        assert not viewer.events.keys() & {"tracking", "coverage", "round", "kept", "stored", "viewers"}

        # Its token is not the owner's, for any request.
        session, token = f"{server.address}/session/{peer.session}", link["token"]
        for method, path, content in [
            ("GET", "/avatar.glb", None),
            ("POST", "/keep", {"keep": True}),
            ("POST", "/links", {}),
            ("DELETE", f"/links/{link['id']}", None),
            ("DELETE", "", None),
        ]:
            assert await refused(method, session + path, content, token) == (403, "forbidden")
        for path in ("keyframes", "keyframes/0", "images"):
            status, _ = await refused("GET", f"{session}/{path}", token=token)
            assert status == 404
        assert await close_code_of(server, f"session/{peer.session}/view", token) == CLOSE_FORBIDDEN

        # Revoked while watching.
        assert json.loads(await peer.request("GET", "/links"))["links"][0]["viewers"] == 1
        await peer.request("DELETE", f"/links/{link['id']}")
        await viewer.until(lambda: viewer.close_code is not None, 5.0)
        assert viewer.close_code == CLOSE_REVOKED
        await peer.until(lambda: peer.events["viewers"]["count"] == 0, 5.0)
        for revoked in (link["token"], new_token(), "x"):
            assert await close_code_of(server, f"view/{revoked}/socket") == CLOSE_UNKNOWN_SESSION
        await viewer.close()
        assert link["token"] not in server.log()


async def test_two_owners_watch_each_other_in_a_call(server: ServerProcess) -> None:
    """Each owner's page shows the other's avatar by a view link, and has no right to it beside that."""
    async with owner(server) as first, owner(server) as second:
        guests = []
        for one, other in ((first, second), (second, first)):
            link = json.loads(await other.request("POST", "/links", {}))
            guest = NativePeer(server.address)
            await guest.watch_link(link["token"], (Feed.AVATAR, Feed.PARAMETERS))
            guests.append(guest)
            session = f"{server.address}/session/{other.session}"
            assert await refused("POST", f"{session}/keep", {"keep": True}, one.token) == (403, "forbidden")
            assert await refused("DELETE", session, None, one.token) == (403, "forbidden")
            assert await close_code_of(server, f"session/{other.session}/view", one.token) == CLOSE_FORBIDDEN
        for guest, watched in zip(guests, (second, first), strict=True):
            await guest.until(lambda guest=guest: guest.avatar_version >= 0 and guest.parameters is not None, 20.0)
            assert guest.events["hello"]["role"] == "viewer"
            assert guest.events["hello"]["session"] == ""
            assert guest.events["hello"]["avatar"] == watched.events["hello"]["avatar"]
            await watched.until(lambda watched=watched: watched.events["viewers"]["count"] == 1, 20.0)
        # The light of each is its owner's alone.
        await first.send({"type": "background", "color": [0.5, 0.25, 0.0]})
        await guests[1].until(lambda: guests[1].events["scene"]["background"] == [0.5, 0.25, 0.0], 20.0)
        assert guests[0].events["scene"]["background"] != [0.5, 0.25, 0.0]
        for guest in guests:
            await guest.close()


async def test_a_links_time_is_over(server: ServerProcess) -> None:
    async with owner(server) as peer:
        link = json.loads(await peer.request("POST", "/links", {"seconds": 1.5}))
        viewer = NativePeer(server.address)
        await viewer.watch_link(link["token"])
        await viewer.until(lambda: viewer.close_code is not None, 20.0)
        assert viewer.close_code == CLOSE_REVOKED
        await viewer.close()
        assert await refused("POST", f"{server.address}/session/{peer.session}/links", {"seconds": -1}, peer.token) == (
            400,
            "bad_request",
        )


async def test_other_sites_and_names_are_refused(server: ServerProcess) -> None:
    offer = {"protocol": PROTOCOL_VERSION, "sdp": "v=0", "type": "offer"}
    for headers, code in (({"Origin": "https://evil.example"}, "bad_origin"), ({"Host": "evil.example"}, "bad_host")):
        with pytest.raises(ServerError) as caught:
            await exchange("POST", f"{server.address}/offer", offer, headers)
        assert (caught.value.status, caught.value.code) == (403, code)
    address = f"{server.address.replace('http', 'ws')}/view/{new_token()}/socket"
    with pytest.raises(InvalidStatus, match="403"):
        await connect(address, origin="https://evil.example")


async def test_who_waits_has_a_place(server: ServerProcess) -> None:
    async with owner(server) as first, owner(server) as second:
        assert first.session != second.session
        waiting = [NativePeer(server.address) for _ in range(2)]
        for _ in range(2):
            for place, peer in enumerate(waiting, start=1):
                with pytest.raises(ServerError) as caught:
                    await peer.send_camera(ClipTrack(GREY))
                assert (caught.value.status, json.loads(caught.value.body)["error"]["place"]) == (503, place)
        await first.delete()
        # The place is for the first in the line, whoever asks.
        with pytest.raises(ServerError) as caught:
            await waiting[1].send_camera(ClipTrack(GREY))
        assert caught.value.code == "full"
        for peer in waiting:
            await peer.send_camera(ClipTrack(GREY))
            await peer.delete()
            await peer.close()


async def test_a_bogus_offer_parks_nobody(server: ServerProcess) -> None:
    peer = NativePeer(server.address)
    await peer.send_camera(ClipTrack(GREY))
    await peer.watch()
    async with owner(server):
        await peer.close()
        offer = {"protocol": PROTOCOL_VERSION, "sdp": "v=0", "type": "offer"}
        assert await refused("POST", f"{server.address}/offer", offer) == (400, "bad_offer")
        assert json.loads(await request("GET", f"{server.address}/healthz"))["sessions"] == 2
        await peer.delete()


async def test_one_browser_has_so_many_sessions(server: ServerProcess) -> None:
    async with owner(server) as first, owner(server, first.token) as second:
        assert second.token == first.token
        with pytest.raises(ServerError) as caught:
            await NativePeer(server.address, first.token).send_camera(ClipTrack(GREY))
        assert (caught.value.status, caught.value.code) == (429, "too_many")


async def test_access_key_and_a_page_without_a_camera(tmp_path: Path) -> None:
    key = "correct horse battery"
    (tmp_path / "key").write_text(key + "\n")
    (tmp_path / "serve.yaml").write_text(
        f"access: {{key_file: {tmp_path / 'key'}}}\nsession: {{limit: 1, cameraless_s: 1.0}}\nfit: {{warm_up: false}}\n"
    )
    with ServerProcess(tmp_path, "--config", str(tmp_path / "serve.yaml")) as server:
        stranger = NativePeer(server.address)
        with pytest.raises(ServerError) as caught:
            await stranger.send_camera(ClipTrack(GREY))
        assert (caught.value.status, caught.value.code) == (403, "no_key")
        assert json.loads(await request("GET", f"{server.address}/config"))["key_needed"]
        assert await refused("POST", f"{server.address}/access", {"key": "wrong"}) == (403, "bad_key")
        entered = await exchange("POST", f"{server.address}/access", {"key": key})
        cookie = entered.cookies[0].partition(";")[0]
        config = await exchange("GET", f"{server.address}/config", headers={"Cookie": cookie})
        assert not json.loads(config.body)["key_needed"]
        guest = NativePeer(server.address, key=key)
        await guest.send_camera(ClipTrack(GREY))
        await guest.delete()
        await guest.close()
        assert key not in server.log()

        # A page without a camera holds no place that somebody waits for.
        watcher, newcomer = NativePeer(server.address, key=key), NativePeer(server.address, key=key)
        await watcher.send_camera(ClipTrack(GREY))
        await watcher.watch()
        with pytest.raises(ServerError):
            await newcomer.send_camera(ClipTrack(GREY))
        await watcher.until(lambda: watcher.events["peer"]["state"] == "connected", 20.0)
        await watcher.stop_camera()
        await watcher.until(lambda: watcher.events["peer"]["state"] == "closed", 20.0)
        await asyncio.sleep(1.1)
        await newcomer.send_camera(ClipTrack(GREY))
        await watcher.until(lambda: watcher.close_code is not None, 20.0)
        assert watcher.close_code == CLOSE_FULL
        await newcomer.delete()
        for peer in (watcher, newcomer):
            await peer.close()

"""Real peers against a real server process with its engine: what it promises, and what it withstands."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from fitme.session.store import SessionStore
from fitme.stage import Stage
from stream.bench.native_peer import (
    ClipTrack,
    NativePeer,
    ServerError,
    authorization,
    exchange,
    offer_sdp,
    request,
)
from stream.bench.server_process import ServerProcess
from stream.protocol.protocol import (
    CLOSE_ENDED,
    CLOSE_OTHER_VERSION,
    CLOSE_TOO_LARGE,
    CLOSE_UNKNOWN_SESSION,
    PROTOCOL_VERSION,
)

OFFER = {"protocol": PROTOCOL_VERSION, "sdp": "v=0", "type": "offer"}
NEVER = "0" * 48
"""Looks like the id of a session."""


@contextlib.asynccontextmanager
async def page(
    server: ServerProcess,
    clip: list[av.VideoFrame],
    before: NativePeer | None = None,
    *,
    delete: bool = True,
) -> AsyncIterator[NativePeer]:
    """A page with a camera and a view; the session is deleted at its end.

    :param before: page whose session it goes on with.
    """
    peer = NativePeer(server.address, None if before is None else before.token)
    try:
        await peer.send_camera(ClipTrack(clip), None if before is None else before.session)
        await peer.watch()
        yield peer
    finally:
        if delete and peer.session is not None:
            with contextlib.suppress(ServerError):
                await peer.delete()
        await peer.close()


async def health(server: ServerProcess) -> dict[str, object]:
    return json.loads(await request("GET", f"{server.address}/healthz"))


async def refused(method: str, url: str, content: object = None, token: str | None = None) -> ServerError:
    with pytest.raises(ServerError) as caught:
        await request(method, url, content, token)
    return caught.value


def stage_of(peer: NativePeer) -> Stage:
    return Stage.WAITING if peer.last_render is None else tuple(Stage)[peer.last_render.stage]


async def test_avatar_from_camera_to_glb(server: ServerProcess, face_clip: list[av.VideoFrame]) -> None:
    """Grey first, following the face; then the person's skin; then a GLB; and nothing stays."""
    async with page(server, face_clip) as peer:
        early = await refused("GET", f"{server.address}/session/{peer.session}/avatar.glb", token=peer.token)
        assert (early.status, early.code) == (409, "not_ready")
        assert early.retry_after is not None
        await peer.until(lambda: peer.events.get("tracking", {}).get("status") == "ok", 20.0)
        tracking = peer.events["tracking"]
        assert len(tracking["landmarks"]) == 2 * 478
        nose_x, nose_y = tracking["landmarks"][2:4]
        assert 3000 < nose_x < 7000
        assert 3000 < nose_y < 7000
        poses = []
        peer.on_render = lambda render: poses.append(render.pose[0])
        await peer.until(lambda: len(poses) > 25, 20.0)
        assert max(poses) - min(poses) > 0.4
        render = peer.last_render
        assert render is not None
        image = cv2.imdecode(np.frombuffer(render.payload, np.uint8), cv2.IMREAD_COLOR)
        assert image.shape == (256, 256, 3) == (render.height, render.width, 3)
        assert image[100:150, 100:150].std() > 1.0
        await peer.until(lambda: stage_of(peer).has_reached(Stage.SKIN), 60.0)
        await peer.until(lambda: "round" in peer.events and "coverage" in peer.events, 20.0)
        # Renders show a skin before the pieces of it have been packed.
        await peer.until(lambda: peer.events["progress"]["avatar"], 20.0)
        assert any(cell["seen"] for cell in peer.events["coverage"]["directions"])
        glb = await peer.request("GET", "/avatar.glb")
        assert glb[:4] == b"glTF"
        assert len(glb) == int.from_bytes(glb[8:12], "little")
        folder = server.store / str(peer.session)
        assert folder.is_dir()
        headers = {**authorization(peer.token), "Range": "bytes=9-1"}
        with contextlib.suppress(ServerError):
            await exchange("GET", f"{server.address}/session/{peer.session}/avatar.glb", headers=headers)
        await until(lambda: not list(folder.glob("*.glb")))
        await peer.send({"type": "delete"})
        await peer.until(lambda: peer.close_code is not None, 20.0)
        assert peer.close_code == CLOSE_ENDED
        assert peer.events["ended"]["reason"] == "deleted"
        await until(lambda: not folder.exists())
        offer = OFFER | {"sdp": await offer_sdp(), "session": peer.session}
        again = await refused("POST", f"{server.address}/offer", offer, peer.token)
        assert (again.status, again.code) == (404, "unknown_session")


async def until(condition: object, timeout_s: float = 20.0) -> None:
    assert callable(condition)
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.05)


async def test_two_pages_on_one_session(server: ServerProcess, face_clip: list[av.VideoFrame]) -> None:
    """Both watch and steer; a page that never acknowledges gets one render and does not slow the other."""
    async with page(server, face_clip) as first:
        second = NativePeer(server.address, first.token)
        second.session = first.session
        await second.watch(acknowledge=False)
        await second.until(lambda: {"hello", "scene", "peer", "kept"} <= second.events.keys(), 5.0)
        await first.until(lambda: first.renders > 3 and second.renders == 1, 20.0)
        before = first.renders
        await first.until(lambda: first.renders > before + 20, 20.0)
        assert second.renders == 1
        await second.send({"type": "light", "preset": "rim", "intensity": 2})
        await second.send({"type": "mode", "mode": "turntable"})
        await first.until(lambda: first.events["scene"]["mode"] == "turntable", 5.0)
        assert first.events["scene"]["preset"] == "rim"
        await second.until(lambda: second.events["scene"]["mode"] == "turntable", 5.0)
        # A second camera takes over; the first page hears that its own was replaced.
        states = []
        first.on_event = lambda event: states.append((event.get("peer"), event.get("state")))
        answer = await second.send_camera(ClipTrack(face_clip), first.session)
        assert (answer["session"], answer["peer"], answer["resumed"]) == (first.session, 2, True)
        await first.until(lambda: (1, "replaced") in states and (2, "connected") in states, 10.0)
        await second.close()


async def test_bad_messages_leave_the_session_alone(server: ServerProcess, face_clip: list[av.VideoFrame]) -> None:
    async with page(server, face_clip) as peer:
        errors = []
        peer.on_event = lambda event: errors.append(event) if event["type"] == "error" else None
        assert peer.websocket is not None
        for junk in ("", "{}", '{"type": "light", "intensity": -1}', "[" * 50_000, b"\0\1\2", '{"type": "ack"}'):
            errors.clear()
            await peer.websocket.send(junk)
            await peer.until(lambda: bool(errors), 5.0)
            assert errors[0]["code"] == "bad_message"
        with contextlib.suppress(ConnectionClosed):
            await peer.websocket.send("x" * 50_000_000)
        await peer.until(lambda: peer.close_code is not None, 10.0)
        assert peer.close_code == CLOSE_TOO_LARGE
        await peer.watch()
        before = peer.renders
        await peer.until(lambda: peer.renders > before + 3, 10.0)


async def test_other_websockets_are_refused(server: ServerProcess) -> None:
    address = server.address.replace("http", "ws")
    for session in (NEVER, "nonsense", "%00"):
        async with connect(f"{address}/session/{session}/view?protocol={PROTOCOL_VERSION}") as websocket:
            with pytest.raises(ConnectionClosed):
                await websocket.recv()
            assert websocket.close_code == CLOSE_UNKNOWN_SESSION
    for path in ("other", "session/..%2f..%2fetc/view"):
        with pytest.raises(InvalidStatus, match="403"):
            await connect(f"{address}/{path}")


async def test_pages_of_another_version_are_asked_to_reload(
    server: ServerProcess, grey_clip: list[av.VideoFrame]
) -> None:
    """A websocket of version 1 gets `hello`, which such pages understand as another version, and is closed."""
    async with page(server, grey_clip) as peer:
        address = f"{server.address.replace('http', 'ws')}/session/{peer.session}/view"
        for query in ("", "?protocol=1", "?protocol=x"):
            async with connect(address + query) as websocket:
                hello = json.loads(await websocket.recv())
                assert (hello["type"], hello["protocol"]) == ("hello", PROTOCOL_VERSION)
                with pytest.raises(ConnectionClosed):
                    await websocket.recv()
                assert websocket.close_code == CLOSE_OTHER_VERSION
                assert "reload" in str(websocket.close_reason)
    await until_no_session(server)


async def until_no_session(server: ServerProcess) -> None:
    deadline_s = time.monotonic() + 30.0
    while (await health(server))["sessions"]:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.1)


async def test_bad_requests(server: ServerProcess) -> None:
    offer, sdp = f"{server.address}/offer", await offer_sdp()
    for content, status, code in [
        (b"\xff\xfe", 400, "bad_request"),
        (b"[1]", 400, "bad_request"),
        (b"[" * 60_000, 400, "bad_request"),
        ({"sdp": "v=0"}, 400, "bad_request"),
        ({"sdp": 3, "type": "offer"}, 400, "bad_request"),
        ({"sdp": "v=0", "type": "offer", "more": 1}, 400, "bad_request"),
        ({"sdp": "v=0", "type": "offer", "session": None}, 400, "bad_request"),
        ({"sdp": "v=0", "type": "offer"}, 400, "protocol"),
        (OFFER | {"protocol": 1}, 400, "protocol"),
        (OFFER | {"type": "answer"}, 400, "bad_offer"),
        (OFFER | {"sdp": "nonsense"}, 400, "bad_offer"),
        (OFFER | {"sdp": sdp, "session": NEVER}, 404, "unknown_session"),
        (OFFER | {"sdp": sdp, "session": "../../x"}, 404, "unknown_session"),
        (b"x" * 1_000_000, 413, "too_large"),
    ]:
        error = await refused("POST", offer, content)
        assert (error.status, error.code) == (status, code), content
    assert (await refused("PATCH", f"{offer}/{NEVER}", {"peer": 1, "candidate": None})).status == 404
    assert (await refused("DELETE", f"{server.address}/session/{NEVER}")).status == 404
    assert (await refused("POST", f"{server.address}/session/{NEVER}/keep", {"keep": True})).status == 404
    assert (await refused("GET", f"{server.address}/session/{NEVER}/avatar.glb")).status == 404
    assert (await health(server))["status"] == "ok"
    assert json.loads(await request("GET", f"{server.address}/readyz")) == {"status": "ok"}
    metrics = await request("GET", f"{server.address}/metrics")
    assert b"fitme_engine_healthy 1.0" in metrics
    assert b"fitme_engine_workers 1.0" in metrics
    config = json.loads(await request("GET", f"{server.address}/config"))
    assert config["protocol"] == PROTOCOL_VERSION
    assert config["limits"]["sessions"] == 2
    assert b"<html" in (await request("GET", f"{server.address}/")).lower()


async def test_limit_and_vanished_client(server: ServerProcess, grey_clip: list[av.VideoFrame]) -> None:
    """Two places. A third client is told when to come again; it gets the place of one that was killed."""
    script = Path(__file__).with_name("vanishing_client.py")
    command = [sys.executable, str(script), server.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        lost = (await asyncio.to_thread(client.stdout.readline)).strip()
        assert len(lost) == 48
        async with page(server, grey_clip) as first:
            await first.until(lambda: first.renders > 0, 20.0)
            third = NativePeer(server.address)
            with pytest.raises(ServerError) as caught:
                await third.send_camera(ClipTrack(grey_clip))
            assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "full", "3")
            client.send_signal(signal.SIGKILL)
            await asyncio.to_thread(client.wait)
            start_s = time.monotonic()
            while third.session is None:
                with contextlib.suppress(ServerError):
                    await third.send_camera(ClipTrack(grey_clip))
                assert time.monotonic() - start_s < 60.0
                await asyncio.sleep(0.2)
            await third.watch()
            await third.until(lambda: third.renders > 0, 20.0)
            await third.delete()
            await third.close()
    await until(lambda: not (server.store / lost).exists())


async def test_reconnect_expire_and_keep(server: ServerProcess, face_clip: list[av.VideoFrame]) -> None:
    """A camera that comes back within the grace time finds its session; later only what was kept is found."""
    async with page(server, face_clip, delete=False) as peer:
        await peer.until(lambda: "round" in peer.events, 60.0)
        await peer.stop_camera()
        await peer.until(lambda: peer.events["peer"]["state"] == "closed", 10.0)
    folder = server.store / str(peer.session)
    async with page(server, face_clip, peer, delete=False) as back:
        await back.until(lambda: back.events.get("peer") == {"type": "peer", "peer": 2, "state": "connected"}, 10.0)
        assert "round" in back.events
        before = back.renders
        await back.until(lambda: back.renders > before, 10.0)
        assert json.loads(await back.request("POST", "/keep", {"keep": True})) == {
            "kept": True,
            "stored": True,
        }
        await back.until(lambda: back.events["kept"]["kept"], 5.0)
    while (await health(server))["sessions"]:
        await asyncio.sleep(0.2)
    assert folder.is_dir()
    async with page(server, face_clip, peer, delete=False) as back:
        await back.until(lambda: back.events.get("hello", {}).get("resumed") is True, 10.0)
        await back.until(lambda: stage_of(back) is not Stage.WAITING, 30.0)
        await back.send({"type": "keep", "keep": False})
        await back.until(lambda: not back.events["kept"]["kept"], 5.0)
    await until(lambda: not folder.exists())


async def test_engine_is_replaced(server: ServerProcess, face_clip: list[av.VideoFrame]) -> None:
    """SIGKILL to the fit process: health turns 503, then the session goes on from its last round."""
    async with page(server, face_clip) as peer:
        await peer.until(lambda: peer.events.get("round", {}).get("index", 0) >= 1, 60.0)
        rounds = peer.events["round"]["index"]
        server.engine()[-1].kill()
        with pytest.raises(ServerError) as caught:
            while True:
                await health(server)
        assert caught.value.status == 503
        assert json.loads(caught.value.body)["status"] == "engine_gone"
        assert (await refused("POST", f"{server.address}/offer", OFFER)).code == "engine_gone"
        seen = []
        peer.on_event = lambda event: seen.append(event["index"]) if event["type"] == "round" else None
        await peer.until(lambda: bool(seen), 60.0)
        assert seen[0] >= rounds
        before = peer.renders
        await peer.until(lambda: peer.renders > before + 3, 20.0)
        assert (await health(server))["status"] == "ok"


async def test_killed_server_resumes(tmp_path: Path, settings_file: Path, face_clip: list[av.VideoFrame]) -> None:
    """SIGKILL to the whole server in the middle of refining; the next one goes on from the last committed round."""
    options = ("--config", str(settings_file))
    with ServerProcess(tmp_path, *options) as server:
        peer = NativePeer(server.address)
        await peer.send_camera(ClipTrack(face_clip))
        await peer.watch()
        await peer.until(lambda: peer.events.get("round", {}).get("index", 0) >= 3, 90.0)
        await asyncio.to_thread(server.kill)
        reported = peer.events["round"]["index"]
        await peer.close()
    assert peer.session is not None
    with SessionStore(tmp_path / peer.session) as store:
        stored = store.read()
    assert stored is not None
    assert stored.rounds[-1].index >= reported
    with ServerProcess(tmp_path, *options) as server:
        async with page(server, face_clip, peer, delete=False) as back:
            seen = []
            back.on_event = lambda event: seen.append(event["index"]) if event["type"] == "round" else None
            await back.until(lambda: back.renders > 0 and stage_of(back) == stored.stage, 20.0)
            await back.until(lambda: bool(seen), 60.0)
            assert seen[0] == stored.rounds[-1].index + 1
        await until(lambda: not (tmp_path / str(peer.session)).exists(), 30.0)

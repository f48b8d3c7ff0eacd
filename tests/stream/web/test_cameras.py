"""Cameras of a server whose engine only counts frames: silence, resuming, checks, and what the pages hear of it."""

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest
import uvicorn
from aiortc import RTCPeerConnection, RTCSessionDescription

from fitme.arrays import UInt8Array
from fitme.session.folder import SessionFolder
from stream.bench.native_peer import ClipTrack, NativePeer, ServerError, frames_of, request
from stream.engine.frame_slots import FrameSink
from stream.engine.interface import EngineListener
from stream.protocol.protocol import PROTOCOL_VERSION
from stream.protocol.scene import Scene
from stream.settings import ServeSettings, SessionSettings
from stream.web.app import create_app
from stream.web.sessions.folders import SessionFolders

from .idle_engine import IdleEngine

CLIP = frames_of([np.full((120, 160, 3), shade, np.uint8) for shade in (60, 90)])
SETTINGS = ServeSettings(session=SessionSettings(silence_timeout_s=0.3, grace_s=30.0))


class CountingEngine(IdleEngine):
    """Engine that only counts frames."""

    def __init__(self) -> None:
        self.frames: Counter[str] = Counter()

    def open(
        self, session: str, folder: SessionFolder, scene: Scene, listener: EngineListener, secret: str | None = None
    ) -> None:
        self.frames[session] = 0

    def frame_sink(self, session: str) -> FrameSink:
        def sink(image: UInt8Array, capture_time_s: float, received_time_s: float) -> None:
            self.frames[session] += 1

        return sink


@pytest.fixture
async def serving(tmp_path: Path) -> AsyncIterator[tuple[str, CountingEngine]]:
    """Address of a server, and its engine."""
    engine = CountingEngine()
    app = create_app(SETTINGS, engine, SessionFolders(tmp_path))
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="websockets-sansio", log_level="critical"))
    task = asyncio.create_task(server.serve())
    while not server.started or not app.state.service.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}", engine
    server.should_exit = True
    await task


async def until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 15.0
    while not condition():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)


def states_of(peer: NativePeer) -> list[str]:
    states: list[str] = []
    peer.on_event = lambda event: states.append(event["state"]) if event["type"] == "peer" else None
    return states


async def test_a_hidden_pages_camera_is_silent_and_comes_back(serving: tuple[str, CountingEngine]) -> None:
    address, engine = serving
    page = NativePeer(address)
    states = states_of(page)
    answer = await page.send_camera(ClipTrack(CLIP))
    await page.watch(())
    session = answer["session"]
    await until(lambda: engine.frames[session] > 3)
    (sender,) = page.senders()
    sender.replaceTrack(None)
    await page.until(lambda: states[-1:] == ["silent"], 15.0)
    await asyncio.sleep(0.7)  # longer than it may be silent without a page
    sender.replaceTrack(ClipTrack(CLIP))
    await page.until(lambda: states[-1] == "connected", 15.0)
    count = engine.frames[session]
    await until(lambda: engine.frames[session] > count)
    assert set(states) <= {"connecting", "connected", "silent"}
    await page.close()


async def test_a_silent_camera_without_a_page_is_closed(serving: tuple[str, CountingEngine]) -> None:
    address, engine = serving
    page = NativePeer(address)
    answer = await page.send_camera(ClipTrack(CLIP))
    await until(lambda: engine.frames[answer["session"]] > 3)
    (sender,) = page.senders()
    sender.replaceTrack(None)
    await asyncio.sleep(0.7)
    await page.watch(())
    await page.until(lambda: page.events.get("peer", {}).get("state") == "closed", 15.0)
    await page.close()


async def test_a_data_channel_alone_checks_the_connection(serving: tuple[str, CountingEngine]) -> None:
    address, _ = serving
    connection = RTCPeerConnection()
    connection.createDataChannel("check")
    await connection.setLocalDescription(await connection.createOffer())
    offer = {"protocol": PROTOCOL_VERSION, "sdp": connection.localDescription.sdp, "type": "offer"}
    answer = json.loads(await request("POST", f"{address}/check", offer))
    assert answer["type"] == "answer"
    await connection.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
    await until(lambda: connection.connectionState == "connected")
    assert json.loads(await request("GET", f"{address}/healthz"))["sessions"] == 0
    await connection.close()


async def test_a_server_that_is_drained_is_unready_first_and_ends_then(tmp_path: Path) -> None:
    app = create_app(ServeSettings(drain_s=0.2), CountingEngine(), SessionFolders(tmp_path))
    server = uvicorn.Server(uvicorn.Config(app, port=0, ws="websockets-sansio", log_level="critical"))
    ended = asyncio.Event()
    app.state.service.operations.on_drained = ended.set
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started and app.state.service.started)
    address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    assert json.loads(await request("GET", f"{address}/readyz")) == {"status": "ok"}
    for _ in range(2):
        assert json.loads(await request("POST", f"{address}/admin/drain")) == {"seconds": 0.2}
    with pytest.raises(ServerError, match="closing") as refused:
        await request("GET", f"{address}/readyz")
    assert refused.value.status == 503
    assert json.loads(await request("GET", f"{address}/healthz"))["status"] == "ok"
    await asyncio.wait_for(ended.wait(), 15.0)
    server.should_exit = True
    await task

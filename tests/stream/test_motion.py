"""Motion of a real server's session: to python-osc's parser, and from Live Link Face into the pages."""

import asyncio
import json
import socket
from pathlib import Path

import av
import numpy as np
import pytest
from pythonosc.osc_packet import OscPacket

from fitme.motion.live_link import LiveLinkEncoder
from fitme.motion.motion import Motion
from fitme.motion.rotations import rotation_of_angles
from fitme.shape.expressions import EXPRESSION_COUNT
from stream.bench.native_peer import ClipTrack, NativePeer, ServerError
from stream.bench.server_process import ServerProcess
from stream.protocol.parameters import Parameters
from stream.protocol.protocol import Feed

SETTINGS = """
session: {{limit: 2, grace_s: 4.0}}
fit: {{slice_s: 0.5, warm_up: false, niceness: 0}}
motion: {{outputs: ["vmc://127.0.0.1:{vmc}"], sources: ["livelink://127.0.0.1:{live_link}"]}}
"""
PHONE = Motion(0.0, True, rotation_of_angles(-0.5, 0.0, 0.0), weights=(0.75,) * EXPRESSION_COUNT)


async def test_motion_goes_out_and_comes_in(face_clip: list[av.VideoFrame], tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(type=socket.SOCK_DGRAM) as probe:
        receiver.bind(("127.0.0.1", 0))
        receiver.setblocking(False)
        probe.bind(("127.0.0.1", 0))
        live_link = probe.getsockname()[1]
        probe.close()
        settings = tmp_path / "serve.yaml"
        settings.write_text(SETTINGS.format(vmc=receiver.getsockname()[1], live_link=live_link))
        store = tmp_path / "store"
        store.mkdir()
        with ServerProcess(store, "--config", str(settings)) as server:
            await _exchange(server, face_clip, receiver, live_link)


async def _exchange(server: ServerProcess, clip: list[av.VideoFrame], receiver: socket.socket, live_link: int) -> None:
    peer = NativePeer(server.address)
    await peer.send_camera(ClipTrack(clip))
    await peer.watch((Feed.PARAMETERS,))
    shown: list[Parameters] = []
    peer.on_parameters = shown.append
    await peer.until(lambda: bool(shown) and shown[-1].tracked, 60.0)
    state = json.loads(await peer.request("GET", "/motion"))
    assert (len(state["outputs"]), len(state["sources"]), state["send"], state["source"]) == (1, 1, False, None)
    with pytest.raises(BlockingIOError):
        receiver.recv(4096)

    # Out: weights of the pages come back from an independent parser.
    assert json.loads(await peer.request("POST", "/motion", {"send": True}))["send"]
    datagram = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(receiver, 65_536), 10.0)
    addresses = {timed.message.address for timed in OscPacket(datagram).messages}
    assert {"/VMC/Ext/Bone/Pos", "/VMC/Ext/Blend/Val", "/VMC/Ext/Blend/Apply"} <= addresses
    assert not json.loads(await peer.request("POST", "/motion", {"send": False}))["send"]

    # In: a phone moves the avatar, whatever the camera sees.
    source = state["sources"][0]
    assert json.loads(await peer.request("POST", "/motion", {"source": source}))["source"] == source
    encoder = LiveLinkEncoder("iPhone", 0.0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as phone:

        def sent(frame: int) -> None:
            phone.sendto(encoder.pack(PHONE.at(frame / 60.0)), ("127.0.0.1", live_link))

        for frame in range(600):
            sent(frame)
            await asyncio.sleep(1.0 / 60.0)
            if shown and np.allclose(shown[-1].weights, 0.75, atol=0.01):
                break
        count = len(shown)
        for frame in range(60):
            sent(frame)
            await asyncio.sleep(1.0 / 60.0)
    assert shown[-1].rotation == pytest.approx(PHONE.rotation, abs=1e-3)
    recent = shown[count:]
    assert len(recent) > 20
    assert all(np.allclose(parameters.weights, 0.75, atol=0.01) for parameters in recent), (
        "the camera moves nothing now"
    )
    await peer.request("POST", "/motion", {"source": None})
    await peer.until(lambda: not np.allclose(shown[-1].weights, 0.75, atol=0.01), 30.0)
    with pytest.raises(ServerError, match="unknown_motion"):
        await peer.request("POST", "/motion", {"source": "vmc://0.0.0.0"})
    stranger = NativePeer(server.address, token="0" * 32)
    stranger.session = peer.session
    with pytest.raises(ServerError, match="forbidden"):
        await stranger.request("POST", "/motion", {"send": True})
    await peer.delete()
    await peer.close()

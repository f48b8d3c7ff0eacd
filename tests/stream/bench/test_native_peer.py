"""The page without a browser, against a websocket of the test's own."""

import json

from websockets.asyncio.server import ServerConnection, serve

from stream.bench.native_peer import NativePeer
from stream.protocol.protocol import CLOSE_ENDED
from stream.protocol.render import Codec, Render

RENDER = Render(0, Codec.JPEG, 0, 1, 1, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0, b"")


async def test_events_sent_just_before_the_end_are_read() -> None:
    """The websocket may be closed by the time a render is acknowledged; what was sent before counts all the same."""

    async def view(websocket: ServerConnection) -> None:
        await websocket.send(RENDER.pack())
        await websocket.send(json.dumps({"type": "ended", "reason": "deleted"}))
        await websocket.close(CLOSE_ENDED)

    async with serve(view, "127.0.0.1", 0) as server:
        peer = NativePeer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        peer.session = "any"
        await peer.watch()
        await peer.until(lambda: peer.close_code is not None, 5.0)
        await peer.close()
    assert peer.close_code == CLOSE_ENDED
    assert peer.renders == 1
    assert peer.events["ended"]["reason"] == "deleted"

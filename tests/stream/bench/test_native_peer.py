"""The page without a browser, against a websocket of the test's own."""

import json

from websockets.asyncio.server import ServerConnection, serve

from stream.bench.native_peer import NativePeer
from stream.protocol.picture import Codec, Picture
from stream.protocol.protocol import CLOSE_ENDED

PICTURE = Picture(0, Codec.JPEG, 0, 1, 1, 0.0, 0.0, 0.0, 0.0, (0.0, 0.0, 0.0, 0.0, 0.0, 0.0), 0, b"")


async def test_events_sent_just_before_the_end_are_read() -> None:
    """The websocket may be closed by the time a picture is acknowledged; what was sent before counts all the same."""

    async def view(websocket: ServerConnection) -> None:
        await websocket.send(PICTURE.pack())
        await websocket.send(json.dumps({"type": "ended", "reason": "deleted"}))
        await websocket.close(CLOSE_ENDED)

    async with serve(view, "127.0.0.1", 0) as server:
        peer = NativePeer(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        peer.session = "any"
        await peer.watch()
        await peer.until(lambda: peer.close_code is not None, 5.0)
        await peer.close()
    assert peer.close_code == CLOSE_ENDED
    assert peer.pictures == 1
    assert peer.events["ended"]["reason"] == "deleted"

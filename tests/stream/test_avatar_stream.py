"""Pages that draw for themselves against a real server: pieces and parameters, late, again, and never read."""

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import av
import pytest
from PIL import Image
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from fitme.stage import Stage
from stream.bench.followed_avatar import followed_maps, followed_vertices
from stream.bench.native_peer import ClipTrack, NativePeer, ServerError, request
from stream.bench.server_process import ServerProcess
from stream.protocol.avatar import Piece, PieceKind, Slot
from stream.protocol.parameters import PARAMETERS_MAGIC, Parameters
from stream.protocol.protocol import CLOSE_BAD_ADDRESS, PROTOCOL_VERSION, Feed

DRAWING = (Feed.AVATAR, Feed.PARAMETERS)
STATE = Slot(PieceKind.STATE)
EXAMPLE = Path(__file__).parents[2] / "examples" / "follow_avatar.py"


@contextlib.asynccontextmanager
async def owner(server: ServerProcess, clip: list[av.VideoFrame]) -> AsyncIterator[NativePeer]:
    """A page with a camera and a data channel, that draws for itself; the session is deleted at its end."""
    peer = NativePeer(server.address)
    try:
        await peer.send_camera(ClipTrack(clip), channel=True)
        yield peer
    finally:
        with contextlib.suppress(ServerError):
            await peer.delete()
        await peer.close()


async def viewer(of: NativePeer, held: str | None = None) -> NativePeer:
    """A page that watches by a view link, and draws for itself."""
    peer = NativePeer(of.server)
    await peer.watch_link(await view_token(of), DRAWING, held=held)
    return peer


async def view_token(of: NativePeer) -> str:
    return str(json.loads(await of.request("POST", "/links", {}))["token"])


def stage_of(peer: NativePeer) -> Stage:
    return Stage(peer.pieces[STATE].header["stage"]) if STATE in peer.pieces else Stage.WAITING


def narrow_socket(server: ServerProcess) -> socket.socket:
    """A connection to the server whose receiver holds next to nothing."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.connect(("127.0.0.1", int(server.address.rsplit(":", 1)[1])))
    return narrow


async def same_version(first: NativePeer, second: NativePeer) -> None:
    """Wait until both pages have the whole avatar of one version."""

    def agree() -> bool:
        return first.avatar_version == second.avatar_version >= 0

    deadline_s = time.monotonic() + 30.0
    while not agree():
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.01)


async def test_the_avatar_travels_in_pieces(
    server: ServerProcess, face_clip: list[av.VideoFrame], tmp_path: Path
) -> None:
    async with owner(server, face_clip) as early:
        over_channel: list[Parameters] = []
        early.on_channel = over_channel.append
        await early.watch(DRAWING)
        # Grey at once, with a head that everybody has.
        await early.until(lambda: early.avatar_version >= 0, 10.0)
        assert stage_of(early) is Stage.WAITING
        assert followed_maps(early.pieces)["diffuse"].shape == (24, 16, 3)
        shared = f"{server.address}/piece/{early.events['hello']['model']}"
        with urllib.request.urlopen(shared) as answer:
            assert "immutable" in answer.headers["Cache-Control"]
            model = Piece.unpack(answer.read())
        assert (model.slot.kind, model.header["vertices"]) == (PieceKind.MODEL, len(followed_vertices(early.pieces)))
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{server.address}/piece/{'0' * 32}")

        # The same parameters over the websocket and the data channel.
        tracked: list[Parameters] = []
        early.on_parameters = lambda parameters: tracked.append(parameters) if parameters.tracked else None
        await early.until(lambda: len(tracked) > 30 and len(over_channel) > 30, 60.0)
        by_sequence = {parameters.sequence: parameters for parameters in over_channel}
        common = [parameters for parameters in tracked if parameters.sequence in by_sequence]
        assert len(common) > 20
        assert all(by_sequence[parameters.sequence] == parameters for parameters in common)
        assert [p.sequence for p in tracked] == sorted({p.sequence for p in tracked})
        yaws = [parameters.rotation[1] for parameters in tracked]
        assert max(yaws) - min(yaws) > 0.2
        assert max(parameters.delay_s for parameters in tracked) < 5.0

        # A late joiner has what the early page has put together from the pieces of all rounds.
        await early.until(lambda: stage_of(early).has_reached(Stage.SKIN), 120.0)
        late = await viewer(early)
        await same_version(early, late)
        state = late.pieces[STATE].header
        assert state == early.pieces[STATE].header
        for slot, piece in late.pieces.items():
            assert (piece.header, piece.payload) == (early.pieces[slot].header, early.pieces[slot].payload), slot
        maps, of_late = followed_maps(early.pieces), followed_maps(late.pieces)
        assert set(of_late) == set(state["maps"])
        assert all((codes == maps[name]).all() for name, codes in of_late.items())
        assert "tracking" not in late.events
        assert early.events["tracking"]["landmarks"] is None

        # One that comes back gets only what is newer.
        held, version, known = late.held, late.avatar_version, dict(late.pieces)
        await late.close()
        again = await viewer(early, held)
        await again.until(lambda: again.parameters is not None, 10.0)
        assert all(piece.version > version for piece in again.pieces.values())
        again.avatar_version = max(again.avatar_version, version)
        await same_version(early, again)
        put_together = known | again.pieces
        assert put_together[STATE].header == early.pieces[STATE].header
        await again.close()
        stranger = await viewer(early, "another.3")
        await same_version(early, stranger)
        assert stranger.pieces.keys() == put_together.keys()

        # The example follows it, too.
        link = f"{server.address}/view/{await view_token(early)}"
        command = [sys.executable, str(EXAMPLE), link, str(tmp_path), "5"]
        ran = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=60, check=False)
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.count("eyeBlinkLeft") + ran.stdout.count("no face") == 5
        tiles = sum(slot.kind is PieceKind.TILE for slot in late.pieces)
        sizes = [Image.open(path).size for path in tmp_path.glob("*.jpg")]
        assert len(sizes) >= tiles

        # No page has asked for renders; one that does gets them, until it does not any more.
        assert early.renders == stranger.renders == 0
        await stranger.send({"type": "receive", "feeds": ["renders"]})
        await stranger.until(lambda: stranger.renders > 3, 20.0)
        await stranger.send({"type": "receive", "feeds": ["parameters"]})
        stranger.parameters = None
        await stranger.until(lambda: stranger.parameters is not None, 10.0)
        await stranger.close()


async def test_a_page_that_never_reads_gets_the_newest_and_slows_nobody(
    server: ServerProcess, face_clip: list[av.VideoFrame]
) -> None:
    async with owner(server, face_clip) as lively:
        await lively.watch(DRAWING)
        await lively.until(lambda: stage_of(lively).has_reached(Stage.SKIN), 120.0)
        token = await view_token(lively)
        address = f"{server.address.replace('http', 'ws')}/view/{token}/socket?protocol={PROTOCOL_VERSION}"
        with narrow_socket(server) as narrow:
            silent = await connect(f"{address}&receive=avatar,parameters", sock=narrow, max_queue=1, compression=None)
            sequences: list[int] = []
            lively.on_parameters = lambda parameters: sequences.append(parameters.sequence)
            await lively.until(lambda: len(sequences) > 25, 60.0)
            assert len(sequences) > 0.8 * (sequences[-1] - sequences[0])
            # It begins to read: what filled the connection long ago, then the newest parameters and all of the avatar.
            begun, old, slots, complete = sequences[-1], 0, set(), False
            newest = 0
            while newest <= begun or not complete:
                message = await asyncio.wait_for(silent.recv(), 20.0)
                if isinstance(message, bytes) and message.startswith(PARAMETERS_MAGIC):
                    newest = Parameters.unpack(message).sequence
                    old += newest <= begun
                elif isinstance(message, bytes):
                    piece = Piece.unpack(message)
                    slots.add(piece.slot)
                    complete = piece.complete
            assert old < 0.5 * (begun - sequences[0])
            assert slots >= lively.pieces.keys()
            await silent.close()
        for query, code in (("&receive=everything", CLOSE_BAD_ADDRESS), ("&have=abc", CLOSE_BAD_ADDRESS)):
            async with connect(address + query) as refused:
                with pytest.raises(ConnectionClosed):
                    await refused.recv()
                assert refused.close_code == code
        assert json.loads(await request("GET", f"{server.address}/healthz"))["status"] == "ok"

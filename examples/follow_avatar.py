"""Follow the avatar of a live session: `python examples/follow_avatar.py ADDRESS FOLDER [FRAMES]`.

Prints pose and some weights of each camera frame, and saves the tiles of the maps in FOLDER. ADDRESS is that of a link
to watch (http://.../view/TOKEN) or of its websocket. Needs the package `websockets` alone; the messages are described
in docs/wire.md.
"""

import asyncio
import json
import struct
import sys
from pathlib import Path

from websockets.asyncio.client import connect

PIECE = struct.Struct("<4sHBBIHHII")
PARAMETERS = struct.Struct("<4sHBBIIIH4h3h4h")
TILE = 4
WEIGHTS = {"eyeBlinkLeft": 8, "eyeBlinkRight": 9, "jawOpen": 24, "mouthSmileLeft": 43, "mouthSmileRight": 44}


def save_tile(message: bytes, folder: Path) -> None:
    """Save a piece's image, if the piece is a tile of a map."""
    _, _, kind, _, version, _, _, header_bytes, _ = PIECE.unpack_from(message)
    if kind == TILE:
        header = json.loads(message[PIECE.size : PIECE.size + header_bytes])
        path = folder / f"{header['map']}_{header['size']}_{header['x']}_{header['y']}.jpg"
        path.write_bytes(message[PIECE.size + header_bytes :])
        print(f"{path.name}: version {version} of the avatar")


def print_motion(message: bytes) -> None:
    """Print parameters: time, place of the head, weights."""
    _, _, tracked, _, sequence, captured_ms, _, _, *values = PARAMETERS.unpack_from(message)
    x, y, z = (1e-4 * step for step in values[4:7])
    weights = message[PARAMETERS.size :]
    shown = ", ".join(f"{name} {weights[index] / 255:.2f}" for name, index in WEIGHTS.items())
    print(f"{sequence}: {captured_ms} ms, " + (f"head at {x:.3f} {y:.3f} {z:.3f} m, {shown}" if tracked else "no face"))


async def follow(address: str, folder: Path, frames: float) -> None:
    """Follow an avatar for some camera frames."""
    if address.startswith("http"):
        address = address.replace("http", "ws", 1).rstrip("/") + "/socket"
    async with connect(f"{address}?protocol=3&receive=avatar,parameters", max_size=None) as websocket:
        while frames > 0:
            message = await websocket.recv()
            if isinstance(message, bytes) and message.startswith(b"FITA"):
                save_tile(message, folder)
            elif isinstance(message, bytes):
                print_motion(message)
                frames -= 1


if __name__ == "__main__":
    into = Path(sys.argv[2])
    into.mkdir(parents=True, exist_ok=True)
    asyncio.run(follow(sys.argv[1], into, float(sys.argv[3]) if len(sys.argv) > 3 else float("inf")))

"""A page in a process of its own, to be killed: prints its session's id once it has a render, then lives on."""

import asyncio
import sys

import numpy as np

from stream.bench.native_peer import ClipTrack, NativePeer, frames_of


async def main() -> None:
    """Send grey images and watch."""
    peer = NativePeer(sys.argv[1])
    await peer.send_camera(ClipTrack(frames_of([np.full((240, 320, 3), 90 + shade, np.uint8) for shade in range(3)])))
    await peer.watch()
    await peer.until(lambda: peer.renders > 0, 30.0)
    print(peer.session, flush=True)
    await asyncio.sleep(600.0)


asyncio.run(main())

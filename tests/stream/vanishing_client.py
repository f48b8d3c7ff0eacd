"""A page in a process of its own, to be killed: prints its session's id once it has a picture, then lives on."""

import asyncio
import sys

import numpy as np

from stream.bench.native_peer import ClipTrack, NativePeer, frames_of


async def main() -> None:
    """Send a grey picture and watch."""
    peer = NativePeer(sys.argv[1])
    await peer.send_camera(ClipTrack(frames_of([np.full((240, 320, 3), 90 + shade, np.uint8) for shade in range(3)])))
    await peer.watch()
    await peer.until(lambda: peer.pictures > 0, 30.0)
    print(peer.session, flush=True)
    await asyncio.sleep(600.0)


asyncio.run(main())

"""Motion of a camera or a video: tracked in a thread of its own, so that sending never waits for it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import closing

from fitme.commands.drive.frames import TimedFrame
from fitme.errors import FitmeError
from fitme.motion.motion import Motion
from fitme.motion.newest import NewestMotion
from fitme.track.motion import motion_of
from fitme.track.tracker import FrameTracker


def tracked_motion(frames: Iterator[TimedFrame], tracker: FrameTracker) -> Iterator[Motion]:
    """Motion of each frame."""
    shape = None
    for frame in frames:
        if shape is not None and frame.image.shape != shape:
            tracker.reset()
        shape = frame.image.shape
        yield motion_of(tracker.track(frame.image, frame.time_s), frame.time_s)


class TrackedSource:
    """Newest motion of frames."""

    def __init__(self, open_frames: Callable[["TrackedSource"], Iterator[TimedFrame]], tracker: FrameTracker) -> None:
        """
        :param open_frames: opens the frames, in the thread; the tracker is closed at their end.
        """
        self._open_frames = open_frames
        self._tracker = tracker
        self._newest = NewestMotion()
        self._stopped = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> None:
        """Wait in the thread of the frames; less if `close` is called."""
        self._stopped.wait(seconds)

    async def take(self) -> Motion | None:
        """Wait for the newest motion.

        :raises FitmeError: if the frames cannot be had.
        """
        return await self._newest.take()

    async def close(self) -> None:
        """Track no more frames."""
        self._stopped.set()
        self._newest.end()
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            with closing(self._tracker):
                for motion in tracked_motion(self._open_frames(self), self._tracker):
                    if self._stopped.is_set():
                        break
                    self._loop.call_soon_threadsafe(self._newest.put, motion)
        except FitmeError as raised:
            error = raised
        self._loop.call_soon_threadsafe(self._newest.end, error)

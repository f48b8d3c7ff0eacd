"""Hand-over of motion between tasks: only the newest is kept, so that nobody falls behind."""

import asyncio

from fitme.motion.motion import Motion


class NewestMotion:
    """The newest motion that has not been taken yet."""

    def __init__(self) -> None:
        self._motion: Motion | None = None
        self._ended = False
        self._error: Exception | None = None
        self._filled = asyncio.Event()

    def put(self, motion: Motion) -> None:
        """Put a motion in place of one that has not been taken."""
        self._motion = motion
        self._filled.set()

    def end(self, error: Exception | None = None) -> None:
        """No motion comes any more; `take` raises the error if there is one."""
        self._ended, self._error = True, error
        self._filled.set()

    async def take(self) -> Motion | None:
        """Wait for the newest motion; None at the end."""
        while True:
            if (motion := self._motion) is not None:
                self._motion = None
                return motion
            if self._error is not None:
                raise self._error
            if self._ended:
                return None
            self._filled.clear()
            await self._filled.wait()

"""Newest-only hand-over of camera frames between two processes, through shared memory and without locks.

The memory is an anonymous file (`memfd_create`): it needs no `/dev/shm`, which containers keep small, and whichever
process ends and however, nothing of it is left.

One process writes, one reads. The writer fills three slots in turn and then marks the newest; the reader
copies that one and checks whether it was overwritten meanwhile. Neither ever waits for the other, and either may
end at any moment without harming the other.
"""

import mmap
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fitme.arrays import UInt8Array

SLOTS = 3
"""One that is read, one that is complete, one that is written."""
CHANNELS = 3

_HEADER = np.dtype([("newest", "<u8"), ("taken", "<u8"), ("key", "<u8")])
_SLOT = np.dtype(
    [("number", "<u8"), ("width", "<u4"), ("height", "<u4"), ("capture_time_s", "<f8"), ("received_time_s", "<f8")]
)
_DATA_OFFSET = 256
_MEMORY_NAME = "fitme-frames"
_KEY_BITS = 63
_KEY_MARK = "#"


@dataclass(frozen=True)
class CameraFrame:
    """One decoded frame of a camera."""

    number: int
    """Counts the frames of a session from 1; gaps are frames that were skipped."""
    image: UInt8Array
    """(H, W, 3) sRGB."""
    capture_time_s: float
    """Media time, seconds since the peer's first frame."""
    received_time_s: float
    """`time.monotonic()` when the frame had been decoded."""


class FrameSlots:
    """Frame slots of one session: made by `create` in one process, opened by `attach` with their name in the other."""

    def __init__(self, file: int, name: str, max_pixels: int) -> None:
        self._file = file
        self.name = name
        """Name of the shared memory, for `attach`; valid while the creator has not closed it."""
        self._slot_bytes = max_pixels * CHANNELS
        self.max_pixels = max_pixels
        self._memory = mmap.mmap(file, _DATA_OFFSET + SLOTS * max_pixels * CHANNELS)
        self._header: npt.NDArray[Any] = np.ndarray(1, _HEADER, self._memory)
        self._slots: npt.NDArray[Any] = np.ndarray(SLOTS, _SLOT, self._memory, _HEADER.itemsize)

    @staticmethod
    def create(max_pixels: int) -> "FrameSlots":
        """New shared memory for frames of up to `max_pixels`; `close` releases it."""
        file = os.memfd_create(_MEMORY_NAME)
        os.ftruncate(file, _DATA_OFFSET + SLOTS * max_pixels * CHANNELS)
        key = secrets.randbits(_KEY_BITS)
        slots = FrameSlots(file, f"/proc/{os.getpid()}/fd/{file}{_KEY_MARK}{key:x}", max_pixels)
        slots._header["key"] = key
        return slots

    @staticmethod
    def attach(name: str, max_pixels: int) -> "FrameSlots":
        """The shared memory that another process of this user created with the same `max_pixels`.

        :raises FileNotFoundError: if it is gone.
        """
        path, key = name.split(_KEY_MARK)
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        # Numbers of closed files are used again: it must not be another session's memory.
        if not Path(f"/proc/self/fd/{file}").readlink().name.startswith(f"memfd:{_MEMORY_NAME}"):
            os.close(file)
            raise FileNotFoundError(name)
        slots = FrameSlots(file, name, max_pixels)
        if int(slots._header["key"][0]) != int(key, 16):
            slots.close()
            raise FileNotFoundError(name)
        return slots

    def write(self, image: UInt8Array, capture_time_s: float, received_time_s: float) -> bool:
        """Hand over a frame (H, W, 3) of at most `max_pixels`.

        Returns whether the reader had taken the frame before: it may be waiting, and is to be woken by a message.
        """
        height, width = image.shape[:2]
        if height * width > self.max_pixels:
            raise ValueError(f"a frame of {width}x{height} does not fit into {self.max_pixels} pixels")
        previous = int(self._header["newest"][0])
        number = previous + 1
        slot = self._slots[number % SLOTS]
        slot["number"] = 0
        self._pixels(number, height, width)[...] = image
        slot["width"], slot["height"] = width, height
        slot["capture_time_s"], slot["received_time_s"] = capture_time_s, received_time_s
        slot["number"] = number
        self._header["newest"] = number
        return int(self._header["taken"][0]) == previous

    def take(self) -> CameraFrame | None:
        """A copy of the newest frame, or None if it was taken before."""
        while True:
            number = int(self._header["newest"][0])
            if number == int(self._header["taken"][0]):
                return None
            slot = self._slots[number % SLOTS]
            height, width = int(slot["height"]), int(slot["width"])
            captured, received = float(slot["capture_time_s"]), float(slot["received_time_s"])
            if height * width > self.max_pixels:
                continue
            image = self._pixels(number, height, width).copy()
            if int(slot["number"]) == number:
                self._header["taken"] = number
                return CameraFrame(number, image, captured, received)

    def close(self) -> None:
        """Detach; the memory is released once both processes have. No `write` or `take` may be running."""
        del self._header, self._slots
        self._memory.close()
        os.close(self._file)

    def _pixels(self, number: int, height: int, width: int) -> UInt8Array:
        offset = _DATA_OFFSET + (number % SLOTS) * self._slot_bytes
        return np.ndarray((height, width, CHANNELS), np.uint8, self._memory, offset)


FrameSink = Callable[[UInt8Array, float, float], None]
"""Takes (image (H, W, 3) uint8 sRGB, capture time in seconds, receive time in seconds); called in a worker thread."""

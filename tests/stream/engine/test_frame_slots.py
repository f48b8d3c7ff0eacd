"""Frames between processes: newest only, never torn, and nobody waits for anybody."""

import multiprocessing
import multiprocessing.connection
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from stream.engine.frame_slots import FrameSlots


def flat(value: int, height: int = 8, width: int = 6) -> np.ndarray:
    return np.full((height, width, 3), value, np.uint8)


def test_newest_only() -> None:
    slots = FrameSlots.create(64)
    reader = FrameSlots.attach(slots.name, 64)
    assert reader.take() is None
    assert slots.write(flat(1), 0.1, 1.1)
    assert not slots.write(flat(2), 0.2, 1.2)
    assert not slots.write(flat(3, 4, 16), 0.3, 1.3)
    frame = reader.take()
    assert frame is not None
    assert (frame.number, frame.capture_time_s, frame.received_time_s) == (3, 0.3, 1.3)
    np.testing.assert_array_equal(frame.image, flat(3, 4, 16))
    assert reader.take() is None
    assert slots.write(flat(4), 0.4, 1.4)
    with pytest.raises(ValueError, match="fit"):
        slots.write(flat(0, 9, 9), 0.0, 0.0)
    reader.close()
    slots.close()


def test_memory_of_another_session_is_never_attached() -> None:
    """The numbers of closed files are used again."""
    gone = FrameSlots.create(64)
    name = gone.name
    gone.close()
    with pytest.raises(FileNotFoundError):
        FrameSlots.attach(name, 64)
    other = FrameSlots.create(64)
    assert other.name.split("#")[0] == name.split("#")[0]
    with pytest.raises(FileNotFoundError):
        FrameSlots.attach(name, 64)
    other.close()
    with open(os.devnull, "rb+") as file:  # noqa: PTH123 -- a device, not a file
        assert name.split("#")[0].endswith(f"/{file.fileno()}")
        with pytest.raises(FileNotFoundError):
            FrameSlots.attach(name, 64)


def test_no_shared_memory_file_system_is_needed() -> None:
    before = set(Path("/dev/shm").iterdir())
    slots = FrameSlots.create(10_000)
    assert set(Path("/dev/shm").iterdir()) == before
    slots.close()


def write_many(name: str, pixels: int, reader: multiprocessing.connection.Connection) -> None:
    """Write frames without a pause until the reader has enough; tell it the last one's number."""
    slots = FrameSlots.attach(name, pixels)
    value = 0
    while not reader.poll():
        value += 1
        slots.write(np.full((100, 100, 3), value % 251, np.uint8), float(value), 0.0)
    reader.send(value)
    slots.close()


def test_frames_are_never_torn() -> None:
    """A writer in another process that never pauses; every frame that is read is of one colour, and its own."""
    slots = FrameSlots.create(10_000)
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    writer = context.Process(target=write_many, args=(slots.name, 10_000, there))
    writer.start()

    def take() -> int:
        """Number of the next frame; the last one's where there is no other."""
        frame = slots.take()
        if frame is None:
            return last
        assert frame.number > last
        assert frame.image.min() == frame.image.max() == int(frame.capture_time_s) % 251
        return frame.number

    last, count = 0, 0
    while count < 300:
        number = take()
        count += number > last
        last = number
    here.send("enough")
    written = here.recv()
    writer.join()
    assert take() == written, "the newest frame is there in the end"
    slots.close()


def test_writer_wakes_the_reader_once() -> None:
    slots = FrameSlots.create(64)
    wakes = threading.Semaphore(0)
    stop = time.monotonic() + 0.2
    seen = 0
    for value in range(200):
        if slots.write(flat(value), 0.0, 0.0):
            wakes.release()
        if value % 3 == 0 and wakes.acquire(blocking=False):
            seen += slots.take() is not None
        if time.monotonic() > stop:
            break
    assert seen > 0
    slots.close()

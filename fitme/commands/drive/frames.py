"""Frames to track: of a camera of this machine, or of a video file."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fitme.arrays import UInt8Array
from fitme.commands.drive.settings import CaptureSettings
from fitme.errors import InputError
from fitme.ingest.frame import working_size
from fitme.ingest.video import probe, read_frames

LATE_S = 0.05
"""A frame of a video that is due for longer is passed over."""


@dataclass(frozen=True)
class TimedFrame:
    """A frame, with its time in seconds."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    time_s: float


def camera_frames(number: int, settings: CaptureSettings) -> Iterator[TimedFrame]:
    """Frames of a camera of this machine, the newest as it comes, until the caller stops.

    :raises InputError: if it cannot be opened, or gives no more frames.
    """
    capture = cv2.VideoCapture(number)
    try:
        if not capture.isOpened():
            raise InputError(
                f"camera {number} cannot be opened: connect one, end the program that uses it, or choose another "
                f"(--source camera:{number + 1})"
            )
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, settings.width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, settings.height)
        capture.set(cv2.CAP_PROP_FPS, settings.frames_per_second)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # older frames are of no use
        while True:
            there, image = capture.read()
            if not there:
                raise InputError(f"camera {number} gives no more frames: was it unplugged?")
            yield TimedFrame(_of_working_size(np.asarray(image[..., ::-1])), time.monotonic())
    finally:
        capture.release()


def video_frames(path: Path) -> Iterator[TimedFrame]:
    """All frames of a video.

    :raises InputError: if it cannot be read.
    """
    info = probe(path)
    for frame in read_frames(info, range(info.frame_count)):
        yield TimedFrame(frame.image, frame.timestamp_s)


def in_real_time(frames: Iterator[TimedFrame], wait: Callable[[float], object]) -> Iterator[TimedFrame]:
    """Frames when they are due; those that are late are passed over.

    :param wait: waits for some seconds, or for less if nobody needs the frames any more.
    """
    begin_s: float | None = None
    for frame in frames:
        if begin_s is None:
            begin_s = time.monotonic() - frame.time_s
        early_s = begin_s + frame.time_s - time.monotonic()
        if early_s > 0.0:
            wait(early_s)
        elif early_s < -LATE_S:
            continue
        yield frame


def _of_working_size(image: UInt8Array) -> UInt8Array:
    height, width = image.shape[:2]
    size = working_size(width, height)
    if size == (width, height):
        return np.ascontiguousarray(image)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))

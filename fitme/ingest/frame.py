"""Input image, of a photo or a video, and its working size."""

from dataclasses import dataclass

from fitme.arrays import UInt8Array

WORKING_SIDE_PX = 1280
"""Longer side to which larger images are reduced: a face then still has more pixels than the avatar's texture."""


@dataclass(frozen=True)
class Frame:
    """Upright image with its source."""

    image: UInt8Array
    """(H, W, 3) sRGB, longer side at most `WORKING_SIDE_PX`."""
    timestamp_s: float
    """Seconds from the beginning of the video; 0 for a photo."""
    focal: float | None
    """Focal length over the longer side from the camera's metadata, or None without it."""
    index: int
    """Number of the frame in its video, from 0; 0 for a photo."""
    source: str
    """Name in messages: the file's, and for a video the frame's number."""


def working_size(width: int, height: int) -> tuple[int, int]:
    """(width, height) scaled down, aspect kept, so that the longer side is at most `WORKING_SIDE_PX`."""
    scale = min(1.0, WORKING_SIDE_PX / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))

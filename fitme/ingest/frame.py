"""Input image, of a photo or a video, and its working size."""

from dataclasses import dataclass

from fitme.arrays import UInt8Array

WORKING_SIDE_PX = 1280
"""Longer side to which larger images are reduced: a face then still has more pixels than the avatar's texture."""
DETAIL_SIDE_PX = 6144
"""Longer side to which photos are reduced before their faces are found: 25 megapixels keep all their detail."""


@dataclass(frozen=True)
class Window:
    """Part of a photo that is used instead of all of it, in the pixels of the part."""

    left_px: float
    """Left edge of the part in the whole photo."""
    top_px: float
    """Top edge of the part in the whole photo."""
    whole_width_px: float
    whole_height_px: float


@dataclass(frozen=True)
class Frame:
    """Upright image with its source."""

    image: UInt8Array
    """(H, W, 3) sRGB, longer side at most `WORKING_SIDE_PX`; of a photo whose faces are not found yet, at most
    `DETAIL_SIDE_PX`."""
    timestamp_s: float
    """Seconds from the beginning of the video; 0 for a photo."""
    focal: float | None
    """Focal length over the longer side from the camera's metadata, or None without it."""
    index: int
    """Number of the frame in its video, from 0; 0 for a photo."""
    source: str
    """Name in messages: the file's, and for a video the frame's number."""
    window: Window | None = None
    """Part of its photo that the image shows; None if it shows all."""
    quarter_turns: int = 0
    """Turns, counter-clockwise, that made it upright beyond what the file's metadata demand."""


def working_size(width: int, height: int, side_px: int = WORKING_SIDE_PX) -> tuple[int, int]:
    """(width, height) scaled down, aspect kept, so that the longer side is at most `side_px`."""
    scale = min(1.0, side_px / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))

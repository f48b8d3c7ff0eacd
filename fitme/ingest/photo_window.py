"""Part of a photo that a fit uses: the whole at the working size, or a window round a face that is small in it."""

import math
from dataclasses import replace

import numpy as np
from PIL import Image

from fitme.arrays import UInt8Array
from fitme.ingest.frame import Frame, Window, working_size
from fitme.track.landmarks import DetectedFace

ENOUGH_FACE_PX = 320.0
"""Side of a face in the whole photo at the working size from which nothing is gained by a window."""
WINDOW_FACES = 3.5
"""Side of the window over the longer side of the face's box: hair and shoulders are in it."""


def at_working_size(frame: Frame, faces: tuple[DetectedFace, ...]) -> tuple[Frame, tuple[DetectedFace, ...]]:
    """A photo (longer side at most `DETAIL_SIDE_PX`) and its faces, largest first, reduced to the working size.

    If the largest face would then be small, the photo's part round it is taken, with the detail of the original.
    """
    height, width = frame.image.shape[:2]
    reduced_width, reduced_height = working_size(width, height)
    scale = reduced_width / width
    box = None if not faces else faces[0].box
    if scale == 1.0 or box is None or box.side * scale >= ENOUGH_FACE_PX:
        image = _resized(frame.image, reduced_width, reduced_height)
        return replace(frame, image=image), _moved(faces, 0.0, 0.0, scale)
    # A square round the face, within the photo.
    side = math.ceil(WINDOW_FACES * max(box.width, box.height))
    center_x, center_y = box.left + box.width / 2.0, box.top + box.height / 2.0
    left, right = _interval(center_x, side, width)
    top, bottom = _interval(center_y, side, height)
    size = working_size(right - left, bottom - top)
    scale = size[0] / (right - left)
    image = _resized(frame.image[top:bottom, left:right], *size)
    window = Window(left * scale, top * scale, width * scale, height * scale)
    return replace(frame, image=image, window=window), _moved(faces, -left * scale, -top * scale, scale)


def _interval(center: float, side: int, length: int) -> tuple[int, int]:
    begin = min(max(round(center - side / 2.0), 0), max(length - side, 0))
    return begin, min(begin + side, length)


def _moved(faces: tuple[DetectedFace, ...], left: float, top: float, scale: float) -> tuple[DetectedFace, ...]:
    if (left, top, scale) == (0.0, 0.0, 1.0):
        return faces
    return tuple(face.moved(left, top, scale) for face in faces)


def _resized(image: UInt8Array, width: int, height: int) -> UInt8Array:
    if image.shape[:2] == (height, width):
        return np.ascontiguousarray(image)
    resized = Image.fromarray(np.ascontiguousarray(image)).resize(
        (width, height), Image.Resampling.LANCZOS, reducing_gap=3.0
    )
    return np.asarray(resized)

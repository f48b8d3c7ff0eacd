"""Orientation of pictures without metadata: sideways and upside-down photos and videos are turned upright by the face
in them.

Free of torch, so that faces can be detected while torch is being imported.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np

from fitme.arrays import UInt8Array
from fitme.ingest.frame import Frame
from fitme.track.face_match import match
from fitme.track.identity_crop import DLIB_ALIGNMENT
from fitme.track.landmarks import DetectedFace, FaceFinder

SURE_MATCH = 1.1
"""`fitme.track.face_match.match` from which no other orientation is tried."""
LEAST_MATCH = 0.6
"""Match below which a detected face is none."""
LEAST_TURNED_MATCH = 0.9
"""Match that a face in another orientation must have."""
LEAST_GAIN = 0.15
"""Match by which another orientation must be better than that of the file."""
LARGEST_ROLL_DEG = 50.0
"""Tilt of a head beyond which another orientation is tried."""
DECIDING_FRAMES = 8
"""Frames of a video of which one must match surely; otherwise their sum decides."""


@dataclass(frozen=True)
class Orientation:
    """Picture in one of four orientations, with its faces."""

    quarter_turns: int
    """Counter-clockwise, 0 to 3."""
    image: UInt8Array
    """(H, W, 3), turned."""
    faces: tuple[DetectedFace, ...]
    """Largest first; none if the largest does not match the picture."""
    match: float
    """Match of the largest face; 0 without a face, or if it is tilted beyond `LARGEST_ROLL_DEG`."""


def upright(image: UInt8Array, finder: FaceFinder, *, tiles: bool = True) -> Orientation:
    """The orientation of a picture (H, W, 3) in which its largest face is upright; its own if it shows none.

    `tiles` as in `FaceFinder.detect`.
    """
    first = _oriented(image, finder, 0, tiles)
    if first.match >= SURE_MATCH:
        return first
    others = [_oriented(image, finder, turns, tiles) for turns in (1, 2, 3)]
    best = max(others, key=lambda other: other.match)
    if best.match < max(first.match + LEAST_GAIN, LEAST_TURNED_MATCH):
        best = first
    return best if best.match >= LEAST_MATCH else replace(best, faces=())


def upright_video(frames: Iterable[Frame], finder: FaceFinder) -> Iterator[Frame]:
    """Frames of one video, all turned alike, as its first frames demand if they show a face that is not too small."""
    coming = iter(frames)
    held: list[Frame] = []
    sums = np.zeros(4)
    for frame in coming:
        held.append(frame)
        found = upright(frame.image, finder, tiles=False)
        sums[found.quarter_turns] += found.match
        if found.match >= SURE_MATCH or len(held) == DECIDING_FRAMES:
            break
    turns = int(sums.argmax())
    for frame in chain(held, coming):
        yield frame if turns == 0 else replace(frame, image=turned(frame.image, turns), quarter_turns=turns)


def turned(image: UInt8Array, quarter_turns: int) -> UInt8Array:
    """A picture (H, W, 3) turned counter-clockwise by quarter turns."""
    return np.ascontiguousarray(np.rot90(image, quarter_turns))


def _oriented(image: UInt8Array, finder: FaceFinder, quarter_turns: int, tiles: bool) -> Orientation:
    candidate = turned(image, quarter_turns)
    faces = finder.detect(candidate, tiles=tiles)
    if not faces:
        return Orientation(quarter_turns, candidate, (), 0.0)
    found = match(candidate, faces[0]) if abs(_roll_deg(faces[0])) <= LARGEST_ROLL_DEG else 0.0
    return Orientation(quarter_turns, candidate, faces, found)


def _roll_deg(face: DetectedFace) -> float:
    """Tilt of a face in its picture, degrees."""
    matrix = DLIB_ALIGNMENT.matrix(face.landmarks)
    return float(np.degrees(np.arctan2(matrix[1, 0], matrix[0, 0])))

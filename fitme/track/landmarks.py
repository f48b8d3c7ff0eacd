"""Detection and tracking of faces and their 478 landmarks, independent of the network.

A `LandmarkBackend` is one network: it finds faces that fill a fair part of an image of moderate size. `FaceFinder`
extends it to every image: it shrinks large images, searches small faces tile by tile, computes landmarks on a crop of
each face, and tracks a small face of a video in a window.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import cv2
import numpy as np

from fitme.arrays import Float32Array, UInt8Array
from fitme.errors import InputError
from fitme.shape.landmark_groups import FACE_OVAL

SEARCH_SIDE_PX: Final = 1280
"""Longer side of the image in which faces are searched; larger images are shrunk to it first."""
CROP_SIDE_PX: Final = 640
"""Side of a face's own crop; landmark networks have inputs of 192 or 256 pixels, so that more is waste."""
CROP_MARGIN: Final = 0.6
"""Border around a face's box in its crop, as a share of the box's side."""
TILE_GRIDS: Final = (1, 3, 5)
"""Tiles per side, overlapping by half, tried in turn until a face is found."""
SAME_FACE_IOU: Final = 0.3
"""Intersection over union above which two boxes are of one face."""
SMALL_FACE_SHARE: Final = 0.12
"""A face narrower than this share of a video's longer side is tracked in a window."""
MIN_TILE_SIDE_PX: Final = 300
"""Smallest side of a tile: a face that is small in such a tile has too few pixels to be of use."""
LOST_SEARCH_PERIOD: Final = 8
"""Frames between two searches of the whole frame while a video shows no face."""
LOST_TILES_PERIOD: Final = 40
"""Frames between two searches by tiles while a video shows no face; they take about 0.1 s."""
LOST_TILES_GRID: Final = 3
"""Tiles per side of those searches."""
COMPARABLE_FACE: Final = 0.5
"""A second face counts when its side is at least this share of the largest one's."""


@dataclass(frozen=True)
class Box:
    """Upright square or rectangle around a face, pixels."""

    left: float
    top: float
    width: float
    height: float
    confidence: float | None = None
    """Score of the detector, in [0, 1]; None if no detector gave the box."""

    @property
    def side(self) -> float:
        """Side of the square of equal area, pixels."""
        return float(np.sqrt(max(self.width, 0.0) * max(self.height, 0.0)))

    def moved(self, left: float, top: float, scale: float) -> "Box":
        """The box scaled by `scale`, then moved by (left, top) pixels."""
        return replace(
            self,
            left=self.left * scale + left,
            top=self.top * scale + top,
            width=self.width * scale,
            height=self.height * scale,
        )

    def overlap(self, other: "Box") -> float:
        """Intersection over union."""
        width = min(self.left + self.width, other.left + other.width) - max(self.left, other.left)
        height = min(self.top + self.height, other.top + other.height) - max(self.top, other.top)
        if width <= 0.0 or height <= 0.0:
            return 0.0
        shared = width * height
        return shared / (self.width * self.height + other.width * other.height - shared)


@dataclass(frozen=True)
class DetectedFace:
    """Landmarks of one face."""

    landmarks: Float32Array
    """(478, 2) pixels."""
    depth: Float32Array
    """(478,) relative depth, pixels; smaller is nearer to the camera."""
    confidence: float | None = None
    """Score of the detector that found the face, in [0, 1]; None if it was found without one."""

    @property
    def box(self) -> Box:
        """Bounding box of the face's oval."""
        outline = self.landmarks[list(FACE_OVAL)]
        (left, top), (right, bottom) = outline.min(0), outline.max(0)
        return Box(float(left), float(top), float(right - left), float(bottom - top))

    def moved(self, left: float, top: float, scale: float) -> "DetectedFace":
        """The face scaled by `scale`, then moved by (left, top) pixels."""
        offset = np.array([left, top], np.float32)
        landmarks, depth = self.landmarks * np.float32(scale) + offset, self.depth * np.float32(scale)
        return replace(self, landmarks=landmarks, depth=depth)


class LandmarkBackend(Protocol):
    """One landmark network. Images are contiguous (H, W, 3) uint8, RGB."""

    def follow(self, image: UInt8Array) -> DetectedFace | None:
        """Face tracked through consecutive frames of a video, or None."""
        ...

    def mesh(self, image: UInt8Array) -> list[DetectedFace]:
        """Faces of a single image, with landmarks."""
        ...

    def boxes(self, image: UInt8Array) -> list[Box]:
        """Boxes of the faces of a single image: cheaper than `mesh`, or more sensitive."""
        ...

    def close(self) -> None:
        """Release the network."""
        ...


@dataclass(frozen=True)
class _Window:
    """Square part of a frame in which a small face is tracked."""

    left: int
    top: int
    side: int

    def contains(self, box: Box) -> bool:
        """Whether a box lies inside, at some distance from the border."""
        border = 0.08 * self.side
        return (
            box.left > self.left + border
            and box.top > self.top + border
            and box.left + box.width < self.left + self.side - border
            and box.top + box.height < self.top + self.side - border
        )


class FaceFinder:
    """Detector of the faces of an image (`detect`) and tracker of the main face of a video (`follow`)."""

    def __init__(self, backend: LandmarkBackend) -> None:
        self._backend = backend
        self._window: _Window | None = None
        self._lost_frames = 0

    def detect(self, image: UInt8Array, *, max_faces: int = 4, tiles: bool = True) -> tuple[DetectedFace, ...]:
        """Faces of a single image of any size, largest first, at most `max_faces`; empty if there is none.

        :param tiles: whether small faces are searched tile by tile where none is found otherwise; 20 times as long.
        """
        check_image(image)
        grids = TILE_GRIDS if tiles else TILE_GRIDS[:1]
        fits = [grid for grid in grids if grid == 1 or _tile_side(image, grid) >= MIN_TILE_SIDE_PX]
        return self._search(image, fits, max_faces)

    def follow(self, image: UInt8Array) -> DetectedFace | None:
        """Main face of the next frame of a video, or None. Frames of one video must have one size."""
        check_image(image)
        face = self._follow_in_window(image) if self._window is not None else self._backend.follow(image)
        if face is None:
            self._window = None
            face = self._search_lost(image)
        self._lost_frames = self._lost_frames + 1 if face is None else 0
        self._place_window(image, face)
        return face

    def several(self, image: UInt8Array, face: DetectedFace) -> bool:
        """Whether the frame shows another face besides `face`, of comparable size. About 2 ms."""
        found = [box for box in self._backend.boxes(image) if box.overlap(face.box) < SAME_FACE_IOU]
        outside = [box for box in found if not _inside(box, face.box)]
        return any(box.side >= COMPARABLE_FACE * face.box.side for box in outside)

    def rivals(self, faces: Sequence[DetectedFace]) -> bool:
        """Whether `detect` found a second face of a size comparable to the first."""
        return any(face.box.side >= COMPARABLE_FACE * faces[0].box.side for face in faces[1:])

    def reset(self) -> None:
        """Drop the tracked face."""
        self._window = None
        self._lost_frames = 0

    def close(self) -> None:
        """Release the backend."""
        self._backend.close()

    def _search(self, image: UInt8Array, grids: Sequence[int], max_faces: int) -> tuple[DetectedFace, ...]:
        """Faces, largest first, of the coarsest grid of tiles that shows any."""
        scale = max(1.0, max(image.shape[:2]) / SEARCH_SIDE_PX)
        small = _shrink(image, scale)
        for grid in grids:
            # Tiles are cut from the image itself, since the shrunk one lacks the detail of small faces.
            source, source_scale = (small, scale) if grid == 1 else (image, 1.0)
            candidates = _distinct(self._tile_boxes(source, grid, source_scale))
            faces = [face for box in candidates[: 2 * max_faces] if (face := self._mesh_of(image, box)) is not None]
            if faces:
                return _largest_distinct(faces)[:max_faces]
        whole = [face.moved(0.0, 0.0, scale) for face in self._backend.mesh(small)]
        return _largest_distinct(whole)[:max_faces]

    def _search_lost(self, image: UInt8Array) -> DetectedFace | None:
        """Largest face of a frame after the tracked face was lost, searched periodically."""
        if self._lost_frames % LOST_SEARCH_PERIOD:
            return None
        tiles = self._lost_frames % LOST_TILES_PERIOD == LOST_SEARCH_PERIOD
        return next(iter(self._search(image, (LOST_TILES_GRID,) if tiles else (1,), 1)), None)

    def _tile_boxes(self, image: UInt8Array, grid: int, scale: float) -> list[Box]:
        """Boxes found in the tiles of an image, in pixels of the image times `scale`."""
        boxes: list[Box] = []
        for left, top, tile in _tiles(image, grid):
            shrink = max(1.0, max(tile.shape[:2]) / SEARCH_SIDE_PX)
            found = self._backend.boxes(_shrink(tile, shrink))
            boxes += [box.moved(0.0, 0.0, shrink).moved(left, top, 1.0).moved(0.0, 0.0, scale) for box in found]
        return boxes

    def _mesh_of(self, image: UInt8Array, box: Box) -> DetectedFace | None:
        """Face that overlaps a box most, with landmarks from a crop around the box."""
        side = int(np.ceil(max(box.width, box.height) * (1.0 + 2.0 * CROP_MARGIN)))
        left = round(box.left + box.width / 2.0 - side / 2.0)
        top = round(box.top + box.height / 2.0 - side / 2.0)
        crop = _crop(image, left, top, side)
        scale = side / CROP_SIDE_PX
        found = self._backend.mesh(_resize(crop, CROP_SIDE_PX, CROP_SIDE_PX))
        faces = [face.moved(left, top, scale) for face in found]
        nearest = max(faces, key=lambda face: face.box.overlap(box), default=None)
        return None if nearest is None else replace(nearest, confidence=box.confidence)

    def _follow_in_window(self, image: UInt8Array) -> DetectedFace | None:
        assert self._window is not None
        window = self._window
        crop = _crop(image, window.left, window.top, window.side)
        face = self._backend.follow(crop)
        return None if face is None else face.moved(window.left, window.top, 1.0)

    def _place_window(self, image: UInt8Array, face: DetectedFace | None) -> None:
        """Centre the window on a small face that leaves it; no window for a large face or none."""
        if face is None or face.box.side >= SMALL_FACE_SHARE * max(image.shape[:2]):
            self._window = None
        elif self._window is None or not self._window.contains(face.box):
            box = face.box
            side = int(np.ceil(3.0 * max(box.width, box.height)))
            self._window = _Window(
                round(box.left + box.width / 2.0 - side / 2.0), round(box.top + box.height / 2.0 - side / 2.0), side
            )


def check_image(image: UInt8Array) -> None:
    """Raise `InputError` unless `image` is a non-empty (H, W, 3) uint8 image."""
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
        raise InputError(
            f"Expected an (H, W, 3) uint8 RGB image, got shape {image.shape} and dtype {image.dtype}; "
            "convert greyscale or RGBA images to RGB first."
        )


def _shrink(image: UInt8Array, scale: float) -> UInt8Array:
    if scale <= 1.0:
        return np.ascontiguousarray(image)
    height, width = image.shape[:2]
    return _resize(image, max(1, round(width / scale)), max(1, round(height / scale)))


def _resize(image: UInt8Array, width: int, height: int) -> UInt8Array:
    shrinks = image.shape[1] > width
    resized = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, np.uint8)


def _crop(image: UInt8Array, left: int, top: int, side: int) -> UInt8Array:
    """Square part of the image, (side, side, 3); pixels outside repeat the border."""
    height, width = image.shape[:2]
    rows = np.clip(np.arange(top, top + side), 0, height - 1)
    columns = np.clip(np.arange(left, left + side), 0, width - 1)
    inside = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    if inside.shape[:2] == (side, side):
        return np.ascontiguousarray(inside)
    before_y, before_x = max(0, min(-top, side - 1)), max(0, min(-left, side - 1))
    padded = cv2.copyMakeBorder(
        inside,
        before_y,
        side - before_y - inside.shape[0],
        before_x,
        side - before_x - inside.shape[1],
        cv2.BORDER_REPLICATE,
    )
    return np.asarray(padded, np.uint8)


def _tile_side(image: UInt8Array, grid: int) -> int:
    return 2 * int(max(image.shape[:2])) // (grid + 1)


def _tiles(image: UInt8Array, grid: int) -> Iterable[tuple[int, int, UInt8Array]]:
    """(left, top, tile) of a grid x grid cover by tiles that overlap by half."""
    height, width = image.shape[:2]
    tile_height, tile_width = (height * 2) // (grid + 1), (width * 2) // (grid + 1)
    for row in range(grid):
        for column in range(grid):
            top, left = row * tile_height // 2, column * tile_width // 2
            yield left, top, image[top : top + max(tile_height, 1), left : left + max(tile_width, 1)]


def _inside(box: Box, other: Box) -> bool:
    """Whether the centre of a box lies in another."""
    x, y = box.left + box.width / 2.0, box.top + box.height / 2.0
    return other.left < x < other.left + other.width and other.top < y < other.top + other.height


def _distinct(boxes: Sequence[Box]) -> list[Box]:
    """Non-maximum suppression: the largest of overlapping boxes, largest first."""
    kept: list[Box] = []
    for box in sorted(boxes, key=lambda candidate: candidate.side, reverse=True):
        if all(box.overlap(other) < SAME_FACE_IOU for other in kept):
            kept.append(box)
    return kept


def _largest_distinct(faces: Sequence[DetectedFace]) -> tuple[DetectedFace, ...]:
    kept: list[DetectedFace] = []
    for face in sorted(faces, key=lambda candidate: candidate.box.side, reverse=True):
        if all(face.box.overlap(other.box) < SAME_FACE_IOU for other in kept):
            kept.append(face)
    return tuple(kept)

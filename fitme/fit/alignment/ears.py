"""Ears in place: their height, size and angle from images that show them beside the head.

No landmark lies on an ear. What is seen of one beside the head of a person who looks to the camera is skin outside the
head's own outline: how high it begins and ends, and how far it stands off. The identity's coefficients that move ears
most and the face least bring the model's ears there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from fitme.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.geometry import Camera, HeadPose, image_points
from fitme.shape.landmark_groups import CHEEKS
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

FRONTAL_YAW_RAD = 0.3
"""Yaw up to which an ear is looked for beside the head."""
LEAST_SHARE = 0.5
"""Share of the frames that must show an ear."""
STEP_M = 0.001
"""Side of a cell of the plane through an ear that an image is resampled to."""
OUT_M, DOWN_M = (0.045, 0.125), (0.035, -0.085)
"""Distances from the middle of the head, and heights from top to bottom, of that plane."""
LEVELS = (0.25, 1.7)
"""Range of the brightness of ears over the cheeks'."""
LARGEST_HUE = 0.35
"""Largest difference of the logarithms of red over green and of green over blue from those of the cheeks."""
PERSON_FROM = 0.5
"""Probability from which a pixel shows the person."""
SILHOUETTE_M = 0.004
"""Half height of the rows over which the outline of the head is the widest vertex."""
OUTSIDE_M, THICKNESS_CELLS = 0.003, 5
"""Distance from that outline from which skin is an ear's, and how broad it is at least in cells: heads are fitted too
narrow by millimetres, which leaves a thin edge of skin along the jaw."""
LEAST_WIDTH_M, HEIGHTS_M, STANDS_OFF_M, LEAST_AREA_M2 = 0.002, (0.035, 0.085), (0.006, 0.04), 2e-4
"""Width from which a row belongs to an ear; ranges of its height and of how far it stands off; least area."""
LOWEST_M, HIGHEST_M = (-0.015, -0.01, -0.004), (0.006, 0.006, 0.019)
"""Bounds of the displacements of top, bottom and rim."""
FACE_WEIGHT, HEAD_WEIGHT, PRIOR_WEIGHT = 150.0, 1.0, 3e-4
"""Weights of the face's and of the head's vertices, which are to stay, over those of ears; of coefficients, metres."""
EAR_QUANTILE = 0.97
"""Quantile of the distances of the vertices of the model's ear from the middle of the head that counts as its rim."""
LEAST_SHOWN = 12
"""Vertices of the model's ear beside the head from which its height there is compared."""
OFFSET = 0.01
"""Linear colour added before logarithms."""


@dataclass(frozen=True)
class EarFrame:
    """An image of a head whose pose is known."""

    image: UInt8Array
    """(H, W, 3) sRGB."""
    person: Float32Array
    """(H, W) probability that a pixel shows the person."""
    landmarks: Float32Array
    """(478, 2) pixels."""
    vertices: Float32Array
    """(V, 3) the head with its expression, model frame."""
    pose: HeadPose
    camera: Camera

    def pixels(self, points: Float32Array) -> Float32Array:
        """Pixel coordinates (N, 2) of points (N, 3) of the model frame, metres."""
        return image_points(points, self.pose, self.camera)


@dataclass(frozen=True)
class EarPlace:
    """How an ear is to move: displacements of its top, of its bottom, both upwards, and of its rim outwards, metres."""

    top_m: float
    bottom_m: float
    rim_m: float

    def mean_with(self, other: "EarPlace") -> "EarPlace":
        """The mean of both."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return EarPlace(*(0.5 * (first + second) for first, second in pairs))


USUAL_PLACE = EarPlace(-0.007, -0.003, 0.007)
"""Place of ears that no image shows: those of the most probable head are higher and lie closer than people's, in the
median over photos of adults by 10, 4 and 13 mm; hidden ones are trusted less."""
CLOSEST_M = -0.015
"""Smallest displacement outwards of the rim of an ear that is hidden behind the person's outline."""
RIM_QUANTILE = 0.9
"""Quantile, over the rows of an ear, of how far the person's outline reaches, up to which a hidden ear reaches."""
INSIDE_M = 0.006
"""Distance by which the person's outline may lie inside that of the model's head, ears aside: further in, the mask is
wrong."""


class EarPlacement:
    """Ears of one model."""

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self._ear = model.vertex_mask(Region.EARS).numpy()
        self._sides = tuple(self._ear & (sign * model.mean.numpy()[:, 0] > 0.0) for sign in (1.0, -1.0))
        self._projection: Float64Array | None = None

    def measured(self, frames: Sequence[EarFrame]) -> tuple[EarPlace, EarPlace] | None:
        """Places of the left and the right ear in frames; None if they show neither. One that is not seen is the mirror
        image of the other."""
        found = [self._side_in(frames, side) for side in (0, 1)]
        left, right = found
        if left is None or right is None:
            one = left or right
            return None if one is None else (one, one)
        # Ears of one person are alike, and a single measurement is coarse.
        both = left.mean_with(right)
        return left.mean_with(both), right.mean_with(both)

    def hidden(self, frames: Sequence[EarFrame]) -> tuple[EarPlace, EarPlace]:
        """Places of the left and the right ear that frames do not show: the usual one, as far as the person's outline
        hides it."""
        reaches = [[reach for frame in frames if (reach := self._reach_in(frame, side)) is not None] for side in (0, 1)]
        left, right = (
            replace(USUAL_PLACE, rim_m=float(np.clip(np.median(reach), CLOSEST_M, USUAL_PLACE.rim_m)))
            if reach else USUAL_PLACE
            for reach in reaches
        )  # fmt: skip
        return left, right

    def _reach_in(self, frame: EarFrame, side: int) -> float | None:
        """Displacement outwards with which an ear would end at the person's outline in one frame; None where that
        goes on beyond all ears, where it is not the outline of this head, or where the head is turned."""
        if abs(frame.pose.yaw_pitch_roll()[0]) > FRONTAL_YAW_RAD:
            return None
        plane = _EarPlane.of(frame, self._sides[side], (1.0, -1.0)[side])
        places = _on_plane(frame, plane.depth_m)
        ear = places[self._sides[side]]
        low, high = float(ear[:, 1].min()) + USUAL_PLACE.bottom_m, float(ear[:, 1].max()) + USUAL_PLACE.top_m
        rows = (plane.heights > low) & (plane.heights < high)
        outside = plane.sampled(frame.person)[rows] <= PERSON_FROM
        if not rows.any() or not outside.any(1).all():
            return None
        head = _outline(plane.sign * places[~self._ear, 0], places[~self._ear, 1], plane.heights[rows])
        reach = float(np.quantile(plane.out[outside.argmax(1)], RIM_QUANTILE))
        if reach < float(np.quantile(head, RIM_QUANTILE)) - INSIDE_M:
            return None
        return reach - float(np.quantile(plane.sign * ear[:, 0], EAR_QUANTILE))

    def moved(self, identity: Float32Array, places: tuple[EarPlace, EarPlace]) -> Float32Array:
        """Identity (K,) whose ears have moved by `places`."""
        with torch.no_grad():
            neutral = self._model.neutral(torch.from_numpy(identity)[None])[0].double().numpy()
        wanted = np.zeros_like(neutral)
        for side, sign, place in zip(self._sides, (1.0, -1.0), places, strict=True):
            points = neutral[side]
            low, high = points[:, 1].min(), points[:, 1].max()
            share = (points[:, 1] - low) / (high - low)
            wanted[side, 1] = place.bottom_m + share * (place.top_m - place.bottom_m)
            wanted[side, 0] = sign * place.rim_m * _behind(points)
            wanted[side, 2] = (place.top_m - place.bottom_m) / (high - low) * (points[:, 2] - points[:, 2].max())
        change = self._solver() @ wanted[self._ear].ravel()
        return np.asarray(identity + change, np.float32)

    def _solver(self) -> Float64Array:
        """(K, 3 E) coefficients by displacements of the E vertices of ears: least squares, all else staying."""
        if self._projection is None:
            basis = self._model.identity_basis.double().numpy()  # (K, V, 3)
            count = int(self._ear.sum())
            weight = np.full(basis.shape[1], HEAD_WEIGHT * count / basis.shape[1])
            weight[self._model.face_vertices.numpy()] = FACE_WEIGHT * count / basis.shape[1]
            weight[self._ear] = 1.0
            flat = (basis * np.sqrt(weight)[None, :, None]).reshape(len(basis), -1)
            normal = flat @ flat.T + PRIOR_WEIGHT**2 * count * np.eye(len(basis))
            self._projection = np.linalg.solve(normal, basis[:, self._ear].reshape(len(basis), -1))
        return self._projection

    def _side_in(self, frames: Sequence[EarFrame], side: int) -> EarPlace | None:
        seen = [place for frame in frames if (place := self._in_frame(frame, side)) is not None]
        if not frames or len(seen) < LEAST_SHARE * len(frames):
            return None
        medians = np.median([list(vars(place).values()) for place in seen], axis=0)
        return EarPlace(*np.clip(medians, LOWEST_M, HIGHEST_M).tolist())

    def _in_frame(self, frame: EarFrame, side: int) -> EarPlace | None:
        """Place of an ear in one frame; None where it is hidden, or not to be told from what is behind it."""
        if abs(frame.pose.yaw_pitch_roll()[0]) > FRONTAL_YAW_RAD:
            return None
        sign = (1.0, -1.0)[side]
        own = frame.vertices[self._sides[side]]
        plane = _EarPlane.of(frame, self._sides[side], sign)
        out, heights = plane.out, plane.heights
        # All vertices on the same plane, as the camera sees them.
        places = _on_plane(frame, plane.depth_m)
        ear, head = places[self._sides[side]], places[~self._ear]
        outline = _outline(sign * head[:, 0], head[:, 1], heights)
        skin = _skin(frame, plane)
        mask = _largest(skin & (out[None] > outline[:, None] + OUTSIDE_M))
        widths = mask.sum(1) * STEP_M
        rows = np.flatnonzero(widths >= LEAST_WIDTH_M)
        if not len(rows) or mask[:, -1].any() or mask[0].any() or mask[-1].any():
            return None
        top, bottom = float(heights[rows[0]]), float(heights[rows[-1]])
        reach = np.array([out[np.flatnonzero(mask[row])[-1]] for row in rows])
        rim = float(np.quantile(reach, 0.9))
        stands_off = float(np.max(reach - outline[rows]))
        plausible = HEIGHTS_M[0] < top - bottom < HEIGHTS_M[1] and STANDS_OFF_M[0] < stands_off < STANDS_OFF_M[1]
        if not plausible or mask.sum() * STEP_M**2 < LEAST_AREA_M2:
            return None
        outwards = rim - float(np.quantile(sign * ear[:, 0], EAR_QUANTILE))
        # Of the model's ear, what would show beside the head if it stood off as far.
        moved = sign * ear[:, 0] + outwards * _behind(own)
        limit = np.interp(ear[:, 1], heights[::-1], outline[::-1]) + OUTSIDE_M + 0.5 * THICKNESS_CELLS * STEP_M
        shown = ear[moved > limit, 1] if (moved > limit).sum() >= LEAST_SHOWN else ear[:, 1]
        return EarPlace(top - float(shown.max()), bottom - float(shown.min()), outwards)


@dataclass(frozen=True, eq=False)
class _EarPlane:
    """Cells of the plane through an ear to which an image is resampled."""

    sign: float
    """1 for the left side, -1 for the right one."""
    depth_m: float
    """z of the model frame."""
    out: Float64Array
    """(C,) distances from the middle of the head, ascending."""
    heights: Float64Array
    """(R,) descending."""
    pixels: Float32Array
    """(R, C, 2)."""

    @classmethod
    def of(cls, frame: EarFrame, ear: BoolArray, sign: float) -> "_EarPlane":
        """Plane through the vertices `ear` (V,) of a frame's head."""
        depth = float(frame.vertices[ear, 2].mean())
        out, heights = np.arange(*OUT_M, STEP_M), np.arange(*DOWN_M, -STEP_M)
        grid = np.stack(np.meshgrid(sign * out, heights), -1).reshape(-1, 2)
        points = np.concatenate([grid, np.full((len(grid), 1), depth)], 1).astype(np.float32)
        return cls(sign, depth, out, heights, frame.pixels(points).reshape(len(heights), len(out), 2))

    def sampled(self, image: Float32Array | UInt8Array) -> Float32Array:
        """Values (R, C) or (R, C, 3) of an image of the frame's size."""
        x, y = (np.ascontiguousarray(self.pixels[..., axis] - np.float32(0.5)) for axis in (0, 1))
        return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR), np.float32)


def _behind(ear: Float64Array | Float32Array) -> Float64Array:
    """(E,) 0 at the front of an ear (E, 3), where it grows out of the head, to 1 at its back."""
    front, back = float(ear[:, 2].max()), float(ear[:, 2].min())
    return np.asarray((front - ear[:, 2]) / (front - back), np.float64)


def _on_plane(frame: EarFrame, depth_m: float) -> Float64Array:
    """(V, 2) x and y of the head's vertices as the camera sees them on the plane z = `depth_m` of the model frame."""
    corners = np.array([[x, y, depth_m] for x in (-0.1, 0.1) for y in (-0.1, 0.1)], np.float32)
    homography, _ = cv2.findHomography(frame.pixels(corners).astype(np.float64), corners[:, :2].astype(np.float64))
    pixels = frame.pixels(frame.vertices).astype(np.float64)
    return np.asarray(cv2.perspectiveTransform(pixels[None], homography)[0])


def _outline(out: Float64Array, height: Float64Array, rows: Float64Array) -> Float64Array:
    """(N,) how far the head reaches outwards at heights (N,), from its vertices' places (V,)."""
    near = np.abs(height[None] - rows[:, None]) < SILHOUETTE_M
    return np.asarray(np.where(near, out[None], -np.inf).max(1))


def _skin(frame: EarFrame, plane: _EarPlane) -> BoolArray:
    """(R, C) whether an image shows the person's skin in the cells of a plane."""
    scale = float(np.linalg.norm(plane.pixels[0, 1] - plane.pixels[0, 0]))
    blurred = cv2.GaussianBlur(frame.image, (0, 0), 0.5 * scale) if scale > 1.0 else frame.image
    image = np.asarray(blurred, np.uint8)
    color = bytes_to_linear(np.asarray(plane.sampled(image), np.uint8))
    person = plane.sampled(frame.person)
    at = np.clip(np.rint(frame.landmarks[list(CHEEKS)]).astype(int), 0, np.array(image.shape[1::-1]) - 1)
    cheek = np.median(bytes_to_linear(np.asarray(image[at[:, 1], at[:, 0]], np.uint8)), axis=0)
    logs = np.log((color + OFFSET) / (cheek + OFFSET))
    level = logs.mean(-1)
    hue = np.maximum(np.abs(logs[..., 0] - logs[..., 1]), np.abs(logs[..., 1] - logs[..., 2]))
    within = (level > np.log(LEVELS[0])) & (level < np.log(LEVELS[1])) & (hue < LARGEST_HUE)
    return np.asarray(within & (person > PERSON_FROM))


def _largest(mask: BoolArray) -> BoolArray:
    """The largest connected part of a mask, with its small holes filled and without thin edges."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (THICKNESS_CELLS, THICKNESS_CELLS))
    closed = cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, kernel)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax()))

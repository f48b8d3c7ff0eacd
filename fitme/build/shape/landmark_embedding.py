"""Embedding of MediaPipe's 478 landmarks on the mesh, by detecting them on renders of the mean head.

The head is rendered from several directions; where MediaPipe detects a landmark on a surface that faces the camera, the
pixel is back-projected onto the mesh. The geometric median of these places is made symmetric and moved to the nearest
triangle. Irises are placed on the eyeballs by their known size instead: the renders lack the detail of real eyes.
"""

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, Int64Array, UInt8Array
from fitme.shape.normals import vertex_normals
from fitme.shape.raster import Coverage, rasterize
from fitme.track.factory import landmark_backend
from fitme.track.landmarks import LandmarkBackend

LANDMARK_COUNT = 478
FIRST_IRIS_LANDMARK = 468
_IRIS_RADIUS_M = 0.0059
"""Half of the human iris's diameter, 11.7 mm with a standard deviation of 4 % over adults."""

_VIEWS_DEG = tuple((float(yaw), float(pitch)) for pitch in (-12, 0, 12) for yaw in range(-60, 61, 15))
_RESOLUTION = 720
_FOCAL_PX = 1900.0
_DISTANCE_M = 0.75
_MIN_FACING = 0.3
"""Cosine between normal and ray below which a back-projection does not count."""
_FACING_POWER = 2
"""Power of the cosine in a back-projection's weight: outlines slide along a surface at a grazing angle."""
_USUAL_YAW_RAD = 0.35
"""Standard deviation of head directions in front of a webcam: MediaPipe's landmarks shift a little with the direction,
and their places in usual images count most."""
_SIDE_AZIMUTH_SHARE = 0.85
_MEDIAN_ROUNDS, _MEDIAN_FLOOR_M = 20, 1e-3
_AIM_M = np.array([0.0, -0.02, 0.0])
_SKIN_COLOUR, _SCLERA_COLOUR, _IRIS_COLOUR = (0.78, 0.60, 0.52), (0.92, 0.91, 0.9), (0.16, 0.1, 0.06)
_LIGHT = np.array([0.0, 0.4, 0.9])


@dataclass(frozen=True)
class Embedding:
    """A triangle and barycentric weights per landmark."""

    triangle: Int64Array
    """(L,)"""
    barycentric: Float64Array
    """(L, 3)"""

    def points(self, vertices: Float64Array, triangles: Int64Array) -> Float64Array:
        """Landmarks (L, 3) on vertices (V, 3)."""
        return np.asarray((vertices[triangles[self.triangle]] * self.barycentric[..., None]).sum(1))


def embed_mediapipe(
    vertices: Float64Array,  # (V, 3) the mean head
    triangles: Int64Array,  # (F, 3)
    skin: BoolArray,  # (F,) triangles on which landmarks other than irises may lie
    eyeballs: tuple[Int64Array, Int64Array],  # vertices of the left and the right one
) -> Embedding:
    """Embedding of all 478 landmarks; ValueError where MediaPipe detects no face or misses a landmark."""
    normals = face_normals(vertices, triangles)
    colour = _paint(vertices, triangles, eyeballs)
    azimuth = _landmark_azimuth(vertices, triangles, colour)
    seen, weights = [], []
    for image, coverage, direction in _draw(vertices, triangles, colour, _VIEWS_DEG):
        pixels = _detect(image)
        if pixels is None:
            continue
        column, row = np.clip(pixels[:FIRST_IRIS_LANDMARK].astype(int), 0, _RESOLUTION - 1).T
        hit = coverage.triangle[row, column]
        facing = np.where(hit >= 0, normals[hit] @ direction, 0.0)
        towards = np.arctan2(direction[0], direction[2])
        weight = np.minimum(facing, np.cos(azimuth - towards))
        usual = np.exp(-0.5 * (towards / _USUAL_YAW_RAD) ** 2)
        seen.append(coverage.interpolate(vertices, triangles)[row, column])
        weights.append(np.where(weight > _MIN_FACING, usual * weight**_FACING_POWER, 0.0))
    places, weight = np.array(seen), np.array(weights)
    missed = np.flatnonzero(weight.sum(0) == 0.0)
    if len(missed):
        raise ValueError(f"MediaPipe's landmarks {missed.tolist()} were detected on no render of the mean head")
    places = symmetrise(_robust_mean(places, weight))
    allowed = np.flatnonzero(skin & (normals[:, 2] > -0.5))
    found = nearest_on_mesh(places, vertices, triangles, allowed)
    irises = [_embed_iris(vertices, triangles, ball) for ball in (eyeballs[1], eyeballs[0])]
    return Embedding(
        np.concatenate([found.triangle, *(i.triangle for i in irises)]),
        np.concatenate([found.barycentric, *(i.barycentric for i in irises)]),
    )


def _landmark_azimuth(vertices: Float64Array, triangles: Int64Array, colour: Float64Array) -> Float64Array:
    """Approximate azimuth (468,), radians from the front, + to the person's left, that each landmark faces, which
    determines the renders that show it. MediaPipe also guesses hidden ones, whose pixels show other parts of the
    head."""
    for image, _, _ in _draw(vertices, triangles, colour, ((0.0, 0.0),)):
        pixels = _detect(image)
        if pixels is not None:
            x = pixels[:FIRST_IRIS_LANDMARK, 0]
            middle, half = (x.max() + x.min()) / 2.0, (x.max() - x.min()) / 2.0
            return np.asarray(np.arcsin((x - middle) / half) * _SIDE_AZIMUTH_SHARE)
    raise ValueError("MediaPipe detects no face on the frontal render of the mean head")


def _robust_mean(points: Float64Array, weight: Float64Array) -> Float64Array:
    """Geometric median (L, 3) of points (N, L, 3) with weights (N, L), by Weiszfeld's iteration."""
    mean, current = np.zeros(points.shape[1:]), weight
    for _ in range(_MEDIAN_ROUNDS):
        mean = (points * current[..., None]).sum(0) / current.sum(0)[:, None]
        current = weight / (np.linalg.norm(points - mean, axis=-1) + _MEDIAN_FLOOR_M)
    return mean


def face_normals(vertices: Float64Array, triangles: Int64Array) -> Float64Array:
    """Unit normals (F, 3)."""
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15))


def symmetrise(points: Float64Array) -> Float64Array:
    """Points (N, 3) of a symmetric pattern, averaged with their mirror images (found as mutual nearest neighbours)."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    flipped = points * np.array([-1.0, 1.0, 1.0])
    _, partner = linear_sum_assignment(cdist(points, flipped, "sqeuclidean"))
    return np.asarray((points + flipped[partner]) / 2.0)


def nearest_on_mesh(
    points: Float64Array, vertices: Float64Array, triangles: Int64Array, allowed: Int64Array
) -> Embedding:
    """Nearest place on the allowed triangles for each point (N, 3), among the triangles of the 24 nearest centroids."""
    from scipy.spatial import cKDTree

    corners = vertices[triangles[allowed]]
    _, near = cKDTree(corners.mean(1)).query(points, k=24)
    barycentric = _closest_barycentric(points[:, None], corners[near])  # (N, 24, 3)
    place = (corners[near] * barycentric[..., None]).sum(2)
    best = np.argmin(((place - points[:, None]) ** 2).sum(-1), 1)
    rows = np.arange(len(points))
    return Embedding(allowed[near[rows, best]], barycentric[rows, best])


def _closest_barycentric(p: Float64Array, corners: Float64Array) -> Float64Array:
    """Barycentric weights (..., 3) of the point of triangles (..., 3, 3) that is nearest to p (..., 3)."""
    a, b, c = corners[..., 0, :], corners[..., 1, :], corners[..., 2, :]
    e0, e1, d = b - a, c - a, p - a
    d00, d01, d11 = (e0 * e0).sum(-1), (e0 * e1).sum(-1), (e1 * e1).sum(-1)
    d20, d21 = (d * e0).sum(-1), (d * e1).sum(-1)
    det = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v, w = (d11 * d20 - d01 * d21) / det, (d00 * d21 - d01 * d20) / det
    inside = (v >= 0) & (w >= 0) & (v + w <= 1)
    candidates = [np.stack([1 - v - w, v, w], -1)]
    zero = np.zeros_like(v)
    t = np.clip(d20 / np.maximum(d00, 1e-30), 0, 1)
    candidates.append(np.stack([1 - t, t, zero], -1))
    t = np.clip(d21 / np.maximum(d11, 1e-30), 0, 1)
    candidates.append(np.stack([1 - t, zero, t], -1))
    t = np.clip(((p - b) * (c - b)).sum(-1) / np.maximum(((c - b) ** 2).sum(-1), 1e-30), 0, 1)
    candidates.append(np.stack([zero, 1 - t, t], -1))
    distances = []
    for index, weights in enumerate(candidates):
        place = (corners * weights[..., None]).sum(-2)
        distance = ((place - p) ** 2).sum(-1)
        distances.append(np.where(inside, distance, np.inf) if index == 0 else distance)
    best = np.argmin(np.stack(distances), 0)
    stacked = np.stack(candidates)  # (4, ..., 3)
    return np.asarray(np.take_along_axis(stacked, best[None, ..., None], 0)[0])


def _paint(vertices: Float64Array, triangles: Int64Array, eyeballs: tuple[Int64Array, Int64Array]) -> Float64Array:
    """(V, 4): colour, and distance from the iris's axis where a vertex is on the front of an eyeball."""
    paint = np.concatenate([np.tile(_SKIN_COLOUR, (len(vertices), 1)), np.full((len(vertices), 1), 1.0)], 1)
    for ball in eyeballs:
        centre = vertices[ball].mean(0)
        paint[ball, :3] = _SCLERA_COLOUR
        paint[ball, 3] = np.hypot(*(vertices[ball] - centre)[:, :2].T)
        paint[ball[vertices[ball, 2] < centre[2]], 3] = 1.0
    return np.asarray(paint)


def _draw(
    vertices: Float64Array, triangles: Int64Array, paint: Float64Array, views_deg: Sequence[tuple[float, float]]
) -> Iterator[tuple[UInt8Array, Coverage, Float64Array]]:
    """Pictures of the head, what covers their pixels, and the direction (3,) from the head to the camera."""
    for yaw, pitch in views_deg:
        rotation = _rotation(yaw, pitch)
        seen = (vertices - _AIM_M) @ rotation.T
        depth = _DISTANCE_M - seen[:, 2]
        pixels = _RESOLUTION / 2.0 + _FOCAL_PX * seen[:, :2] / depth[:, None] * np.array([1.0, -1.0])
        coverage = rasterize(np.concatenate([pixels, 1.0 / depth[:, None]], 1), triangles, _RESOLUTION, _RESOLUTION)
        yield _shade(coverage, vertices, triangles, paint, rotation), coverage, rotation[2]


def _rotation(yaw_deg: float, pitch_deg: float) -> Float64Array:
    yaw, pitch = np.deg2rad(yaw_deg), np.deg2rad(pitch_deg)
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return np.asarray(about_x @ about_y)


def _shade(
    coverage: Coverage, vertices: Float64Array, triangles: Int64Array, paint: Float64Array, rotation: Float64Array
) -> UInt8Array:
    smooth = vertex_normals(torch.from_numpy(vertices)[None], torch.from_numpy(triangles))[0].numpy()
    normal = coverage.interpolate(smooth @ rotation.T, triangles)
    painted = coverage.interpolate(paint, triangles)
    colour = np.where(painted[..., 3:] < _IRIS_RADIUS_M, np.array(_IRIS_COLOUR), painted[..., :3])
    light = _LIGHT / np.linalg.norm(_LIGHT)
    shade = 0.35 + 0.65 * np.clip(normal @ light, 0.0, 1.0)
    image = np.where(coverage.triangle[..., None] >= 0, colour * shade[..., None], 0.45)
    return np.asarray(np.clip(image, 0.0, 1.0) * 255.0, np.uint8)


def _detect(image: UInt8Array) -> Float64Array | None:
    """MediaPipe's landmarks (478, 2) in pixels, None where it sees no face."""
    faces = _network().mesh(image)
    return faces[0].landmarks.astype(np.float64) if faces else None


@functools.cache
def _network() -> LandmarkBackend:
    return landmark_backend()


def _embed_iris(vertices: Float64Array, triangles: Int64Array, ball: Int64Array) -> Embedding:
    """Centre, then the rim at the image's right, top, left and bottom, on an eyeball that looks straight ahead."""
    centre = vertices[ball].mean(0)
    radius = float(np.linalg.norm(vertices[ball] - centre, axis=1).mean())
    depth = np.sqrt(radius**2 - _IRIS_RADIUS_M**2)
    rim = np.array([[0, 0, radius], [_IRIS_RADIUS_M, 0, depth], [0, _IRIS_RADIUS_M, depth],
                    [-_IRIS_RADIUS_M, 0, depth], [0, -_IRIS_RADIUS_M, depth]])  # fmt: skip
    mine = np.flatnonzero(np.isin(triangles, ball).all(1))
    return nearest_on_mesh(centre + rim, vertices, triangles, mine)

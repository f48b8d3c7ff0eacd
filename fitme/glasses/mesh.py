"""Meshes of glasses: rounded bars along the curves of a frame, and fans for tinted lenses."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fitme.arrays import Float32Array, Int32Array
from fitme.geometry import unit_vectors
from fitme.glasses.glasses import CURVES, RIM_POINTS, Curve, Glasses

SIDES = 8
"""Vertices round a bar."""
ROUNDNESS = 0.45
"""Share of the width that the rounded edges leave flat is 1 minus this."""
DEPTH_SHARE, LEAST_DEPTH_M = 0.8, 0.0007
"""Half the depth of a bar over half its width, and its lower bound."""
TEMPLE_HEIGHT = 1.2
"""Height of temples over the width of rims, at the same stored width."""


@dataclass(frozen=True)
class GlassesMesh:
    """Triangles of glasses, in the model frame."""

    vertices: Float32Array
    """(N, 3) metres."""
    normals: Float32Array
    """(N, 3) unit."""
    columns: Int32Array
    """(N,) point of the glasses whose colour a vertex has."""
    triangles: Int32Array
    """(F, 3) counter-clockwise from outside."""


def frame_mesh(glasses: Glasses) -> GlassesMesh:
    """The opaque frame."""
    corners = _section()
    vertices, normals = [], []
    for curve, points in zip(CURVES, _curve_points(), strict=True):
        middle = glasses.points[points]
        width = glasses.half_width_m[points, None] * np.float32(TEMPLE_HEIGHT if curve.upright else 1.0)
        across, deep = _axes(middle, curve)
        depth = np.maximum(DEPTH_SHARE * glasses.half_width_m[points, None], LEAST_DEPTH_M)
        offsets = (across * width)[:, None] * corners[:, 0, None] + (deep * depth)[:, None] * corners[:, 1, None]
        # Normals of the rounded section: the gradient of its implicit form is near enough to the scaled offset.
        outward = (across / width)[:, None] * corners[:, 0, None] + (deep / depth)[:, None] * corners[:, 1, None]
        vertices.append((middle[:, None] + offsets).reshape(-1, 3))
        normals.append(outward.reshape(-1, 3))
    stacked = unit_vectors(np.concatenate(normals))
    columns = np.repeat(np.concatenate(_curve_points()), SIDES).astype(np.int32)
    return GlassesMesh(
        np.concatenate(vertices).astype(np.float32), stacked.astype(np.float32), columns, _frame_triangles()
    )


def lens_mesh(glasses: Glasses) -> GlassesMesh:
    """Both lenses, flat within their rims. Their colour is not that of a point: `columns` are the rims'."""
    vertices, triangles, columns = [], [], []
    for side in (0, 1):
        rim = np.arange(side * RIM_POINTS, (side + 1) * RIM_POINTS)
        first = side * (RIM_POINTS + 1)
        vertices += [glasses.points[rim], glasses.points[rim].mean(0, keepdims=True)]
        columns += [rim, rim[:1]]
        around = np.arange(RIM_POINTS)
        fan = np.stack([around, np.roll(around, -1), np.full(RIM_POINTS, RIM_POINTS)], 1) + first
        triangles.append(fan if _counter_clockwise(glasses.points[rim]) else fan[:, ::-1])
    positions = np.concatenate(vertices).astype(np.float32)
    normals = np.tile(np.array([0.0, 0.0, 1.0], np.float32), (len(positions), 1))
    return GlassesMesh(
        positions, normals, np.concatenate(columns).astype(np.int32), np.concatenate(triangles).astype(np.int32)
    )


def _counter_clockwise(rim: Float32Array) -> bool:
    x, y = rim[:, 0], rim[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) > 0.0


def _section() -> Float32Array:
    """(S, 2) corners of a rounded square of half width 1, counter-clockwise."""
    flat = 1.0 - ROUNDNESS
    quarter = [(1.0, flat), (flat, 1.0)]
    corners = [(x, y) for x, y in quarter] + [(-y, x) for x, y in quarter]
    corners += [(-x, -y) for x, y in quarter] + [(y, -x) for x, y in quarter]
    return np.array(corners, np.float32)


def _axes(middle: Float32Array, curve: Curve) -> tuple[Float32Array, Float32Array]:
    """Unit vectors (N, 3) across a curve, along its width and along its depth."""
    if curve.closed:
        along = np.roll(middle[:-1], -1, 0) - np.roll(middle[:-1], 1, 0)
        along = np.concatenate([along, along[:1]])
    else:
        along = np.gradient(middle, axis=0)
    along = unit_vectors(along)
    facing = np.array([0.0, 1.0, 0.0] if curve.upright else [0.0, 0.0, 1.0], np.float32)
    first = unit_vectors(facing - along * (along @ facing)[:, None])
    other = np.cross(along, first)
    # Width, depth and direction are right-handed, so that all sections turn the same way.
    return (first, other) if curve.upright else (-other, first)


def _curve_points() -> list[Int32Array]:
    """Points of each curve in the order of its sections: a closed curve begins and ends with the same."""
    found = []
    for curve in CURVES:
        points = np.arange(curve.place.start, curve.place.stop, dtype=np.int32)
        found.append(np.append(points, points[:1]) if curve.closed else points)
    return found


@lru_cache(maxsize=1)
def _frame_triangles() -> Int32Array:
    triangles = []
    first = 0
    for curve, points in zip(CURVES, _curve_points(), strict=True):
        section = np.arange(SIDES)
        starts = first + SIDES * np.arange(len(points) - 1)[:, None]
        here, after = starts + section, starts + np.roll(section, -1)
        triangles.append(np.stack([here, after, here + SIDES], -1).reshape(-1, 3))
        triangles.append(np.stack([after, after + SIDES, here + SIDES], -1).reshape(-1, 3))
        if not curve.closed:
            last = first + SIDES * (len(points) - 1)
            fan = np.stack([np.zeros(SIDES - 2, int), np.arange(2, SIDES), np.arange(1, SIDES - 1)], 1)
            triangles += [first + fan, last + fan[:, ::-1]]
        first += SIDES * len(points)
    return np.asarray(np.concatenate(triangles), np.int32)

"""Hair envelope: the outer surface of the hair as one thickness per cell of a capsule round skull and neck.

A capsule is a cylinder round the neck, from the shoulders to the height of the skull's centre, with a dome over it.
From each of its cells one ray runs outwards; the skull's surface lies where the ray leaves the head's mesh, and the
hair ends `thickness` metres farther out. Rays never cross, so any thickness gives a surface without folds, and the
fit of an outline is a small least-squares problem (`fitme.hair.outline`).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from fitme.arrays import BoolArray, Float32Array, Float64Array, Int32Array, Int64Array
from fitme.render.cpu.kernel import kernel
from fitme.shape.landmark_groups import UPPER_BROWS
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

CYLINDER_ROWS, DOME_ROWS = 24, 25
"""Rows of cells below and above the centre of the skull, bottom first."""
COLUMNS = 96
"""Cells around: column 0 looks to the back (azimuth -pi), the middle one to the front."""
CENTER_M = (0.0, 0.038, -0.085)
"""Centre of the dome in the model frame, metres: inside the skull, above and behind the ears."""
SKULL_RADIUS_M = 0.09
"""Mean distance of the scalp from that centre."""
BOTTOM_M = -0.26
"""Height of the lowest row, metres: the shoulders."""
SKULL_REGIONS = (Region.SKIN, Region.SCALP, Region.NECK, Region.LIPS)
"""Parts of the mesh that hair lies on. Ears reach through it."""
SKULL_SMOOTHING_CELLS = 1.0
"""Standard deviation of the filter that lifts the skull's surface over its triangles' edges."""
FACE_COSINE = 0.4
"""Cosine to the front from which a cell that is not on the scalp lies before the face."""
BROW_CLEARANCE_M = 0.008
"""Height above the brows from which hair may fall on the forehead."""
CHEEK_COSINE, CHEEK_BOTTOM_M = 0.7, -0.06
"""Cosine to the front up to which hair may fall on temples and cheeks, and the height above which it may."""
SMALLEST_DETERMINANT = 1e-14
"""Of a ray and a triangle that it could hit, in square metres times metres."""


@dataclass(frozen=True)
class EnvelopeGrid:
    """Rays of the envelope over one person's skull, R rows of C columns. Model frame, metres."""

    origins: Float64Array
    """(R, C, 3) on the axis of the capsule."""
    directions: Float64Array
    """(R, C, 3) unit vectors."""
    skull_m: Float64Array
    """(R, C) distance from the origin to the skull's surface."""
    region: Int64Array
    """(R, C) the `Region` of that surface, -1 below the neck."""
    fringe: BoolArray
    """(R, C) where hair can fall on the face: forehead, temples and the sides of the cheeks."""

    @property
    def coverable(self) -> BoolArray:
        """(R, C) where hair can hide the head."""
        return np.asarray(self.hairy | self.fringe)

    @property
    def hairy(self) -> BoolArray:
        """(R, C) where hair can stand off the head: on the scalp, and behind the face at its sides."""
        return np.asarray((self.region == int(Region.SCALP)) | (self.directions[..., 2] < FACE_COSINE))

    def surface(self, thickness_m: Float64Array) -> Float64Array:
        """(R, C, 3) points `thickness_m` (R, C) above the skull."""
        return self.origins + (self.skull_m + thickness_m)[..., None] * self.directions

    def normals(self, surface: Float64Array) -> Float64Array:
        """(R, C, 3) outward unit normals of a surface (R, C, 3)."""
        along_row = np.roll(surface, -1, 1) - np.roll(surface, 1, 1)
        along_column = np.gradient(surface, axis=0)
        normals = np.cross(along_row, along_column)
        # At the crown all points of the row coincide.
        normals[-1] = self.directions[-1]
        return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12))


def envelope_grid(model: MorphableModel, vertices: Float32Array) -> EnvelopeGrid:
    """Grid over the skull of a neutral head (V, 3). Some 0.1 s on one core; the last heads' grids are kept."""
    return _grid_over(model, np.ascontiguousarray(vertices, np.float32).tobytes())


@lru_cache(maxsize=2)
def _grid_over(model: MorphableModel, vertex_bytes: bytes) -> EnvelopeGrid:
    """Grid over the skull of a neutral head whose vertices are given as the bytes of (V, 3) float32: every render of a
    head asks for the grid again."""
    vertices = np.frombuffer(vertex_bytes, np.float32).reshape(-1, 3)
    # Imported here: the first avatar, which has no hair yet, does not wait for SciPy.
    from scipy.ndimage import gaussian_filter

    origins, directions = capsule_rays()
    kept = np.isin(model.triangle_region.numpy(), [int(region) for region in SKULL_REGIONS])
    triangles = model.triangles.numpy()[kept].astype(np.int64)
    radius, hit = outermost_hits(
        origins.reshape(-1, 3), directions.reshape(-1, 3), vertices.astype(np.float64), triangles
    )
    regions = model.triangle_region.numpy()[kept].astype(np.int64)
    skull, region = radius.reshape(origins.shape[:2]), np.where(hit >= 0, regions[hit], -1).reshape(origins.shape[:2])
    # Below the mesh the neck goes on as it ends.
    for row in range(len(skull) - 2, -1, -1):
        missed = skull[row] == 0.0
        skull[row, missed] = skull[row + 1, missed]
    smooth = gaussian_filter(skull, SKULL_SMOOTHING_CELLS, mode=("nearest", "wrap"))
    skull = np.maximum(skull, smooth)
    skin = region == int(Region.SKIN)
    fringe = skin & may_fall(origins + skull[..., None] * directions, brow_height_m(model, vertices))
    return EnvelopeGrid(origins, directions, skull, region, fringe)


def brow_height_m(model: MorphableModel, vertices: Float32Array) -> float:
    """Height of the brows' upper edge on a neutral head (V, 3)."""
    landmarks = model.landmarks(torch.from_numpy(np.array(vertices, np.float32))[None])[0]
    return float(landmarks[list(UPPER_BROWS), 1].max())


def may_fall(points: Float64Array, brow_m: float) -> BoolArray:
    """Which points (..., 3) of a face, model frame, are those on which hair may fall."""
    outward = points - np.array(CENTER_M)
    cosine = outward[..., 2] / np.maximum(np.hypot(outward[..., 0], outward[..., 2]), 1e-9)
    sideways = (cosine < CHEEK_COSINE) & (points[..., 1] > CHEEK_BOTTOM_M)
    return np.asarray((points[..., 1] > brow_m + BROW_CLEARANCE_M) | sideways)


@lru_cache(maxsize=1)
def capsule_rays() -> tuple[Float64Array, Float64Array]:
    """Origins and directions (R, C, 3) of the capsule's rays."""
    azimuth = np.linspace(-np.pi, np.pi, COLUMNS, endpoint=False)
    height = np.linspace(BOTTOM_M, CENTER_M[1], CYLINDER_ROWS, endpoint=False)
    elevation = np.linspace(0.0, np.pi / 2.0, DOME_ROWS)
    origins = np.zeros((CYLINDER_ROWS + DOME_ROWS, COLUMNS, 3))
    origins[..., 2] = CENTER_M[2]
    origins[..., 1] = np.concatenate([height, np.full(DOME_ROWS, CENTER_M[1])])[:, None]
    upward = np.concatenate([np.zeros(CYLINDER_ROWS), elevation])[:, None]
    directions = np.stack(
        [
            np.cos(upward) * np.sin(azimuth),
            np.broadcast_to(np.sin(upward), (len(upward), COLUMNS)),
            np.cos(upward) * np.cos(azimuth),
        ],
        -1,
    )
    return origins, directions


@lru_cache(maxsize=1)
def envelope_triangles() -> Int32Array:
    """(F, 3) corners in a grid of R rows and C + 1 columns, whose last column repeats the first; facing outwards."""
    rows, columns = CYLINDER_ROWS + DOME_ROWS, COLUMNS + 1
    row, column = np.meshgrid(np.arange(rows - 1), np.arange(COLUMNS), indexing="ij")
    first = row * columns + column
    lower, upper = (first, first + 1), (first + columns, first + columns + 1)
    faces = [np.stack([lower[0], lower[1], upper[1]], -1), np.stack([lower[0], upper[1], upper[0]], -1)]
    return np.ascontiguousarray(np.concatenate([face.reshape(-1, 3) for face in faces]), np.int32)


@lru_cache(maxsize=1)
def envelope_uv() -> Float32Array:
    """(R (C + 1), 2) texture coordinates in [0, 1]: u around, v from the top row of the texture (the crown) down."""
    rows = CYLINDER_ROWS + DOME_ROWS
    u, v = np.meshgrid(np.arange(COLUMNS + 1) / COLUMNS, 1.0 - np.arange(rows) / (rows - 1))
    return np.asarray(np.stack([u, v], -1).reshape(-1, 2), np.float32)


def closed(cells: Float64Array) -> Float64Array:
    """(R, C + 1, ...) cells (R, C, ...) with the first column repeated at the end."""
    return np.asarray(np.concatenate([cells, cells[:, :1]], 1))


@kernel
def outermost_hits(
    origins: Float64Array, directions: Float64Array, vertices: Float64Array, triangles: Int64Array
) -> tuple[Float64Array, Int64Array]:
    """Distance (N,) and triangle (N,) of each ray's last intersection, 0 and -1 where there is none.

    After Möller and Trumbore, "Fast, Minimum Storage Ray/Triangle Intersection", 1997.
    """
    count = origins.shape[0]
    distance = np.zeros(count)
    hit = np.full(count, -1)
    for face in range(triangles.shape[0]):
        a, b, c = vertices[triangles[face, 0]], vertices[triangles[face, 1]], vertices[triangles[face, 2]]
        ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
        vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
        for ray in range(count):
            dx, dy, dz = directions[ray, 0], directions[ray, 1], directions[ray, 2]
            px, py, pz = dy * vz - dz * vy, dz * vx - dx * vz, dx * vy - dy * vx
            determinant = ux * px + uy * py + uz * pz
            if abs(determinant) < SMALLEST_DETERMINANT:
                continue
            sx, sy, sz = origins[ray, 0] - a[0], origins[ray, 1] - a[1], origins[ray, 2] - a[2]
            first = (sx * px + sy * py + sz * pz) / determinant
            if first < 0.0 or first > 1.0:
                continue
            qx, qy, qz = sy * uz - sz * uy, sz * ux - sx * uz, sx * uy - sy * ux
            second = (dx * qx + dy * qy + dz * qz) / determinant
            if second < 0.0 or first + second > 1.0:
                continue
            along = (vx * qx + vy * qy + vz * qz) / determinant
            if along > distance[ray]:
                distance[ray], hit[ray] = along, face
    return distance, hit

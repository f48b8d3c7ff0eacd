"""Lashes: MakeHuman's CC0 strips along the lids, with coverage painted hair by hair."""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float64Array, Int64Array, UInt8Array
from fitme.build.parts.asset import Asset, connected_parts

TEXTURE_PX = (64, 512)
"""Rows and columns: the upper half holds upper lashes, from root to tip, the lower half lower ones."""
UPPER_COUNT, LOWER_COUNT = 95, 60
"""Hairs of a lid, of which people have some 90 to 150 and 70 to 80."""
HAIR_PX = 1.6
"""Width at the root."""
NEIGHBOURS = 24
"""Vertices of the head to which one of the strips is bound."""
BALL_WEIGHT = 0.15
"""Readiness of the eyeball's centre to take part, over that of the nearest vertices of the lids."""


@dataclass(frozen=True, eq=False)
class LashStrip:
    """Strips of one eye."""

    vertices: Int64Array
    """(N,) vertices of the asset."""
    triangles: Int64Array
    """(F, 3) into `vertices`."""
    uv: Float64Array
    """(N, 2)."""


def lash_strips(asset: Asset, points: Float64Array, lids: Float64Array) -> dict[str, LashStrip]:
    """Strips by `leftLashes` and `rightLashes`.

    :param points: (M, 3) the asset's vertices on the template.
    :param lids: (N, 3) vertices of the head near the eyes, which the roots touch.
    """
    from scipy.spatial import cKDTree

    distance = cKDTree(lids).query(points)[0]
    part = connected_parts(len(points), asset.triangles)
    uv = np.zeros((len(points), 2))
    upper_of = {}
    for index in np.unique(part):
        mine = np.flatnonzero(part == index)
        side = points[mine, 0].mean() > 0.0
        upper_of[index] = points[mine, 1].mean()
        others = [points[part == o, 1].mean() for o in np.unique(part) if (points[part == o, 0].mean() > 0.0) == side]
        upper = points[mine, 1].mean() >= max(others)
        along = np.abs(points[mine, 0])
        across = distance[mine] / distance[mine].max()
        uv[mine, 0] = (along - along.min()) / np.ptp(along)
        uv[mine, 1] = 0.5 * across if upper else 0.5 + 0.5 * across
    strips = {}
    for name, chosen in (("leftLashes", points[:, 0] > 0.0), ("rightLashes", points[:, 0] < 0.0)):
        vertices, triangles = np.unique(asset.triangles[chosen[asset.triangles].all(1)], return_inverse=True)
        strips[name] = LashStrip(vertices, triangles.reshape(-1, 3), uv[vertices])
    return strips


def paint_lashes(seed: int = 0) -> UInt8Array:
    """Coverage (H, W) of single hairs: curved, tapering, in tufts."""
    scale, generator = 4, np.random.default_rng(seed)
    height, width = (scale * size for size in TEXTURE_PX)
    image = np.zeros((height, width), np.uint8)
    for first, count, longest in ((0, UPPER_COUNT, 1.0), (height // 2, LOWER_COUNT, 0.75)):
        for index in range(count):
            root = (index + generator.uniform(-0.35, 0.35)) / count
            # Hairs are longest at the outer third, shortest at the inner corner.
            length = longest * np.interp(root, [0.0, 0.25, 0.7, 1.0], [0.35, 0.75, 1.0, 0.7]) * generator.uniform(0.7, 1.0)
            lean = 0.03 * (root - 0.35) + generator.normal(0.0, 0.006)
            steps = np.linspace(0.0, 1.0, 12)
            x = width * (root + lean * steps**1.5)
            y = first + 0.5 * height * 0.97 * length * steps
            for step in range(len(steps) - 1):
                thickness = max(1, round(scale * HAIR_PX * (1.0 - 0.85 * steps[step])))
                ends = [(int(x[k]), int(y[k])) for k in (step, step + 1)]
                cv2.line(image, ends[0], ends[1], 255, thickness, cv2.LINE_AA)
    return np.asarray(cv2.resize(image, TEXTURE_PX[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def affine_weights(point: Float64Array, vertices: Float64Array, readiness: Float64Array) -> Float64Array:
    """Weights (N,) with sum 1 that give a point of vertices (N, 3): those of least norm, by readiness (N,)."""
    constraints = np.concatenate([vertices.T, np.ones((1, len(vertices)))])
    scaled = constraints * readiness
    target = np.append(point, 1.0)
    return np.asarray(readiness * (np.linalg.pinv(scaled, rcond=1e-6) @ target))

"""Lashes: MakeHuman's CC0 strips along the lids, with coverage painted hair by hair."""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float64Array, Int64Array, UInt8Array
from fitme.build.parts.asset import Asset, connected_parts

TEXTURE_PX = (64, 512)
"""Rows and columns: the upper half holds upper lashes, from root to tip, the lower half lower ones."""
UPPER_COUNT, LOWER_COUNT = 110, 60
"""Hairs of a lid, of which people have some 90 to 150 and 70 to 80."""
HAIR_PX = 1.25
"""Width at the root."""
NEIGHBOURS = 24
"""Vertices of the head to which one of the strips is bound."""
ROOT_ACROSS = 0.06
"""Texture coordinate across a strip up to which its vertices are roots."""
LENGTH = 0.62
"""Over the asset's lashes, which are made up."""
CURL = 0.45
"""Share of the asset's curl, away from the rays from the eye's centre."""


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
            root = (index + generator.uniform(-0.5, 0.5)) / count
            # Hairs are longest at the outer third, shortest at the inner corner.
            usual = np.interp(root, [0.0, 0.25, 0.7, 0.86, 0.9], [0.35, 0.75, 1.0, 0.8, 0.0])
            length = longest * usual * generator.uniform(0.45, 1.0)
            lean = 0.05 * (root - 0.35) + generator.normal(0.0, 0.014)
            steps = np.linspace(0.0, 1.0, 12)
            x = width * (root + lean * steps**1.5)
            y = first + 0.5 * height * 0.97 * length * steps
            for step in range(len(steps) - 1):
                thickness = max(1, int(np.rint(scale * HAIR_PX * (1.0 - 0.85 * steps[step]))))
                ends = [(int(x[k]), int(y[k])) for k in (step, step + 1)]
                cv2.line(image, ends[0], ends[1], (255,), thickness, cv2.LINE_AA)
    return np.asarray(cv2.resize(image, TEXTURE_PX[::-1], interpolation=cv2.INTER_AREA), np.uint8)


def lash_binding(
    points: Float64Array, strip: LashStrip, template: Float64Array, near: Int64Array, ball: Int64Array
) -> tuple[Float64Array, Float64Array]:
    """Matrix (N, V) and offsets (N, 3) that bind a strip: roots to the lids, tips to the rays from the eye's centre.

    Lids turn about the ball, so that lashes point upwards from an open eye and downwards from a closed one.

    :param points: (N, 3) the strip's vertices on the template (V, 3).
    :param near: vertices of the lids.
    :param ball: vertices of the eyeball, whose mean is its centre.
    """
    centre = template[ball].mean(0)
    matrix, offset = np.zeros((len(points), len(template))), np.zeros((len(points), 3))
    upper = strip.uv[:, 1] < 0.5
    across = np.where(upper, strip.uv[:, 1], strip.uv[:, 1] - 0.5)
    for row, point in enumerate(points):
        roots = np.flatnonzero((upper == upper[row]) & (across < ROOT_ACROSS))
        root = points[roots[np.argmin(np.abs(strip.uv[roots, 0] - strip.uv[row, 0]))]]
        order = near[np.argsort(np.linalg.norm(template[near] - root, axis=1))[:NEIGHBOURS]]
        distance = np.linalg.norm(template[order] - root, axis=1)
        weights = _affine_weights(root, template[order], distance.min() / np.maximum(distance, 1e-5))
        tip = root + LENGTH * (point - root)
        stretch = np.linalg.norm(tip - centre) / np.linalg.norm(root - centre)
        matrix[row, order] += stretch * weights
        matrix[row, ball] += (1.0 - stretch) / len(ball)
        offset[row] = CURL * (tip - centre - stretch * (root - centre))
    return matrix, offset


def _affine_weights(point: Float64Array, vertices: Float64Array, readiness: Float64Array) -> Float64Array:
    """Weights (N,) with sum 1 that give a point of vertices (N, 3): those of least norm, by readiness (N,)."""
    constraints = np.concatenate([vertices.T, np.ones((1, len(vertices)))])
    return np.asarray(readiness * (np.linalg.pinv(constraints * readiness, rcond=1e-6) @ np.append(point, 1.0)))

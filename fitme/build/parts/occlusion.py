"""Ambient occlusion of small parts at a resolution that shows the gaps between teeth.

As `fitme.render.occlusion.ambient_visibility`, but with shadow maps of the part's surroundings alone.
"""

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.render.cpu.rasterize import rasterize_rows
from fitme.render.occlusion import sphere_directions

DIRECTION_COUNT = 200
SHADOW_MAP_PX = 400
DEPTH_BIAS_M = 0.0006
"""Distance by which an occluder must be nearer to the light."""
DEPTH_RANGE_M = 0.3
"""Distance from the part's middle up to which the head may occlude it."""


def part_visibility(
    vertices: Float64Array, normals: Float64Array, scene: Float64Array, triangles: Int64Array
) -> Float64Array:
    """Cosine-weighted share (N,) of directions from which light reaches vertices (N, 3) in a scene (V, 3), (F, 3)."""
    middle = (vertices.min(0) + vertices.max(0)) / 2.0
    radius = float(np.linalg.norm(vertices - middle, axis=1).max())
    scale = np.array([1.0 / radius, 1.0 / radius, 1.0 / DEPTH_RANGE_M])
    faces = triangles.astype(np.int32)
    visible, total = np.zeros(len(vertices)), np.zeros(len(vertices))
    for direction in sphere_directions(DIRECTION_COUNT):
        helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
        across = np.cross(helper, direction)
        across /= np.linalg.norm(across)
        frame = np.stack([across, np.cross(direction, across), -direction])
        clip = np.ones((len(scene), 4))
        clip[:, :3] = (scene - middle) @ frame.T * scale
        rast = np.zeros((SHADOW_MAP_PX, SHADOW_MAP_PX, 4))
        rasterize_rows(clip, faces, rast, 0, SHADOW_MAP_PX)
        place = (vertices - middle) @ frame.T * scale
        column, row = (
            np.clip((place[:, axis] + 1.0) / 2.0 * SHADOW_MAP_PX, 0, SHADOW_MAP_PX - 1).astype(int) for axis in (0, 1)
        )
        nearest = np.where(rast[row, column, 3] > 0, rast[row, column, 2], 1.0)
        lit = place[:, 2] <= nearest + DEPTH_BIAS_M / DEPTH_RANGE_M
        cosine = np.maximum(normals @ direction, 0.0)
        visible += cosine * lit
        total += cosine
    return np.asarray(visible / np.maximum(total, 1e-9))

"""Vertices of a head that are visible from outside: a scan has no insides of lips, nostrils or eyelids."""

import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.geometry import Camera, rotation_matrix
from fitme.render.rasterizer import select_backend

_DISTANCE_M = 1.2
_SIDE_PX = 1000
_FOCAL_PX = 3500.0
_YAWS_DEG, _PITCHES_DEG = (-60.0, -25.0, 25.0, 60.0), (-20.0, 20.0)


def visible_vertices(vertices: Float64Array, triangles: Int64Array) -> BoolArray:
    """Mask (V,) of the vertices of triangles that are visible from any of eight directions in front of a head.

    :param vertices: (V, 3) metres, model frame.
    :param triangles: (F, 3) all triangles, occluders included.
    """
    backend = select_backend("cpu")
    camera = Camera.centered(_FOCAL_PX, _SIDE_PX, _SIDE_PX)
    faces = torch.from_numpy(triangles.astype(np.int32))
    points = torch.from_numpy(vertices)
    visible_triangles = np.zeros(len(triangles), bool)
    for yaw in _YAWS_DEG:
        for pitch in _PITCHES_DEG:
            angles = torch.tensor([[0.0, np.radians(yaw), 0.0], [np.radians(pitch), 0.0, 0.0]], dtype=torch.float64)
            turn, nod = rotation_matrix(angles)
            view = points @ (turn @ nod).T - torch.tensor([0.0, -0.02, _DISTANCE_M], dtype=torch.float64)
            raster = backend.rasterize(camera.clip(view)[None].float().contiguous(), faces, (_SIDE_PX, _SIDE_PX))
            index = raster[0, ..., 3].numpy().astype(np.int64).ravel()  # 0 is the background
            visible_triangles |= np.bincount(index, minlength=len(triangles) + 1)[1:] > 0
    visible = np.zeros(len(vertices), bool)
    visible[triangles[visible_triangles]] = True
    return visible


def surface_samples(
    vertices: Float64Array,  # (V, 3)
    normals: Float64Array,  # (V, 3)
    triangles: Int64Array,  # (F, 3)
    count: int,
    seed: int,
) -> tuple[Float64Array, Float64Array]:
    """Points (N, 3) spread evenly over a surface, metres, and their unit normals (N, 3)."""
    # Stratified by area over triangles, then uniform barycentrics within each.
    g = np.random.default_rng(seed)
    corners = vertices[triangles]  # (F, 3, 3)
    area = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    chosen = np.searchsorted(np.cumsum(area) / area.sum(), (np.arange(count) + g.random(count)) / count)
    chosen = np.minimum(chosen, len(triangles) - 1)
    root, share = np.sqrt(g.random(count)), g.random(count)
    weights = np.stack([1.0 - root, root * (1.0 - share), root * share], 1)[..., None]
    normal = (normals[triangles[chosen]] * weights).sum(1)
    return (corners[chosen] * weights).sum(1), np.asarray(normal / np.linalg.norm(normal, axis=1, keepdims=True))

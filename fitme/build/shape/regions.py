"""Region of each triangle, by the mesh's parts, distances on the template and the embedded landmarks."""

import numpy as np

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.build.shape.source_mesh import Part
from fitme.shape.landmark_groups import FACE_OVAL, OUTER_LIPS
from fitme.shape.regions import Region

_HAIRLINE_M = 0.072
"""Height of the middle of the hairline above the eyes."""
_SCALP_AZIMUTH_DEG = 104.0
_EAR_SHARE = 0.85
"""Share of a shift of the ears by which it moves a vertex of the ear at least."""
_NAPE_M = -0.075
_JAW_POINT_M, _JAW_SLOPE = (-0.122, 0.02), 0.5
"""The underside of the jaw: a plane through (height, depth) that rises towards the back by the slope."""
_LIPS_MARGIN_M = 0.0004
_HEAD_AXIS_DEPTH_M = -0.075
_OVAL_DEPTH_M = 0.01
"""Largest distance of a triangle of the face behind the hindmost landmark of the face oval."""


def soft_skin(part: Int64Array) -> BoolArray:
    """(F,) outer skin, on which landmarks may lie."""
    return np.isin(part, (Part.HEAD, Part.NECK))


def assign_regions(
    template: Float64Array,  # (V, 3)
    triangles: Int64Array,  # (F, 3)
    part: Int64Array,  # (F,)
    quad: Int64Array,  # (F,) triangles of one quad share a number, and thus a region
    ear_motion: Float64Array,  # (V,) metres by which a shift of the ears moves each vertex
    landmarks: Float64Array,  # (478, 3) on the same vertices
) -> Int64Array:
    """Values of `Region` (F,)."""
    middle = _quad_middles(template[triangles].mean(1), quad)
    azimuth = np.rad2deg(np.abs(np.arctan2(middle[:, 0], middle[:, 2] - _HEAD_AXIS_DEPTH_M)))
    region = np.full(len(triangles), int(Region.SKIN))
    head = np.isin(part, (Part.HEAD, Part.EYE_CAVITY))
    jaw = _JAW_POINT_M[0] + _JAW_SLOPE * (_JAW_POINT_M[1] - middle[:, 2])
    region[head & (middle[:, 1] < jaw)] = Region.NECK
    hairline = _HAIRLINE_M * np.cos(np.deg2rad(np.clip(azimuth - 35.0, 0.0, 55.0)) * 1.2)
    scalp = (middle[:, 1] > hairline) | (azimuth > _SCALP_AZIMUTH_DEG)
    region[(part == Part.HEAD) & scalp & (middle[:, 1] > _NAPE_M)] = Region.SCALP
    ear = _quad_middles(ear_motion[triangles].mean(1, keepdims=True), quad)[:, 0] > _EAR_SHARE * ear_motion.max()
    region[(part == Part.HEAD) & ear] = Region.EARS
    front = (part == Part.HEAD) & (middle[:, 2] > 0.0)
    outline = _grown(landmarks[list(OUTER_LIPS), :2], _LIPS_MARGIN_M)
    region[front & inside_polygon(middle[:, :2], outline)] = Region.LIPS
    region[part == Part.NECK] = Region.NECK
    region[np.isin(part, (Part.EYEBALL_LEFT, Part.EYEBALL_RIGHT))] = Region.EYES
    region[np.isin(part, (Part.MOUTH_CAVITY, Part.TONGUE))] = Region.MOUTH_INTERIOR
    region[np.isin(part, (Part.UPPER_TEETH, Part.LOWER_TEETH))] = Region.TEETH
    return region


def face_triangles(
    template: Float64Array, triangles: Int64Array, part: Int64Array, landmarks: Float64Array
) -> BoolArray:
    """(F,) skin and lips inside MediaPipe's face oval seen from the front."""
    middle = template[triangles].mean(1)
    oval = inside_polygon(middle[:, :2], landmarks[list(FACE_OVAL), :2])
    return np.asarray((part == Part.HEAD) & oval & (middle[:, 2] > landmarks[list(FACE_OVAL), 2].min() - _OVAL_DEPTH_M))


def _quad_middles(middle: Float64Array, quad: Int64Array) -> Float64Array:
    """(F, C) values of triangles, averaged over the triangles of the same quad."""
    total = np.zeros((quad.max() + 1, middle.shape[1]))
    np.add.at(total, quad, middle)
    return np.asarray(total[quad] / np.bincount(quad)[quad][:, None])


def _grown(polygon: Float64Array, margin: float) -> Float64Array:
    offset = polygon - polygon.mean(0)
    return np.asarray(polygon + margin * offset / np.linalg.norm(offset, axis=1, keepdims=True))


def inside_polygon(points: Float64Array, polygon: Float64Array) -> BoolArray:
    """Even-odd rule: (N,) whether points (N, 2) are inside a closed polygon (M, 2)."""
    inside = np.zeros(len(points), bool)
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        crosses = (a[1] > points[:, 1]) != (b[1] > points[:, 1])
        with np.errstate(divide="ignore", invalid="ignore"):
            at = a[0] + (points[:, 1] - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
        inside ^= crosses & (points[:, 0] < at)
    return inside

"""How far a fitted head is from a head whose truth is known: shape, pose, albedo, pictures."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fitme.arrays import Float64Array, Int64Array
from fitme.build.shape.landmark_embedding import nearest_on_mesh
from fitme.geometry import HeadPose, rotation_matrix

MILLIMETRES = 1000.0
_ALIGNMENT_ROUNDS = 15
_ALIGNMENT_POINTS = 1000
_TRIM_SHARE = 0.95
"""Share of the points, nearest first, that an alignment listens to."""
_ANCHOR_SHARE = 0.1
"""Weight of all landmarks over that of all surface points."""
_SMALLEST_ERROR = 1e-9
_ROTATION_UNIT_M = 0.1
"""Turns are counted by what they move at this distance, so that the unknowns of an alignment are of one size."""


@dataclass(frozen=True)
class Similarity:
    """y = scale * rotation x + translation."""

    scale: float
    rotation: Float64Array
    """(3, 3)."""
    translation: Float64Array
    """(3,)."""

    def apply(self, points: Float64Array) -> Float64Array:
        """Points (N, 3) moved."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)


@dataclass(frozen=True)
class ShapeScore:
    """Errors of a neutral head against a scan, after rigid alignment."""

    scan_mm: float
    """Mean distance from the scan's points to the surface, millimetres, at the true scale."""
    scan_free_mm: float
    """The same where the alignment may scale."""
    landmark_mm: float
    """Mean distance of iBUG's landmarks from the nose on, after the alignment at the true scale."""
    normal_deg: float
    """Mean angle between the scan's normals and the surface's nearest."""


@dataclass(frozen=True)
class AlbedoScore:
    """Errors of a linear diffuse albedo over skin."""

    error: float
    """Mean absolute difference of the channels."""
    bias: float
    """Mean of found minus true: negative where the skin came out too dark."""
    hue: float
    """Mean absolute difference once the found albedo is scaled to the true mean: what light's level did not do."""
    relative: float
    """`error` over the mean of the true albedo, as eyes judge it: dark skin has less albedo to err by."""


def similarity_of(source: Float64Array, target: Float64Array, *, free_scale: bool) -> Similarity:
    """Least-squares motion of points (N, 3) onto points (N, 3); Umeyama, IEEE PAMI 1991, eqs. 40 to 42."""
    a, b = source - source.mean(0), target - target.mean(0)
    u, singular, v = np.linalg.svd(b.T @ a)
    sign = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ v))])
    rotation = (u * sign) @ v
    scale = float((singular * sign).sum() / (a**2).sum()) if free_scale else 1.0
    return Similarity(scale, rotation, target.mean(0) - scale * rotation @ source.mean(0))


def align_to_mesh(
    points: Float64Array,  # (N, 3)
    vertices: Float64Array,  # (V, 3)
    triangles: Int64Array,  # (F, 3)
    allowed: Int64Array,  # indices of triangles that points may lie on
    anchors: tuple[Float64Array, Float64Array],  # (L, 3) landmarks in the points' frame and on the mesh
    *,
    free_scale: bool,
) -> Similarity:
    """Iterated closest points, point to plane (Chen and Medioni 1992), the farthest twentieth left out. It starts from
    the landmarks, and they go on counting for a tenth of the whole, so that a head of another size does not slide."""
    motion = similarity_of(*anchors, free_scale=free_scale)
    sample = points[:: max(1, len(points) // _ALIGNMENT_POINTS)]
    normals = _triangle_normals(vertices, triangles)
    for _ in range(_ALIGNMENT_ROUNDS):
        moved = motion.apply(sample)
        place = nearest_on_mesh(moved, vertices, triangles, allowed)
        offset = place.points(vertices, triangles) - moved
        distance = np.linalg.norm(offset, axis=1)
        near = distance <= np.quantile(distance, _TRIM_SHARE)
        normal = normals[place.triangle][near]
        landmarks = motion.apply(anchors[0])
        pull = np.sqrt(_ANCHOR_SHARE * near.sum() / len(landmarks))
        white = np.concatenate(
            [normal[:, :, None] * normal[:, None, :], np.broadcast_to(pull * np.eye(3), (len(landmarks), 3, 3))]
        )  # (n, 3, 3)
        held = np.concatenate([moved[near], landmarks])
        wanted = np.concatenate([offset[near], anchors[1] - landmarks])
        middle = held.mean(0)
        arm = (held - middle) / _ROTATION_UNIT_M
        turns = np.cross(np.eye(3)[None], arm[:, None]).transpose(0, 2, 1)  # (n, 3, 3) columns are axis x arm
        columns = [turns, np.broadcast_to(np.eye(3), turns.shape)]
        if free_scale:
            columns.append(arm[:, :, None])
        rows = (white @ np.concatenate(columns, 2)).reshape(3 * len(arm), -1)
        right = (white @ wanted[..., None]).ravel()
        solution = np.linalg.lstsq(rows, right, rcond=None)[0]
        turn = rotation_matrix(torch.from_numpy(solution[:3] / _ROTATION_UNIT_M)).numpy()
        growth = 1.0 + float(solution[6]) / _ROTATION_UNIT_M if free_scale else 1.0
        motion = Similarity(
            motion.scale * growth,
            turn @ motion.rotation,
            growth * turn @ (motion.translation - middle) + middle + solution[3:6],
        )
    return motion


def score_shape(
    scan: Float64Array,  # (N, 3) metres
    scan_normals: Float64Array,  # (N, 3)
    scan_landmarks: Float64Array,  # (L, 3)
    vertices: Float64Array,  # (V, 3) metres, the fitted neutral head
    vertex_normals: Float64Array,  # (V, 3)
    triangles: Int64Array,  # (F, 3)
    allowed: Int64Array,
    landmarks: Float64Array,  # (L, 3) on the fitted head
) -> tuple[ShapeScore, Similarity]:
    """Errors, and the motion from the scan's frame to the head's at the true scale."""
    anchors = (scan_landmarks, landmarks)
    rigid, free = (
        align_to_mesh(scan, vertices, triangles, allowed, anchors, free_scale=scale) for scale in (False, True)
    )
    moved = rigid.apply(scan)
    place = nearest_on_mesh(moved, vertices, triangles, allowed)
    distance = np.linalg.norm(place.points(vertices, triangles) - moved, axis=1)
    scaled = free.apply(scan)
    resting = nearest_on_mesh(scaled, vertices, triangles, allowed).points(vertices, triangles)
    normal = place.points(vertex_normals, triangles)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    cosine = (normal * (scan_normals @ rigid.rotation.T)).sum(1)
    landmark = np.linalg.norm(rigid.apply(scan_landmarks) - landmarks, axis=1)
    score = ShapeScore(
        MILLIMETRES * float(distance.mean()),
        MILLIMETRES * float(np.linalg.norm(resting - scaled, axis=1).mean()) / free.scale,
        MILLIMETRES * float(landmark.mean()),
        float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).mean()),
    )
    return score, rigid


def pose_error_deg(found: HeadPose, true: HeadPose, scan_to_head: Similarity) -> float:
    """Angle of the rotation between two poses of a head; `scan_to_head` takes the true head's frame to the found
    one's."""
    here = rotation_matrix(torch.from_numpy(found.rotation).double()).numpy() @ scan_to_head.rotation
    there = rotation_matrix(torch.from_numpy(true.rotation).double()).numpy()
    return float(np.degrees(np.arccos(np.clip((np.trace(here @ there.T) - 1.0) / 2.0, -1.0, 1.0))))


def score_albedo(
    found: npt.NDArray[np.floating[Any]],  # (N, 3) linear
    true: npt.NDArray[np.floating[Any]],  # (N, 3) linear
) -> AlbedoScore:
    """Errors over texels of skin."""
    found, true = found.astype(np.float64), true.astype(np.float64)
    level = true.mean() / max(float(found.mean()), _SMALLEST_ERROR)
    return AlbedoScore(
        error := float(np.abs(found - true).mean()),
        float((found - true).mean()),
        float(np.abs(level * found - true).mean()),
        error / max(float(true.mean()), _SMALLEST_ERROR),
    )


def _triangle_normals(vertices: Float64Array, triangles: Int64Array) -> Float64Array:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15))

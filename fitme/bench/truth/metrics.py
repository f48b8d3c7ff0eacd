"""Errors of a fitted head against ground truth: shape, pose, albedo."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fitme.arrays import Float64Array, Int64Array
from fitme.build.shape.landmark_embedding import nearest_on_mesh
from fitme.geometry import HeadPose, rotation_matrix
from fitme.skin.pigments import ita_of_albedo

MILLIMETRES = 1000.0
_ALIGNMENT_ROUNDS = 15
_ALIGNMENT_POINTS = 1000
_TRIM_SHARE = 0.95
"""Share of the points, nearest first, that an alignment uses."""
_LANDMARK_SHARE = 0.1
"""Weight of all landmarks over that of all surface points."""
_SMALLEST_ERROR = 1e-9
_ROTATION_UNIT_M = 0.1
"""Lever arm that scales rotations to displacements, so that all unknowns of an alignment have one magnitude."""


@dataclass(frozen=True)
class Similarity:
    """Similarity transform y = scale * rotation x + translation."""

    scale: float
    rotation: Float64Array
    """(3, 3) rotation matrix."""
    translation: Float64Array
    """(3,) metres."""

    def apply(self, points: Float64Array) -> Float64Array:
        """Transformed points (N, 3)."""
        return np.asarray(self.scale * points @ self.rotation.T + self.translation)


@dataclass(frozen=True)
class ShapeScore:
    """Errors of a neutral head against a scan, after rigid alignment."""

    scan_mm: float
    """Mean distance from the scan's points to the surface, millimetres, at the true scale."""
    scan_free_mm: float
    """Mean distance with the scale free in the alignment, in millimetres of the scan."""
    landmark_mm: float
    """Mean distance of iBUG landmarks 27 to 67, millimetres, after the alignment at the true scale."""
    normal_deg: float
    """Mean angle between the scan's normals and the surface's nearest."""


@dataclass(frozen=True)
class AlbedoScore:
    """Errors of a linear diffuse albedo over skin."""

    error: float
    """Mean absolute difference of the channels."""
    bias: float
    """Mean of fitted minus true: negative for skin that is too dark."""
    hue: float
    """Mean absolute difference after scaling the fitted albedo to the true mean: errors other than level."""
    relative: float
    """`error` over the mean of the true albedo, comparable between dark and light skin."""
    ita_deg: float
    """Absolute difference of the individual typology angles of both means."""


def similarity_of(source: Float64Array, target: Float64Array, *, free_scale: bool) -> Similarity:
    """Least-squares similarity of points (N, 3) onto points (N, 3); Umeyama, IEEE PAMI 1991, eqs. 40 to 42."""
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
    landmarks: tuple[Float64Array, Float64Array],  # (L, 3) landmarks in the points' frame and on the mesh
    *,
    free_scale: bool,
) -> Similarity:
    """Alignment by trimmed iterated closest points, point to plane (Chen and Medioni 1992).

    Landmarks initialise the motion and have a tenth of the total weight, so that a head of another size does not slide
    along the surface. The farthest twentieth of the points is left out.
    """
    motion = similarity_of(*landmarks, free_scale=free_scale)
    sample = points[:: max(1, len(points) // _ALIGNMENT_POINTS)]
    normals = _triangle_normals(vertices, triangles)
    for _ in range(_ALIGNMENT_ROUNDS):
        # Correspondences: nearest points on the mesh, without the farthest.
        moved = motion.apply(sample)
        place = nearest_on_mesh(moved, vertices, triangles, allowed)
        offset = place.points(vertices, triangles) - moved
        distance = np.linalg.norm(offset, axis=1)
        near = distance <= np.quantile(distance, _TRIM_SHARE)
        normal = normals[place.triangle][near]
        # Residuals: along the normal for points, in all three directions for landmarks.
        moved_landmarks = motion.apply(landmarks[0])
        weight = np.sqrt(_LANDMARK_SHARE * near.sum() / len(moved_landmarks))
        whitening = np.concatenate(
            [normal[:, :, None] * normal[:, None, :], np.broadcast_to(weight * np.eye(3), (len(moved_landmarks), 3, 3))]
        )  # (n, 3, 3)
        source = np.concatenate([moved[near], moved_landmarks])
        displacement = np.concatenate([offset[near], landmarks[1] - moved_landmarks])
        # Linearised rotation about the centre, translation and, if free, scale, by least squares.
        middle = source.mean(0)
        arm = (source - middle) / _ROTATION_UNIT_M
        turns = np.cross(np.eye(3)[None], arm[:, None]).transpose(0, 2, 1)  # (n, 3, 3) columns are axis x arm
        columns = [turns, np.broadcast_to(np.eye(3), turns.shape)]
        if free_scale:
            columns.append(arm[:, :, None])
        rows = (whitening @ np.concatenate(columns, 2)).reshape(3 * len(arm), -1)
        right = (whitening @ displacement[..., None]).ravel()
        solution = np.linalg.lstsq(rows, right, rcond=None)[0]
        # Compose the increment, about the centre, with the motion so far.
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
    """Shape errors, and the rigid motion from the scan's frame to the head's.

    :param allowed: indices of the triangles that scan points may lie on.
    """
    pairs = (scan_landmarks, landmarks)
    rigid, free = (
        align_to_mesh(scan, vertices, triangles, allowed, pairs, free_scale=scale) for scale in (False, True)
    )
    # Distances and normals at the true scale, from scan to surface.
    moved = rigid.apply(scan)
    place = nearest_on_mesh(moved, vertices, triangles, allowed)
    distance = np.linalg.norm(place.points(vertices, triangles) - moved, axis=1)
    # With free scale, distances are divided by it, back to the scan's millimetres.
    scaled = free.apply(scan)
    nearest = nearest_on_mesh(scaled, vertices, triangles, allowed).points(vertices, triangles)
    normal = place.points(vertex_normals, triangles)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    cosine = (normal * (scan_normals @ rigid.rotation.T)).sum(1)
    landmark = np.linalg.norm(rigid.apply(scan_landmarks) - landmarks, axis=1)
    score = ShapeScore(
        MILLIMETRES * float(distance.mean()),
        MILLIMETRES * float(np.linalg.norm(nearest - scaled, axis=1).mean()) / free.scale,
        MILLIMETRES * float(landmark.mean()),
        float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))).mean()),
    )
    return score, rigid


def pose_error_deg(found: HeadPose, true: HeadPose, scan_to_head: Similarity) -> float:
    """Angle of the rotation between two poses of a head.

    :param scan_to_head: motion from the true head's frame to the fitted head's.
    """
    fitted_matrix = rotation_matrix(torch.from_numpy(found.rotation).double()).numpy() @ scan_to_head.rotation
    true_matrix = rotation_matrix(torch.from_numpy(true.rotation).double()).numpy()
    return float(np.degrees(np.arccos(np.clip((np.trace(fitted_matrix @ true_matrix.T) - 1.0) / 2.0, -1.0, 1.0))))


def score_albedo(
    found: npt.NDArray[np.floating[Any]],  # (N, 3) linear
    true: npt.NDArray[np.floating[Any]],  # (N, 3) linear
) -> AlbedoScore:
    """Albedo errors over texels of skin."""
    found, true = found.astype(np.float64), true.astype(np.float64)
    level = true.mean() / max(float(found.mean()), _SMALLEST_ERROR)
    return AlbedoScore(
        error := float(np.abs(found - true).mean()),
        float((found - true).mean()),
        float(np.abs(level * found - true).mean()),
        error / max(float(true.mean()), _SMALLEST_ERROR),
        abs(float(ita_of_albedo(found.mean(0).astype(np.float32)) - ita_of_albedo(true.mean(0).astype(np.float32)))),
    )


def _triangle_normals(vertices: Float64Array, triangles: Int64Array) -> Float64Array:
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-15))

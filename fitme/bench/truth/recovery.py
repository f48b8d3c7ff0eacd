"""How much of a person's deviation from the mean face a fit recovers, by region of the face.

Distances to a scan are small on faces near the mean, whatever a fit does; this tells them from faces that were found.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.bench.truth.metrics import Similarity
from fitme.build.shape.landmark_embedding import nearest_on_mesh
from fitme.shape.face_regions import FaceRegion, masks_by_region

FEWEST_POINTS = 20
"""Points of a region below which it is not scored."""


@dataclass(frozen=True)
class Recovery:
    """Fitted over true deviations from the mean face, along its normals, over the points of a region."""

    correlation: float
    slope: float
    """Of the least-squares line: 1 for a fit that deviates as much as the person."""


def score_recovery(
    scan: Float64Array,  # (N, 3) metres
    scan_to_mean: Similarity,
    scan_to_fit: Similarity,
    mean: Float64Array,  # (V, 3) metres
    mean_normals: Float64Array,  # (V, 3)
    fitted: Float64Array,  # (V, 3) metres
    triangles: Int64Array,  # (F, 3)
    allowed: Int64Array,
    landmarks: Float64Array,  # (478, 3) on the mean face
) -> dict[FaceRegion, Recovery]:
    """Recovery by region; regions of fewer than `FEWEST_POINTS` points of the scan are left out.

    :param scan_to_mean: motion from the scan's frame to the mean face's.
    :param scan_to_fit: motion from the scan's frame to the fitted head's.
    :param allowed: indices of the triangles that scan points may lie on.
    """
    true_points = scan_to_mean.apply(scan)
    place = nearest_on_mesh(true_points, mean, triangles, allowed)
    origin = place.points(mean, triangles)
    normal = place.points(mean_normals, triangles)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    # Nearest points, not those of the same triangle: a surface may be right though it has slid along itself.
    moved = scan_to_mean.apply(_undone(scan_to_fit, fitted))
    fitted_points = nearest_on_mesh(true_points, moved, triangles, allowed).points(moved, triangles)
    true, found = (((points - origin) * normal).sum(1) for points in (true_points, fitted_points))

    return {
        region: _recovery(true[mask], found[mask])
        for region, mask in masks_by_region(origin, landmarks).items()
        if np.count_nonzero(mask) >= FEWEST_POINTS
    }


def _recovery(true: Float64Array, found: Float64Array) -> Recovery:
    covariance = np.cov(true, found)
    return Recovery(
        float(covariance[0, 1] / max(np.sqrt(covariance[0, 0] * covariance[1, 1]), np.finfo(float).tiny)),
        float(covariance[0, 1] / max(covariance[0, 0], np.finfo(float).tiny)),
    )


def _undone(motion: Similarity, points: Float64Array) -> Float64Array:
    """(N, 3) points before a motion."""
    return np.asarray((points - motion.translation) @ motion.rotation / motion.scale)

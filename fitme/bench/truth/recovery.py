"""How much of a person's deviation from the mean face a fit recovers, by region of the face.

Distances to a scan are small on faces near the mean, whatever a fit does; this tells them from faces that were found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.bench.truth.metrics import Similarity
from fitme.build.shape.landmark_embedding import nearest_on_mesh

FEWEST_POINTS = 20
"""Points of a region below which it is not scored."""


class FaceRegion(StrEnum):
    """Region of the face."""

    NOSE = "nose"
    MOUTH = "mouth"
    CHEEKS = "cheeks"
    FOREHEAD = "forehead"
    JAW = "jaw"


CENTERS: Mapping[FaceRegion, tuple[int, ...]] = {
    FaceRegion.NOSE: (1, 4, 5, 168),
    FaceRegion.MOUTH: (13, 14, 0, 17, 61, 291),
    FaceRegion.CHEEKS: (50, 280, 117, 346),
    FaceRegion.FOREHEAD: (10, 151, 67, 297),
    FaceRegion.JAW: (152, 175, 172, 397),
}
"""MediaPipe's landmarks of each region; a point belongs to the region of the nearest."""


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

    centers = [(region, landmarks[index]) for region, indices in CENTERS.items() for index in indices]
    distance = np.linalg.norm(origin[:, None] - np.stack([center for _, center in centers])[None], axis=-1)
    nearest = np.array([region for region, _ in centers])[distance.argmin(1)]
    return {
        region: _recovery(true[nearest == region], found[nearest == region])
        for region in FaceRegion
        if np.count_nonzero(nearest == region) >= FEWEST_POINTS
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

"""Fit of the hair envelope's thickness to the person's outline in several images.

Gauss-Newton on silhouettes: where the envelope is seen edge-on, its projection has to lie on the edge of the person's
mask; where it projects outside of the mask, it has to shrink. Both residuals are the signed distance to the mask's
edge, linear in the thickness of one cell. Between cells thickness is smooth, and where no outline constrains it, it
is drawn to a prior. The smoothness weight falls from round to round, so that the outline is fitted coarse to fine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.geometry import Camera
from fitme.hair.envelope import COLUMNS, CYLINDER_ROWS, DOME_ROWS, EnvelopeGrid
from fitme.hair.settings import OutlineSettings

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LARGEST_STEP_M = 0.03
"""Change of the thickness that one residual may ask for in one round."""
REFERENCE_SCALE_PX = 1000.0
"""Pixels per metre at which an outline has weight 1."""
FACE_WEIGHT = 30.0
"""Weight of the prior thickness before the face, where no hair stands off the head."""
LEAST_SLOPE = 0.3
"""Share of a cell's motion in the image that must run across the mask's edge for the edge to tell its thickness."""
BORDER_PX = 2.0
"""Distance from the image's border within which edges of the mask are those of the image."""


@dataclass(frozen=True)
class OutlineView:
    """The person's outline in one image."""

    distance_px: Float32Array
    """(H, W) signed distance to the mask's edge, > 0 inside the person."""
    slope: Float32Array
    """(H, W, 2) unit gradient of the distance, x and y; 0 where it has none."""
    rotation: Float64Array
    """(3, 3) model to OpenCV camera axes."""
    translation: Float64Array
    """(3,) metres."""
    camera: Camera
    """Of the mask's own size."""
    bottom_px: float
    """Rows below this one show shoulders as well, and are left out."""

    def project(self, points: Float64Array) -> tuple[Float64Array, Float64Array]:
        """Pixels (..., 2) and depths (...) of model-space points (..., 3)."""
        seen = points @ self.rotation.T + self.translation
        center = np.array([self.camera.center_x_px, self.camera.center_y_px])
        return seen[..., :2] / seen[..., 2:] * self.camera.focal_px + center, seen[..., 2]

    @property
    def eye(self) -> Float64Array:
        """(3,) position of the camera in the model frame."""
        return np.asarray(-self.rotation.T @ self.translation)


def outline_view(
    person: Float32Array, extrinsics: Float32Array, camera: Camera, bottom_px: float, settings: OutlineSettings
) -> OutlineView:
    """Outline of a person's mask (H, W) in [0, 1], seen by a camera with OpenCV extrinsics (4, 4)."""
    scale = min(settings.mask_side_px / max(person.shape), 1.0)
    small = cv2.resize(person, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1.0 else person
    inside = (small > 0.5).astype(np.uint8)
    outwards, inwards = (cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (1 - inside, inside))
    # Both distances count from the centres of pixels; the edge lies between two of them.
    distance = cv2.GaussianBlur(inwards - outwards - np.sign(inwards - outwards) * 0.5, (0, 0), 1.0)
    down, across = np.gradient(distance)
    length = np.hypot(across, down)
    slope = np.where(
        length[..., None] > LEAST_SLOPE, np.stack([across, down], -1) / np.maximum(length, 1e-6)[..., None], 0.0
    )
    height, width = small.shape
    reduced = Camera(camera.focal_px * scale, camera.center_x_px * scale, camera.center_y_px * scale, width, height)
    return OutlineView(
        distance.astype(np.float32), slope.astype(np.float32), extrinsics[:3, :3].astype(np.float64),
        extrinsics[:3, 3].astype(np.float64), reduced, bottom_px * scale,
    )  # fmt: skip


def fit_thickness(
    grid: EnvelopeGrid,
    views: Sequence[OutlineView],
    prior_m: Float64Array,
    settings: OutlineSettings,
    start_m: Float64Array | None = None,
) -> Float64Array:
    """Thickness (R, C) in metres whose silhouettes fit all outlines.

    :param prior_m: (R, C) where no outline constrains it.
    :param start_m: (R, C) of an earlier fit: only the last rounds are made from there.
    """
    # Imported here: the first avatar, which has no hair yet, does not wait for SciPy.
    import scipy.sparse
    from scipy.sparse.linalg import spsolve

    thickness = prior_m if start_m is None else start_m
    rounds = settings.smoothness if start_m is None else settings.smoothness[-2:]
    stiffness = _stiffness()
    for smoothness in rounds:
        weight = np.where(grid.hairy, settings.prior_weight, FACE_WEIGHT)
        weighted = weight * prior_m
        surface = grid.surface(thickness)
        normals = grid.normals(surface)
        for view in views:
            wanted, confidence = _residuals(grid, view, surface, normals, settings)
            confidence = confidence * grid.hairy
            weighted += confidence * (thickness + wanted)
            weight += confidence
        system = scipy.sparse.diags(weight.ravel()) + smoothness * stiffness
        solved = spsolve(system.tocsc(), weighted.ravel()).reshape(prior_m.shape)
        thickness = np.clip(solved, 0.0, settings.thickest_m)
        # All cells of the crown are one point.
        thickness[-1] = thickness[-1].mean()
    return np.asarray(thickness)


def _residuals(
    grid: EnvelopeGrid, view: OutlineView, surface: Float64Array, normals: Float64Array, settings: OutlineSettings
) -> tuple[Float64Array, Float64Array]:
    """Wanted change of the thickness (R, C) in metres and its weight (R, C), by one outline."""
    pixels, depth = view.project(surface)
    distance = _sampled(view.distance_px, pixels)
    slope = np.stack([_sampled(view.slope[..., axis], pixels) for axis in range(2)], -1)
    # Motion of the projection per metre of thickness: the derivative of the pinhole projection along the ray.
    seen = surface @ view.rotation.T + view.translation
    ray = grid.directions @ view.rotation.T
    motion = view.camera.focal_px * (ray[..., :2] - seen[..., :2] / seen[..., 2:] * ray[..., 2:]) / seen[..., 2:]
    across = (slope * motion).sum(-1)  # < 0: thicker hair leaves the mask
    towards = view.eye - surface
    cosine = (normals * towards).sum(-1) / np.linalg.norm(towards, axis=-1)
    rim = np.exp(-((cosine / settings.rim_cosine) ** 2))
    inside = (pixels > BORDER_PX).all(-1) & (pixels[..., 0] < view.camera.width - BORDER_PX)
    inside &= pixels[..., 1] < min(view.bottom_px, view.camera.height - BORDER_PX)
    told = inside & (across < -LEAST_SLOPE * np.linalg.norm(motion, axis=-1))
    scale = view.camera.focal_px / depth / REFERENCE_SCALE_PX
    weight = np.where(distance < 0.0, 1.0, rim) * told * scale**2
    wanted = np.clip(-distance / np.minimum(across, -1.0), -LARGEST_STEP_M, LARGEST_STEP_M)
    return wanted, weight


def _sampled(image: Float32Array, pixels: Float64Array) -> Float64Array:
    """Bilinear samples (...) of an image (H, W) at pixels (..., 2); 0 outside."""
    x, y = (pixels[..., axis].astype(np.float32) - 0.5 for axis in range(2))
    return np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT), np.float64)


@lru_cache(maxsize=1)
def _stiffness() -> "csr_matrix":
    """(RC, RC) sum of squared differences between neighbouring cells, closed around the head."""
    from scipy.sparse import csr_matrix

    rows = CYLINDER_ROWS + DOME_ROWS
    index = np.arange(rows * COLUMNS).reshape(rows, COLUMNS)
    pairs = [(index, np.roll(index, -1, 1)), (index[:-1], index[1:])]
    first, second = (np.concatenate([pair[side].ravel() for pair in pairs]) for side in range(2))
    count = np.arange(len(first))
    ones = np.ones(len(first))
    differences = csr_matrix(
        (np.concatenate([ones, -ones]), (np.concatenate([count, count]), np.concatenate([first, second]))),
        shape=(len(first), rows * COLUMNS),
    )
    return (differences.T @ differences).tocsr()

"""Fit of the hair envelope's thickness to the person's outline in several images.

Gauss-Newton on silhouettes: where the envelope is seen edge-on, its projection has to lie on the edge of the person's
mask; where it projects outside of the mask, it has to shrink. Both residuals are the signed distance to the mask's
edge, linear in the thickness of one cell. First a mean of hair styles is fitted (`fitme.hair.styles`),
then a smooth difference from that shape, whose smoothness weight falls from round to round: the outline is fitted
coarse to fine, and where no outline is seen, the styles' shape remains.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.geometry import Camera
from fitme.hair.envelope import BOTTOM_M, CENTER_M, COLUMNS, CYLINDER_ROWS, DOME_ROWS, SKULL_RADIUS_M, EnvelopeGrid
from fitme.hair.settings import OutlineSettings
from fitme.hair.styles import likely_thickness
from fitme.hair.texels import sampled

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

LARGEST_STEP_M = 0.03
"""Change of the thickness that one residual may ask for in one round."""
REFERENCE_SCALE_PX = 1000.0
"""Pixels per metre at which an outline has weight 1."""
FRINGE_M, HAIRLINE_SLOPE_M = 0.003, 0.006
"""Thickness of hair that lies on the face, and its rise from there, per cell."""
FACE_WEIGHT = 30.0
"""Weight of no thickness before the face, where no hair stands off the head."""
LEAST_SLOPE = 0.3
"""Share of a cell's motion in the image that must run across the mask's edge for the edge to tell its thickness."""
BORDER_PX = 2.0
"""Distance from the image's border within which edges of the mask are those of the image."""
BENDING = 4.0
"""Weight of the squared Laplacian over that of the squared gradient, in squared cells: the former goes on as a surface
bends, the latter alone would pull up tents."""
AROUND, FREE_ROUNDS = 12.0, 2
"""Stiffness round the head over that along its height, in all rounds but the last: an image shows the whole profile of
one side, and nothing of what lies before and behind it."""
LARGEST_ASPECT = 8.0
"""Bound of a cell's height over its width, which has none at the crown."""


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
    height, width = small.shape
    reduced = Camera(camera.focal_px * scale, camera.center_x_px * scale, camera.center_y_px * scale, width, height)
    rotation, translation = extrinsics[:3, :3].astype(np.float64), extrinsics[:3, 3].astype(np.float64)
    if inside.all() or not inside.any():
        # A mask without an edge has no distances to it, and no outline.
        return OutlineView(
            np.zeros((height, width), np.float32), np.zeros((height, width, 2), np.float32), rotation, translation,
            reduced, bottom_px * scale,
        )  # fmt: skip
    outwards, inwards = (cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (1 - inside, inside))
    # Both distances count from the centres of pixels; the edge lies between two of them.
    distance = cv2.GaussianBlur(inwards - outwards - np.sign(inwards - outwards) * 0.5, (0, 0), 1.0)
    down, across = np.gradient(distance)
    length = np.hypot(across, down)
    slope = np.where(
        length[..., None] > LEAST_SLOPE, np.stack([across, down], -1) / np.maximum(length, 1e-6)[..., None], 0.0
    )
    return OutlineView(
        distance.astype(np.float32), slope.astype(np.float32), rotation, translation, reduced, bottom_px * scale
    )


def fit_thickness(
    grid: EnvelopeGrid,
    views: Sequence[OutlineView],
    settings: OutlineSettings,
    start_m: Float64Array | None = None,
) -> Float64Array:
    """Thickness (R, C) in metres whose silhouettes fit all outlines.

    :param start_m: (R, C) of an earlier fit: only the last rounds are made from there.
    """
    # Imported here: the first avatar, which has no hair yet, does not wait for SciPy.
    import scipy.sparse
    from scipy.sparse.linalg import spsolve

    prior = thickness = _style_thickness(grid, views, settings) if start_m is None else start_m
    stiffness, count = _stiffness(AROUND), len(settings.smoothness)
    for number in range(0 if start_m is None else count - FREE_ROUNDS, count):
        if number == count - FREE_ROUNDS:
            # From here on what stands out at an outline alone, about the shape found so far.
            prior, stiffness = thickness, _stiffness(1.0)
        smoothness = settings.smoothness[number]
        wanted, confidence = _targets(grid, views, thickness, settings)
        # Differences from the prior shape are smooth, not the shape itself.
        weight = np.where(grid.hairy, settings.prior_weight, FACE_WEIGHT) + confidence
        system = scipy.sparse.diags(weight.ravel()) + smoothness * stiffness
        difference = spsolve(system.tocsc(), (wanted - confidence * prior).ravel()).reshape(prior.shape)
        thickness = np.clip(prior + difference, 0.0, settings.thickest_m)
        # All cells of the crown are one point.
        thickness[-1] = thickness[-1].mean()
    return np.asarray(thickness)


def _style_thickness(grid: EnvelopeGrid, views: Sequence[OutlineView], settings: OutlineSettings) -> Float64Array:
    """Thickness (R, C) of the mean of hair styles that fits the outlines.

    It has only a few unknowns: no surface is fitted along the lines of sight that graze it.
    """
    nowhere = np.zeros(grid.skull_m.shape)
    largest = _largest_thickness(grid)
    thickness = np.minimum(likely_thickness(nowhere, nowhere), largest)
    for _ in range(settings.style_rounds if views else 0):
        weighted, weight = _targets(grid, views, thickness, settings)
        likely = likely_thickness(weighted / np.maximum(weight, 1e-12), weight)
        thickness = np.minimum(likely, largest)
        thickness[-1] = thickness[-1].mean()
    return thickness


def _largest_thickness(grid: EnvelopeGrid) -> Float64Array:
    """(R, C) thickness up to which hair rises from the face's edge."""
    from scipy.ndimage import distance_transform_edt

    columns = grid.hairy.shape[1]
    wide = np.concatenate([grid.hairy] * 3, 1)
    distance = distance_transform_edt(wide)[:, columns : 2 * columns]
    return np.asarray(np.where(grid.coverable, FRINGE_M + HAIRLINE_SLOPE_M * distance, 0.0))


def _targets(
    grid: EnvelopeGrid, views: Sequence[OutlineView], thickness_m: Float64Array, settings: OutlineSettings
) -> tuple[Float64Array, Float64Array]:
    """Sum over all outlines of the thickness (R, C) that they ask for, times its weight, and of the weights (R, C)."""
    surface = grid.surface(thickness_m)
    normals = grid.normals(surface)
    weighted, weight = np.zeros(thickness_m.shape), np.zeros(thickness_m.shape)
    for view in views:
        wanted, confidence = _residuals(grid, view, surface, normals, settings)
        confidence = confidence * grid.hairy
        weighted += confidence * (thickness_m + wanted)
        weight += confidence
    return weighted, weight


def _residuals(
    grid: EnvelopeGrid, view: OutlineView, surface: Float64Array, normals: Float64Array, settings: OutlineSettings
) -> tuple[Float64Array, Float64Array]:
    """Wanted change of the thickness (R, C) in metres and its weight (R, C), by one outline."""
    pixels, depth = view.project(surface)
    distance, slope = sampled(view.distance_px, pixels).astype(np.float64), sampled(view.slope, pixels)
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
    scale = view.camera.focal_px / depth
    # Gauss-Newton: what hardly moves in the image as it grows, like the back of a head seen from its front, is hardly
    # known.
    sensitivity = np.minimum(-across / scale, 1.0)
    weight = np.where(distance < 0.0, 1.0, rim) * told * (sensitivity * scale / REFERENCE_SCALE_PX) ** 2
    wanted = np.clip(-distance / np.minimum(across, -1.0), -LARGEST_STEP_M, LARGEST_STEP_M)
    return wanted, weight


@lru_cache(maxsize=2)
def _stiffness(round_head: float) -> "csr_matrix":
    """(RC, RC) discrete energy of gradient and Laplacian of the thickness, closed around the head.

    :param round_head: stiffness against slopes round the head over that along its height.

    Differences between neighbours count by the shape of their cells, so that the energy is that of a surface and not
    of the grid, whose columns meet at the crown.
    """
    from scipy.sparse import csr_matrix, diags

    rows = CYLINDER_ROWS + DOME_ROWS
    aspect, area = _cell_shapes()
    index = np.arange(rows * COLUMNS).reshape(rows, COLUMNS)
    around = np.broadcast_to(aspect[:, None], index.shape)
    upward = np.broadcast_to((1.0 / aspect[:-1] + 1.0 / aspect[1:])[:, None] / 2.0, (rows - 1, COLUMNS))
    first = np.concatenate([index.ravel(), index[:-1].ravel()])
    second = np.concatenate([np.roll(index, -1, 1).ravel(), index[1:].ravel()])
    weights = np.concatenate([around.ravel(), upward.ravel()])
    count = np.arange(len(first))
    ones = np.ones(len(first))
    differences = csr_matrix(
        (np.concatenate([ones, -ones]), (np.concatenate([count, count]), np.concatenate([first, second]))),
        shape=(len(first), rows * COLUMNS),
    )
    membrane = differences.T @ diags(weights) @ differences
    plate = membrane @ diags(1.0 / np.repeat(area, COLUMNS)) @ membrane
    # Stiffer round the head against slopes alone: bending would go on past an outline, to a bulge behind it.
    stiffer = differences.T @ diags(weights * np.where(count < index.size, round_head, 1.0)) @ differences
    return (stiffer + BENDING * plate).tocsr()


def _cell_shapes() -> tuple[Float64Array, Float64Array]:
    """Height over width (R,) of the cells of each row on a skull of mean size, and their areas (R,) over that of a cell
    at the dome's foot."""
    elevation = np.linspace(0.0, np.pi / 2.0, DOME_ROWS)
    width = np.concatenate([np.ones(CYLINDER_ROWS), np.cos(elevation)]) * (2.0 * np.pi / COLUMNS) * SKULL_RADIUS_M
    step = (CENTER_M[1] - BOTTOM_M) / CYLINDER_ROWS
    height = np.concatenate([np.full(CYLINDER_ROWS, step), np.full(DOME_ROWS, elevation[1] * SKULL_RADIUS_M)])
    aspect = np.minimum(height / np.maximum(width, 1e-9), LARGEST_ASPECT)
    area = height**2 / aspect
    return aspect, np.asarray(area / area[CYLINDER_ROWS])

"""Dense correspondence between a render and its keyframe, by optical flow: targets for the joint solver.

A render of the current estimate is matched with the image; where forward and backward flow are consistent, a pixel of
the render becomes a target as precise as the flow, more precise than landmarks.
"""

from dataclasses import dataclass
from typing import Annotated

import cv2
import numpy as np
from msgspec import Meta

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.fit.alignment.face_crop import FaceCrop
from fitme.fit.solver.point_targets import MeshBasis, PointTargets
from fitme.geometry import Camera
from fitme.shape.regions import Region

FLOW_REGIONS = (Region.SKIN, Region.LIPS)
"""Surfaces on which optical flow is used: eyeballs turn, and teeth and hair lie off the mesh."""
LEAST_USABLE = 0.5
"""Smallest share of a pixel that must show the person's uncovered face."""
LEAST_CONTRAST = 4.0
"""Grey values added to the local standard deviation: flat patches are noise and are not amplified."""
MIDDLE_GREY, GREYS_PER_DEVIATION = 128.0, 48.0
"""Grey value of a normalised 0, and grey values per standard deviation, of the 8-bit input of the matcher."""


@dataclass(frozen=True)
class FlowSettings:
    """Matching, and criteria for its inliers. Lengths are in pixels of the crop."""

    stride_px: Annotated[int, Meta(ge=1)] = 4
    """Spacing of the targets."""
    consistency_px: Annotated[float, Meta(gt=0.0)] = 1.5
    """Largest distance between a pixel and itself after forward and backward flow."""
    longest_px: Annotated[float, Meta(gt=0.0)] = 12.0
    """Longer flow is taken for a mismatch."""
    sigma_px: Annotated[float, Meta(gt=0.0)] = 1.0
    """Standard deviation of a match's error."""
    correlation: Annotated[float, Meta(ge=1.0)] = 6.0
    """Number of neighbouring targets that share one error: each target's variance is multiplied by it."""
    contrast_sigma_px: Annotated[float, Meta(gt=0.0)] = 8.0
    """Neighbourhood over which brightness and contrast are normalised before matching."""
    border_px: Annotated[int, Meta(ge=0)] = 5
    """Margin along the silhouette, where the render ends and the image goes on, without targets."""
    smoothing_rounds: Annotated[int, Meta(ge=0)] = 5
    """Iterations of the variational refinement, which propagates flow from textured to flat areas."""


@dataclass(frozen=True)
class FlowField:
    """Dense correspondence of a render and an image, R pixels a side."""

    source: Float32Array
    """(R, R) the render, brightness and contrast normalised locally."""
    target: Float32Array
    """(R, R) the image, brightness and contrast normalised locally."""
    forward: Float32Array
    """(R, R, 2) displacement from render to image, pixels."""
    mismatch: Float32Array
    """(R, R) distance between a pixel and itself after forward and backward flow, pixels."""


def match(rendered: UInt8Array, image: UInt8Array, settings: FlowSettings) -> FlowField:
    """Dense inverse search (Kroeger et al., ECCV 2016) between a render and an image (R, R, 3), sRGB."""
    source, target = _normalise(rendered, settings), _normalise(image, settings)
    matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    matcher.setVariationalRefinementIterations(settings.smoothing_rounds)
    first, second, still = _quantised(source), _quantised(target), np.zeros((*source.shape, 2), np.float32)
    forward = np.asarray(matcher.calc(first, second, still.copy()), np.float32)
    backward = matcher.calc(second, first, still)
    rows, columns = np.mgrid[: source.shape[0], : source.shape[1]].astype(np.float32)
    moved_columns, moved_rows = columns + forward[..., 0], rows + forward[..., 1]
    returned = cv2.remap(backward, moved_columns, moved_rows, cv2.INTER_LINEAR) + forward
    return FlowField(source, target, forward, np.hypot(returned[..., 0], returned[..., 1]).astype(np.float32))


def interior(raster: Float32Array, settings: FlowSettings) -> BoolArray:
    """(R, R) mask of the pixels of a raster (R, R, 4) that the mesh covers, eroded by the border."""
    margin = np.ones((2 * settings.border_px + 1,) * 2, np.uint8)
    return np.asarray(cv2.erode((raster[..., 3] > 0).astype(np.uint8), margin, borderValue=(0.0,)) > 0)


def flow_targets(
    basis: MeshBasis,
    rendered: UInt8Array,  # (R, R, 3) sRGB
    raster: Float32Array,  # (R, R, 4) u, v, z/w, triangle + 1
    trusted_triangles: BoolArray,  # (F,)
    crop: FaceCrop,
    camera: Camera,
    settings: FlowSettings,
) -> PointTargets | None:
    """Targets of one keyframe in pixels of the whole image of `camera`; None where nothing matched.

    :param trusted_triangles: mask of the triangles whose points may be matched: skin, not eyeballs or mouth.
    """
    # Sample the flow on a grid, and keep what lies on matchable surface, is visible, consistent and short.
    field = match(rendered, crop.image, settings)
    side = rendered.shape[0]
    rows, columns = np.mgrid[: side : settings.stride_px, : side : settings.stride_px]
    rows, columns = rows.ravel(), columns.ravel()
    step = field.forward[rows, columns]
    moved = np.stack([columns, rows], -1).astype(np.float32) + step
    triangle = raster[..., 3].astype(np.int64) - 1
    inner = interior(raster, settings)
    visible = triangle[rows, columns]
    inliers = (
        inner[rows, columns]
        & trusted_triangles[visible]
        & (crop.usable[rows, columns] > LEAST_USABLE)
        & (field.mismatch[rows, columns] < settings.consistency_px)
        & (np.hypot(*step.T) < settings.longest_px)
    )
    if not inliers.any():
        return None
    # Each inlier is a point of the mesh, by the render's raster, and a place in the image, by the flow.
    rows, columns = rows[inliers], columns[inliers]
    u, v = raster[rows, columns, 0], raster[rows, columns, 1]
    points = basis.points(visible[inliers], np.stack([u, v, 1.0 - u - v], -1))
    scale = crop.size_px / side
    sigma = settings.sigma_px * np.sqrt(settings.correlation) * scale
    pixels = crop.to_image(moved[inliers].astype(np.float64) + 0.5)
    return PointTargets(points, pixels, np.full(len(rows), sigma), camera)


def _normalise(image: UInt8Array, settings: FlowSettings) -> Float32Array:
    """(R, R) grey image with local mean 0 and local standard deviation of about 1, which light hardly changes."""
    grey = np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.float32)
    centred = np.asarray(grey - cv2.GaussianBlur(grey, (0, 0), settings.contrast_sigma_px), np.float32)
    deviation = np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), settings.contrast_sigma_px)) + LEAST_CONTRAST
    return np.asarray(centred / deviation, np.float32)


def _quantised(image: Float32Array) -> UInt8Array:
    """A normalised image (R, R) in the 8 bits that the matcher takes."""
    return np.clip(MIDDLE_GREY + GREYS_PER_DEVIATION * image, 0.0, 255.0).astype(np.uint8)

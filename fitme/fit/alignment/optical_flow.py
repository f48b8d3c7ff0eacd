"""Dense correspondence between a render and its keyframe, by optical flow: targets for the joint solver.

A render of the current estimate is warped onto the picture; where the warp is consistent in both directions, each pixel
becomes a target as precise as the flow, which landmarks are not.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, UInt8Array
from fitme.fit.alignment.face_crop import FaceCrop
from fitme.fit.solver.point_targets import MeshBasis, PointTargets
from fitme.geometry import Camera
from fitme.shape.regions import Region

FLOW_REGIONS = (Region.SKIN, Region.LIPS)
"""What optical flow is believed on: eyeballs turn, teeth and hair are not where the mesh has them."""
LEAST_USABLE = 0.5
"""Usability of a pixel from which it is believed."""
LEAST_CONTRAST = 4.0
"""Grey values; what is flatter is not stretched further, since it is noise."""
MIDDLE_GREY, GREYS_PER_DEVIATION = 128.0, 48.0


@dataclass(frozen=True)
class FlowSettings:
    """Which matches are believed. Lengths are in pixels of the crop."""

    stride_px: int = 4
    """Spacing of the targets."""
    consistency_px: float = 1.5
    """Largest distance between a pixel and itself after forward and backward flow."""
    longest_px: float = 12.0
    """Longer flow is taken for a mismatch."""
    sigma_px: float = 1.0
    """Standard deviation of a match's error."""
    correlation: float = 6.0
    """How many neighbouring targets share one error: each target's variance is multiplied by it."""
    contrast_sigma_px: float = 8.0
    """Neighbourhood over which brightness and contrast are normalised before matching."""
    border_px: int = 5
    """Margin kept from the silhouette, where the render ends and the picture goes on."""
    smoothing_rounds: int = 5
    """Iterations of the variational refinement, which carries flow from where there is texture to where is none."""


@dataclass(frozen=True)
class FlowField:
    """Where each pixel of a render is found on the picture."""

    source: Float32Array
    """(R, R) the render, brightness and contrast normalised."""
    target: Float32Array
    """(R, R) the picture, likewise."""
    forward: Float32Array
    """(R, R, 2) pixels from render to picture."""
    mismatch: Float32Array
    """(R, R) distance between a pixel and itself after forward and backward flow, pixels."""


def match(rendered: UInt8Array, picture: UInt8Array, settings: FlowSettings) -> FlowField:
    """Dense inverse search (Kroeger et al., ECCV 2016) between a render and a picture (R, R, 3), sRGB."""
    source, target = _normalise(rendered, settings), _normalise(picture, settings)
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
    """(R, R) pixels of a raster (R, R, 4) that the mesh covers, without a margin along the silhouette."""
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
    """Targets of one keyframe in pixels of the whole picture, seen by `camera`; None where nothing matched.

    `trusted_triangles` are those whose points may be matched: skin, not eyeballs or mouth.
    """
    field = match(rendered, crop.image, settings)
    side = rendered.shape[0]
    rows, columns = np.mgrid[: side : settings.stride_px, : side : settings.stride_px]
    rows, columns = rows.ravel(), columns.ravel()
    step = field.forward[rows, columns]
    moved = np.stack([columns, rows], -1).astype(np.float32) + step
    triangle = raster[..., 3].astype(np.int64) - 1
    inner = interior(raster, settings)
    visible = triangle[rows, columns]
    believed = (
        inner[rows, columns]
        & trusted_triangles[visible]
        & (crop.usable[rows, columns] > LEAST_USABLE)
        & (field.mismatch[rows, columns] < settings.consistency_px)
        & (np.hypot(*step.T) < settings.longest_px)
    )
    if not believed.any():
        return None
    rows, columns = rows[believed], columns[believed]
    u, v = raster[rows, columns, 0], raster[rows, columns, 1]
    points = basis.points(visible[believed], np.stack([u, v, 1.0 - u - v], -1))
    scale = crop.size_px / side
    sigma = settings.sigma_px * np.sqrt(settings.correlation) * scale
    pixels = crop.to_picture(moved[believed].astype(np.float64) + 0.5)
    return PointTargets(points, pixels, np.full(len(rows), sigma), camera)


def _normalise(image: UInt8Array, settings: FlowSettings) -> Float32Array:
    """(R, R) grey picture whose local mean is 0 and whose local contrast is about 1, so that light does not matter."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    centred = grey - cv2.GaussianBlur(grey, (0, 0), settings.contrast_sigma_px)
    deviation = np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), settings.contrast_sigma_px)) + LEAST_CONTRAST
    return np.asarray(centred / deviation, np.float32)


def _quantised(image: Float32Array) -> UInt8Array:
    """What the matcher takes: a normalised picture in 8 bits."""
    return np.clip(MIDDLE_GREY + GREYS_PER_DEVIATION * image, 0.0, 255.0).astype(np.uint8)

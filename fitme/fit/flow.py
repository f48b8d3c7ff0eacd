"""Dense correspondence between a render and its keyframe, by optical flow: targets for the joint solver.

A render of the current estimate is warped onto the picture; where the warp is consistent in both directions, each pixel
becomes a target as precise as the flow, which landmarks are not.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fitme.fit.crop import FaceCrop
from fitme.fit.gauss_newton import MeshBasis, PointTargets
from fitme.geometry import Camera

Picture = npt.NDArray[np.uint8]
FloatArray = npt.NDArray[np.float32]


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


def flow_targets(
    basis: MeshBasis,
    rendered: Picture,  # (R, R, 3) sRGB
    raster: FloatArray,  # (R, R, 4) u, v, z/w, triangle + 1
    trusted_triangles: npt.NDArray[np.bool_],  # (F,)
    crop: FaceCrop,
    camera: Camera,
    settings: FlowSettings,
) -> PointTargets | None:
    """Targets of one keyframe in pixels of the whole picture, seen by `camera`; None where nothing matched.

    `trusted_triangles` are those whose points may be matched: skin, not eyeballs or mouth.
    """
    source, target = _normalise(rendered, settings), _normalise(crop.image, settings)
    matcher = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    forward = matcher.calc(source, target, np.zeros((*source.shape, 2), np.float32))
    backward = matcher.calc(target, source, np.zeros((*source.shape, 2), np.float32))
    side = source.shape[0]
    rows, columns = np.mgrid[: side : settings.stride_px, : side : settings.stride_px]
    rows, columns = rows.ravel(), columns.ravel()
    moved = np.stack([columns, rows], -1).astype(np.float32) + forward[rows, columns]
    returned = moved + cv2.remap(backward, moved[None, :, 0], moved[None, :, 1], cv2.INTER_LINEAR)[0]
    mismatch = np.hypot(returned[:, 0] - columns, returned[:, 1] - rows)
    triangle = raster[..., 3].astype(np.int64) - 1
    margin = np.ones((2 * settings.border_px + 1,) * 2, np.uint8)
    inner = cv2.erode((triangle >= 0).astype(np.uint8), margin, borderValue=(0.0,)) > 0
    visible = triangle[rows, columns]
    believed = (
        inner[rows, columns]
        & trusted_triangles[visible]
        & (crop.usable[rows, columns] > 0.5)
        & (mismatch < settings.consistency_px)
        & (np.hypot(*forward[rows, columns].T) < settings.longest_px)
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


def _normalise(image: Picture, settings: FlowSettings) -> Picture:
    """(R, R) grey picture whose local mean and contrast are constant, so that light does not matter."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = cv2.GaussianBlur(grey, (0, 0), settings.contrast_sigma_px)
    centred = grey - mean
    deviation = np.sqrt(cv2.GaussianBlur(centred**2, (0, 0), settings.contrast_sigma_px)) + 4.0
    return np.clip(128.0 + 48.0 * centred / deviation, 0.0, 255.0).astype(np.uint8)

"""Silhouette residuals are linear in thickness, and the fit recovers a sphere of hair."""

import numpy as np

from fitme.geometry import Camera
from fitme.hair.envelope import EnvelopeGrid
from fitme.hair.outline import fit_thickness, outline_view
from fitme.hair.settings import OutlineSettings

CAMERA = Camera.centered(600.0, 360, 360)
BOTTOM_PX = 200
"""Row of the chin."""


def mask_of(grid: EnvelopeGrid, thickness: np.ndarray, extrinsics: np.ndarray) -> np.ndarray:
    """Silhouette of an envelope, by filling the convex hull of its projected points."""
    import cv2

    seen = grid.surface(thickness).reshape(-1, 3) @ extrinsics[:3, :3].T + extrinsics[:3, 3]
    pixels = seen[:, :2] / seen[:, 2:] * CAMERA.focal_px + 180.0
    mask = np.zeros((360, 360), np.uint8)
    cv2.fillConvexPoly(mask, cv2.convexHull(np.rint(pixels - 0.5).astype(np.int32)), (1.0,))
    return mask.astype(np.float32)


def looking(yaw_deg: float) -> np.ndarray:
    """OpenCV extrinsics of a camera 0.9 m before a head that is turned."""
    c, s = np.cos(np.radians(yaw_deg)), np.sin(np.radians(yaw_deg))
    extrinsics = np.eye(4)
    extrinsics[:3, :3] = np.diag([1.0, -1.0, -1.0]) @ np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    extrinsics[:3, 3] = (0.0, 0.0, 0.9)
    return extrinsics.astype(np.float32)


def test_thickness_is_found_from_silhouettes(grid: EnvelopeGrid) -> None:
    settings = OutlineSettings()
    truth, expected = np.where(grid.hairy, 0.025, 0.0), np.where(grid.hairy, 0.01, 0.0)
    views = [
        outline_view(mask_of(grid, truth, looking(yaw)), looking(yaw), CAMERA, BOTTOM_PX, settings)
        for yaw in (-60, -30, 0, 30, 60)
    ]
    found = fit_thickness(grid, views, expected, settings)
    view = looking(15)
    wanted = mask_of(grid, truth, view)[:BOTTOM_PX]
    before, after = (
        1.0 - _overlap(mask_of(grid, thickness, view)[:BOTTOM_PX], wanted) for thickness in (expected, found)
    )
    assert after < 0.5 * before


def test_without_images_the_prior_stands(grid: EnvelopeGrid) -> None:
    prior = np.full(grid.skull_m.shape, 0.012)
    np.testing.assert_allclose(fit_thickness(grid, [], prior, OutlineSettings()), prior, atol=1e-6)


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum())

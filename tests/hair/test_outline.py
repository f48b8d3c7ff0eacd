"""Silhouette residuals are linear in thickness, and the fit recovers a sphere of hair."""

import warnings

import numpy as np
import pytest

from fitme.geometry import Camera
from fitme.hair.envelope import EnvelopeGrid
from fitme.hair.outline import fit_thickness, outline_view
from fitme.hair.settings import OutlineSettings
from fitme.hair.styles import hair_styles, likely_coverage, likely_thickness
from fitme.shape.regions import Region

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
    truth = np.where(grid.hairy, 0.025, 0.0)
    views = [
        outline_view(mask_of(grid, truth, looking(yaw)), looking(yaw), CAMERA, BOTTOM_PX, settings)
        for yaw in (-60, -30, 0, 30, 60)
    ]
    expected, found = fit_thickness(grid, [], settings), fit_thickness(grid, views, settings)
    view = looking(15)
    wanted = mask_of(grid, truth, view)[:BOTTOM_PX]
    before, after = (
        1.0 - _overlap(mask_of(grid, thickness, view)[:BOTTOM_PX], wanted) for thickness in (expected, found)
    )
    assert after < 0.5 * before


def test_what_stands_out_at_the_sides_goes_on_behind_them(grid: EnvelopeGrid) -> None:
    """Locks beside the ears, of which a frontal image shows the outline alone, are no sheets."""
    settings = OutlineSettings()
    height = grid.origins[..., 1]
    lock = np.exp(-(((height + 0.02) / 0.03) ** 2)) * (np.arange(len(height)) < 24)[:, None]
    truth = np.where(grid.hairy, 0.015 + 0.05 * lock, 0.0)
    plain = np.where(grid.hairy, 0.015, 0.0)
    view, flat = (
        fit_thickness(grid, [outline_view(drawn(grid, shape), looking(0), CAMERA, BOTTOM_PX + 60, settings)], settings)
        for shape in (truth, plain)
    )
    rise = (view - flat)[np.argmin(np.abs(height[:, 0] + 0.02))]  # round the head
    behind = rise[len(rise) // 8]  # half way between the back and the side
    assert rise.max() > 0.03
    assert behind > 0.33 * rise.max()


def drawn(grid: EnvelopeGrid, thickness: np.ndarray) -> np.ndarray:
    """Silhouette of an envelope, cell by cell."""
    import cv2

    view = looking(0)
    seen = grid.surface(thickness) @ view[:3, :3].T + view[:3, 3]
    pixels = np.rint(seen[..., :2] / seen[..., 2:] * CAMERA.focal_px + 179.5).astype(np.int32)
    mask, after = np.zeros((360, 360), np.uint8), np.roll(pixels, -1, 1)
    for quad in np.stack([pixels[:-1], after[:-1], after[1:], pixels[1:]], 2).reshape(-1, 4, 2):
        cv2.fillConvexPoly(mask, quad, (1.0,))
    return mask.astype(np.float32)


def test_without_images_hair_has_the_shape_of_the_styles(grid: EnvelopeGrid) -> None:
    found = fit_thickness(grid, [], OutlineSettings())
    styles = hair_styles().thickness_m
    inside = grid.hairy & (np.arange(len(styles[0]))[:, None] > 34)
    np.testing.assert_allclose(found[inside], styles.mean(0)[inside], atol=0.003)
    assert float(found[~grid.coverable].max()) == 0.0


@pytest.mark.parametrize("person", [0.0, 1.0])
def test_a_mask_without_an_edge_has_no_outline(grid: EnvelopeGrid, person: float) -> None:
    settings = OutlineSettings()
    mask = np.full((360, 360), person, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_thickness(grid, [outline_view(mask, looking(0), CAMERA, BOTTOM_PX, settings)], settings)
    np.testing.assert_allclose(found, fit_thickness(grid, [], settings), atol=1e-6)


def test_a_style_is_found_again(grid: EnvelopeGrid) -> None:
    """The thickness of a style that stands off more than it does is nearest to that style among all."""
    styles = hair_styles()
    truth = styles.thickness_m[0] + np.where(styles.coverage[0] > 0.5, 0.01, 0.0)
    weight = (grid.hairy & (styles.coverage[0] > 0.5)).astype(float)
    weight[:, ::2] = 0.0
    found = likely_thickness(truth, weight)
    seen = weight > 0.0
    assert float(np.abs(found - truth)[seen].mean()) < 0.004


def test_hair_that_was_not_seen_below_the_ears_does_not_hang_down(grid: EnvelopeGrid) -> None:
    beside = grid.hairy & (grid.region == int(Region.NECK))
    front = beside & (grid.directions[..., 2] > 0.0)
    back = beside & (grid.directions[..., 2] < -0.8)
    weight = front.astype(np.float32)
    short, long = (
        likely_coverage(np.full(front.shape, shown, np.float32), weight)[back].mean() for shown in (0.0, 1.0)
    )
    assert short < 0.25
    assert long > 0.6


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    return float(((a > 0.5) & (b > 0.5)).sum() / ((a > 0.5) | (b > 0.5)).sum())

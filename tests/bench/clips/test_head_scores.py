"""Scores of whole heads, and the envelope baseline."""

import numpy as np
import pytest

from fitme.bench.clips.envelope_baseline import STEPS_M, BaselineView, envelope_thickness
from fitme.bench.clips.fitting import head_rows
from fitme.geometry import Camera
from fitme.hair.envelope import envelope_grid
from fitme.hair.outline import outline_view
from fitme.hair.settings import OutlineSettings
from fitme.metrics.head_scores import HeadScore, HeldOutFrame, head_mask, median_head_score, score_head
from fitme.shape.model_file import load_default_model

OVAL = np.array([[30.0, 30.0], [70.0, 30.0], [50.0, 80.0]], np.float32)


def frame() -> HeldOutFrame:
    """A grey head of 40 x 70 pixels above the chin, shoulders below it, and somebody else at the side."""
    person = np.zeros((120, 120), np.float32)
    person[10:80, 30:70] = 1.0
    person[80:, 5:95] = 1.0
    person[20:60, 100:115] = 1.0
    head, chin_px = head_mask(person, OVAL)
    return HeldOutFrame("001", np.full((120, 120, 3), 128, np.uint8), head, chin_px)


def test_the_head_ends_at_the_chin_and_is_one_person() -> None:
    head = frame().head
    assert head[10:80, 30:70].all()
    assert head.sum() == 70 * 40


def test_a_perfect_render_and_one_without_hair() -> None:
    shown = frame()
    whole = np.where(shown.head, 255, 0).astype(np.uint8)
    whole[80:] = 255
    assert score_head(shown, shown.image, whole).overlap == 1.0
    assert score_head(shown, shown.image, whole).psnr_db > 100.0
    bald = whole.copy()
    bald[:45] = 0
    score = score_head(shown, shown.image, bald)
    assert score.overlap == pytest.approx(0.5)
    # Half of the head counts as black: a mean squared error of half of 128 squared.
    assert score.psnr_db == pytest.approx(20.0 * np.log10(255.0 / 128.0) + 10.0 * np.log10(2.0), abs=0.01)


def test_medians_and_rows() -> None:
    median = median_head_score([HeadScore(0.9, 20.0), HeadScore(0.8, 30.0), HeadScore(0.7, 10.0)])
    assert (median.overlap, median.psnr_db) == (0.8, 20.0)
    with pytest.raises(ValueError, match="no heads"):
        median_head_score([])
    rows = {row.name: row for row in head_rows("clip", HeadScore(0.95, 23.0), HeadScore(0.9, 20.5))}
    assert rows["clip: head, PSNR above the envelope baseline's"].value == pytest.approx(2.5)


def test_the_envelope_reaches_where_the_mask_ends() -> None:
    model = load_default_model()
    grid = envelope_grid(model, model.mean.numpy())
    extrinsics = np.diag([1.0, -1.0, -1.0, 1.0]).astype(np.float32)
    extrinsics[2, 3] = 0.9
    camera = Camera.centered(400.0, 240, 240)
    # A disc as large as a skull with some 30 mm of hair, seen from the front.
    rows, columns = np.mgrid[:240, :240] + 0.5
    radius_px, center_px = 0.12 / 0.985 * 400.0, 120.0 - 0.038 / 0.985 * 400.0
    person = (np.hypot(rows - center_px, columns - 120.0) < radius_px).astype(np.float32)
    outline = outline_view(person, extrinsics, camera, 160.0, OutlineSettings())
    view = BaselineView(np.zeros((240, 240, 3), np.uint8), person, outline)
    thickness = envelope_thickness(grid, [view])
    side = grid.region.shape[1] // 4
    sideways = thickness[26:34, side]
    radius = grid.skull_m[26:34, side] + sideways
    np.testing.assert_allclose(radius, 0.12, atol=0.012)
    assert float(thickness.max()) <= STEPS_M[-1]

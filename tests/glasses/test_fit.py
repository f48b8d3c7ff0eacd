"""Glasses that are drawn into images are found where they are, with their width and colour; bare faces have none."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial import cKDTree

from fitme.arrays import Float32Array
from fitme.glasses.covered_pixels import MARGIN_M, covered_pixels
from fitme.glasses.fit import fit_glasses
from fitme.glasses.glasses import CURVES, Glasses
from fitme.glasses.settings import GlassesSettings
from fitme.glasses.sheet import GlassesFrame
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region
from tests.glasses.conftest import BLACK, DrawnGlasses, strokes

Wearing = Callable[[DrawnGlasses], list[GlassesFrame]]


def test_a_bare_face_has_none(model: MorphableModel, neutral: Float32Array, bare: Sequence[GlassesFrame]) -> None:
    assert fit_glasses(model, neutral, bare, GlassesSettings()) is None
    assert fit_glasses(model, neutral, bare[:1], GlassesSettings()) is None


def test_one_rim_is_no_glasses(
    model: MorphableModel, neutral: Float32Array, bare: Sequence[GlassesFrame], wearing: Wearing
) -> None:
    """A patch over an eye, or a hand's edge, is not to be taken for glasses."""
    half = bare[0].image.copy()
    half[:, : half.shape[1] // 2] = wearing(BLACK)[0].image[:, : half.shape[1] // 2]
    assert fit_glasses(model, neutral, [replace(bare[0], image=half)], GlassesSettings()) is None


@pytest.mark.parametrize(
    "drawn",
    [
        BLACK,
        DrawnGlasses((0.62, 0.6, 0.58)),
        DrawnGlasses((0.4, 0.25, 0.03), width_m=0.0016),
        DrawnGlasses((0.15, 0.01, 0.01)),
    ],
    ids=["black", "light", "gold", "red"],
)
def test_rims_are_where_they_were_drawn(
    model: MorphableModel, neutral: Float32Array, depth_m: float, wearing: Wearing, drawn: DrawnGlasses
) -> None:
    frames = wearing(drawn)
    found = fit_glasses(model, neutral, frames, GlassesSettings())
    assert found is not None
    for curve, side in zip(CURVES[:2], (1.0, -1.0), strict=True):
        shown = frames[0].pixels(found.points[curve.place])
        expected = frames[0].pixels(drawn.rim(side, depth_m + drawn.before_corneas_m).astype(np.float32))
        distance_m = cKDTree(expected).query(shown)[0] * 0.6 / frames[0].camera.focal_px
        assert np.median(distance_m) < 0.0006
        assert np.quantile(distance_m, 0.9) < 0.0015
    assert np.median(2.0 * found.half_width_m[:120]) == pytest.approx(drawn.width_m, abs=0.0011)  # 1.6 pixels
    # All that reached the camera was the albedo times the light of 0.8.
    albedo = np.array(drawn.color) / 0.8
    np.testing.assert_allclose(np.median(found.albedo[:120], 0), albedo, atol=0.05)
    assert found.lens_opacity[0] == 0.0


def test_turned_heads_show_the_depth(model: MorphableModel, neutral: Float32Array, wearing: Wearing) -> None:
    near = fit_glasses(model, neutral, wearing(BLACK), GlassesSettings())
    far = fit_glasses(model, neutral, wearing(replace(BLACK, before_corneas_m=0.021)), GlassesSettings())
    assert near is not None and far is not None
    assert far.points[:120, 2].mean() - near.points[:120, 2].mean() == pytest.approx(0.009, abs=0.004)


def test_tinted_lenses(model: MorphableModel, neutral: Float32Array, wearing: Wearing) -> None:
    found = fit_glasses(model, neutral, wearing(replace(BLACK, lens=0.12)), GlassesSettings())
    assert found is not None
    assert found.lens_opacity[0] == pytest.approx(0.88, abs=0.08)


def test_temples_lead_to_the_ears_beside_the_head(
    glasses: Glasses, model: MorphableModel, neutral: Float32Array
) -> None:
    for curve, sign in zip(CURVES[3:], (1.0, -1.0), strict=True):
        line = glasses.points[curve.place]
        ear = neutral[model.vertex_mask(Region.EARS).numpy() & (sign * neutral[:, 0] > 0.0)]
        assert line[0, 2] > 0.015, "temples begin at the rim"
        assert np.linalg.norm(ear - line[-3], axis=1).min() < 0.012, "and rest on the ear"
        assert (sign * line[:, 0] > 0.04).all()
        assert line[:-2, 2] == pytest.approx(np.sort(line[:-2, 2])[::-1])


def test_what_they_cover_is_left_out(
    glasses: Glasses, wearing: Wearing, depth_m: float, bare: Sequence[GlassesFrame]
) -> None:
    for frame in wearing(BLACK)[:3]:
        covered = covered_pixels(glasses, frame)
        drawn, _ = strokes(frame, BLACK, depth_m)
        assert covered[drawn > 0.5].mean() > 0.98
        # No more than the frame, its temples and a margin are lost.
        assert covered.sum() < 3.5 * (1.0 + 2.0 * MARGIN_M / BLACK.width_m) * drawn.sum()
    tinted = replace(glasses, lens_opacity=np.array([0.9], np.float32))
    assert covered_pixels(tinted, bare[0]).sum() > 1.5 * covered_pixels(glasses, bare[0]).sum()

"""Hair is found from images of it, and bald heads stay bald."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.hair.envelope import EnvelopeGrid
from fitme.hair.fit import fit_hair
from fitme.hair.hair import Hair
from fitme.hair.settings import HairSettings
from fitme.hair.texels import at_texels
from fitme.hair.texture import HairTexture
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

from .conftest import CAMERA, HAIR, SKIN, Photograph, Scene, pose_of


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two masks in [0, 255]."""
    return float(((a > 127) & (b > 127)).sum() / ((a > 127) | (b > 127)).sum())


def test_a_view_between_the_keyframes_has_its_outline_and_colour(
    model: MorphableModel,
    backend: RasterizerBackend,
    neutral: Float32Array,
    scenes: Sequence[Scene],
    hair: Hair,
    photograph: Photograph,
) -> None:
    fitted = fit_hair(model, neutral, [scene.frame for scene in scenes], backend, HairSettings())
    for pose in (pose_of(18), pose_of(-18), pose_of(48)):
        truth, found, bald = photograph(hair, pose), photograph(fitted, pose), photograph(None, pose)
        reached, without = overlap(found.mask, truth.mask), overlap(bald.mask, truth.mask)
        assert reached > 0.95
        assert reached > without + 0.08
        shown = (truth.mask > 200) & (found.mask > 200)
        difference = np.abs(found.image.astype(float) - truth.image)[shown].mean()
        bare = np.abs(bald.image.astype(float) - truth.image)[shown].mean()
        assert difference < 0.35 * bare


def test_thickness_follows_the_outline_where_it_was_seen(
    model: MorphableModel,
    backend: RasterizerBackend,
    neutral: Float32Array,
    scenes: Sequence[Scene],
    hair: Hair,
    grid: EnvelopeGrid,
) -> None:
    fitted = fit_hair(model, neutral, [scene.frame for scene in scenes], backend, HairSettings())
    scalp = grid.region == int(Region.SCALP)
    left, right = np.split(np.arange(grid.region.shape[1]), 2)[::-1]
    for side in (left, right):
        rows = scalp[:, side] & (np.arange(len(scalp)) > 30)[:, None]
        error = (fitted.thickness_m - hair.thickness_m)[:, side][rows]
        assert abs(float(np.median(error))) < 0.006
    albedo = fitted.texture.albedo[fitted.texture.coverage[..., 0] > 0.9]
    np.testing.assert_allclose(np.median(albedo, 0), HAIR, rtol=0.3)


def test_a_bald_head_keeps_its_scalp(
    model: MorphableModel, backend: RasterizerBackend, neutral: Float32Array, photograph: Photograph
) -> None:
    frames = [photograph(None, pose).frame for pose in (pose_of(0), pose_of(35), pose_of(-35))]
    fitted = fit_hair(model, neutral, frames, backend, HairSettings())
    before, after = photograph(None, pose_of(20)), photograph(fitted, pose_of(20))
    shown = before.mask > 200
    assert np.abs(after.image.astype(float) - before.image)[shown].mean() < 3.0
    assert overlap(before.mask, after.mask) > 0.985


def test_short_hair_that_no_image_shows_ends_above_the_lobes_of_the_ears(
    model: MorphableModel,
    backend: RasterizerBackend,
    neutral: Float32Array,
    photograph: Photograph,
    hair: Hair,
    grid: EnvelopeGrid,
) -> None:
    fitted = fit_hair(model, neutral, [photograph(hair, pose_of(0)).frame], backend, HairSettings())
    scalp, height = grid.region == int(Region.SCALP), grid.origins[..., 1]
    around = np.abs(grid.directions[..., 0]) / np.hypot(grid.directions[..., 0], grid.directions[..., 2]).clip(1e-6)
    beside = scalp & (grid.directions[..., 2] < 0.0) & (around > 0.9) & (height < -0.045)
    behind = scalp & (grid.directions[..., 2] < 0.0) & (around < 0.2) & (height < -0.02) & (height > -0.045)
    beside, behind = (at_texels(cells.astype(np.float64)) > 0.9 for cells in (beside, behind))
    assert beside.any()
    assert float(fitted.texture.coverage[beside].mean()) < 0.3
    assert float(fitted.texture.coverage[behind].mean()) > 0.8


def test_the_back_of_short_hair_is_round(
    model: MorphableModel,
    backend: RasterizerBackend,
    neutral: Float32Array,
    photograph: Photograph,
    hair: Hair,
    grid: EnvelopeGrid,
) -> None:
    """Napes lie close, whatever stands off at the sides: without an edge where they end."""
    thick = replace(hair, thickness_m=2.0 * hair.thickness_m)
    fitted = fit_hair(model, neutral, [photograph(thick, pose_of(0)).frame], backend, HairSettings())
    surface = grid.surface(fitted.thickness_m.astype(np.float64))[18:32, 0]
    along = np.diff(surface, axis=0)
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    turns = np.degrees(np.arccos(np.clip((along[1:] * along[:-1]).sum(-1), -1.0, 1.0)))
    assert float(turns.max()) < 25.0


def test_a_face_is_never_covered(
    model: MorphableModel,
    backend: RasterizerBackend,
    neutral: Float32Array,
    scenes: Sequence[Scene],
    photograph: Photograph,
) -> None:
    fitted = fit_hair(model, neutral, [scene.frame for scene in scenes], backend, HairSettings())
    bald, found = photograph(None, pose_of(0)), photograph(fitted, pose_of(0))
    low, high = bald.frame.oval.min(0), bald.frame.oval.max(0)
    inner = slice(int(low[1] * 0.7 + high[1] * 0.3), int(high[1] - 8)), slice(int(low[0] + 12), int(high[0] - 12))
    assert np.abs(bald.image[inner].astype(float) - found.image[inner]).max() <= 4.0


def test_an_earlier_fit_is_the_start_of_the_next(
    model: MorphableModel, backend: RasterizerBackend, neutral: Float32Array, scenes: Sequence[Scene]
) -> None:
    frames = [scene.frame for scene in scenes]
    first = fit_hair(model, neutral, frames, backend, HairSettings())
    again = fit_hair(model, neutral, frames, backend, HairSettings(), before=first)
    assert float(np.abs(again.thickness_m - first.thickness_m).mean()) < 0.002


def test_the_camera_of_a_frame_may_cut_the_hair_off(
    model: MorphableModel, backend: RasterizerBackend, neutral: Float32Array, photograph: Photograph, hair: Hair
) -> None:
    """An image that ends above the forehead tells nothing of the hair that it cuts off."""
    scene = photograph(hair, pose_of(0))
    top = int(scene.frame.oval[:, 1].min()) - 6
    cut = scene.frame.__class__(
        scene.image[top:].copy(),
        scene.frame.person[top:].copy(),
        scene.frame.oval - np.array([0, top], np.float32),
        neutral,
        scene.frame.pose,
        CAMERA.__class__(
            CAMERA.focal_px, CAMERA.center_x_px, CAMERA.center_y_px - top, CAMERA.width, CAMERA.height - top
        ),
        scene.frame.light_sh,
        1.0,
    )
    fitted = fit_hair(model, neutral, [cut], backend, HairSettings())
    crown = fitted.thickness_m[-6:]
    assert float(crown.min()) > 0.004, "the cut edge is not taken for the hair's outline"
    assert torch.isfinite(torch.from_numpy(fitted.texture.albedo)).all()


def test_frames_that_show_nobody_leave_the_head_bald(
    model: MorphableModel, backend: RasterizerBackend, neutral: Float32Array, photograph: Photograph
) -> None:
    frame = photograph(None, pose_of(0)).frame
    nobody = replace(frame, person=np.zeros_like(frame.person))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fitted = fit_hair(model, neutral, [nobody], backend, HairSettings())
    assert np.isfinite(fitted.texture.albedo).all() and np.isfinite(fitted.thickness_m).all()
    scalp_seen = fitted.texture.coverage[60:120, 340:430]
    assert float(scalp_seen.max()) < 0.1


def test_a_mask_wider_than_the_hair_makes_no_hole_in_it(
    model: MorphableModel,
    backend: RasterizerBackend,
    neutral: Float32Array,
    photograph: Photograph,
    hair: Hair,
    grid: EnvelopeGrid,
) -> None:
    """Masks of people enclose the background between the tips of strands: the scalp below is covered nevertheless."""
    frame = photograph(hair, pose_of(0)).frame
    wide = replace(frame, person=cv2.dilate(frame.person, np.ones((15, 15), np.uint8)))
    fitted = fit_hair(model, neutral, [wide], backend, HairSettings())
    scalp = (grid.region == int(Region.SCALP)) & (grid.origins[..., 1] > 0.0)
    # Away from the hairline, where hair ends, and above the nape, where it thins out.
    inner = cv2.erode(np.concatenate([scalp] * 3, 1).astype(np.uint8), np.ones((7, 7), np.uint8))
    texels = at_texels(inner[:, scalp.shape[1] : 2 * scalp.shape[1]].astype(np.float64)) > 0.99
    assert float(fitted.texture.coverage[texels].min()) > 0.9


def test_a_bald_head_larger_than_the_mesh_stays_bald(
    model: MorphableModel, backend: RasterizerBackend, neutral: Float32Array, photograph: Photograph, hair: Hair
) -> None:
    """The mesh's skull may be too small: what stands off it is skin, as smooth as the face's."""
    skin = np.broadcast_to(np.array(SKIN, np.float32), hair.texture.albedo.shape)
    bare = Hair(hair.thickness_m, HairTexture(skin.copy(), hair.texture.coverage))
    frame = photograph(bare, pose_of(0)).frame
    fitted = fit_hair(model, neutral, [frame], backend, HairSettings())
    assert fitted.bald
    assert not fit_hair(model, neutral, [photograph(hair, pose_of(0)).frame], backend, HairSettings()).bald

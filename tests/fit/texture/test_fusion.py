"""Texture fusion: visibility, fusion, dense matches, baking."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fitme.color import linear_to_bytes
from fitme.fit.alignment.aligner import HeadAligner, camera_of
from fitme.fit.alignment.face_crop import crop_face
from fitme.fit.alignment.optical_flow import FlowSettings, flow_targets
from fitme.fit.alignment.settings import AlignmentSettings
from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.keyframe import Keyframe
from fitme.fit.lighting.spherical_harmonics import LightSettings
from fitme.fit.solver.point_targets import MeshBasis
from fitme.fit.texture.baking import FULL_CONFIDENCE, HAIR_COVERED_REGIONS, bake, with_generated_mouth
from fitme.fit.texture.delighting import BandSums
from fitme.fit.texture.fusion import FusedTexture, FusionView, TextureFusion, best_weight
from fitme.fit.texture.mouth_tones import ENAMEL, with_mouth
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.texel_views import BEHIND_LIPS, TexelViews
from fitme.fit.texture.unprojection import TexelObservation
from fitme.geometry import HeadPose
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.rasterizer import select_backend
from fitme.shape.expressions import expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

FOCAL = 1.0
RESOLUTION = 128
NO_BLINK = np.zeros((load_default_model().vertex_count, 3), np.float32)


def estimate(yaw_deg: float, light: Light) -> KeyframeEstimate:
    pose = HeadPose(np.array([0.0, np.radians(yaw_deg), 0.0], np.float32), np.array([0.0, 0.0, -0.45], np.float32))
    return KeyframeEstimate(pose, np.zeros(52, np.float32), light.sh[0].numpy(), 0.0)


@pytest.fixture(scope="module")
def views(model: MorphableModel) -> TexelViews:
    return TexelViews(model, RESOLUTION)


def observe(
    views: TexelViews,
    keyframe: Keyframe,
    yaw_deg: float,
    light: Light,
    identity: torch.Tensor,
    jaw: float = 0.0,
    *,
    ears: bool = False,
) -> TexelObservation:
    usable = np.ones(keyframe.image.shape[:2], np.float32)
    camera = keyframe.observation.camera
    known = estimate(yaw_deg, light)
    known.expression[expression_index("jawOpen")] = jaw
    return views.observe(known, identity.numpy(), FOCAL, camera, keyframe.image, usable, ears=ears)


def fuse(
    views: TexelViews,
    observations: list[TexelObservation],
    prior: np.ndarray,
    specular: np.ndarray,
    *,
    sharpness: list[float] | None = None,
    scleras: list[np.ndarray | None] | None = None,
) -> FusedTexture:
    count = len(observations)
    columns = zip(observations, sharpness or [1.0] * count, scleras or [None] * count, strict=True)
    fusion = TextureFusion(views.table, prior, specular, FusionSettings(), LightSettings())
    return fusion.fuse([FusionView(*view) for view in columns])


def test_hidden_and_averted_texels_have_no_weight(
    views: TexelViews, photograph: Callable[..., Keyframe], light: Light, identity: torch.Tensor
) -> None:
    view = observe(views, photograph("a", 50.0), 50.0, light, identity, ears=True)
    facing = (view.normals * view.toward_viewer).sum(-1)
    assert (view.weight[facing < 0.1] == 0.0).all()
    ears = views.table.region == Region.EARS
    # Looking to the viewer's right, the person's left ear (+X) turns away behind the head, the right one faces us.
    side = views.table.columns < RESOLUTION / 2
    shares = [view.weight[ears & half].mean() for half in (side, ~side)]
    assert max(shares) > 10.0 * min(shares)
    unplaced = observe(views, photograph("a", 50.0), 50.0, light, identity)
    assert not unplaced.weight[ears].any(), "hair would be taken for ears that are not where the image shows them"


def test_texels_behind_shut_lips_have_little_weight(
    views: TexelViews, photograph: Callable[..., Keyframe], light: Light, identity: torch.Tensor
) -> None:
    behind = np.isin(views.table.region, [int(region) for region in BEHIND_LIPS])
    shut, opened = (
        observe(views, photograph("a", 0.0, jaw), 0.0, light, identity, jaw).weight[behind].sum() for jaw in (0.0, 0.3)
    )
    assert shut < 0.02 * opened


def test_fusion_recovers_albedo_up_to_scale(
    views: TexelViews,
    photograph: Callable[..., Keyframe],
    light: Light,
    identity: torch.Tensor,
    skin: ReflectanceMaps,
) -> None:
    yaws = (-30.0, 0.0, 30.0)
    observations = [observe(views, photograph(str(yaw), yaw), yaw, light, identity) for yaw in yaws]
    expected = views.at_texels(skin.diffuse)
    prior = np.tile(np.array([[0.4, 0.3, 0.25]], np.float32), (len(expected), 1))
    specular = np.full((len(expected), 1), 0.5, np.float32)
    fused = fuse(views, observations, prior, specular)
    face = (fused.confidence > 0.6) & (views.table.region == Region.SKIN)
    scale = np.median(fused.albedo[face] / expected[face])
    error = np.abs(fused.albedo[face] / scale - expected[face]).mean()
    unlit = np.abs(
        observations[1].color[face] / np.median(observations[1].color[face] / expected[face]) - expected[face]
    ).mean()
    assert error < 0.03
    assert error < 0.7 * unlit
    assert max(fused.errors) < 0.02
    assert (fused.confidence >= 0.0).all()
    assert (fused.confidence < 1.0).all()


def test_a_shadow_that_no_light_explains_leaves_dark_skin_its_hue(views: TexelViews) -> None:
    count = len(views.table.rows)
    skin, reflected = np.array([0.132, 0.055, 0.031], np.float32), np.float32(0.02)
    draw = np.random.default_rng(0)
    normals = draw.normal(size=(count, 3)) * 0.4 + [0.0, 0.0, 1.0]
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    toward = np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (count, 1))
    shadowed = (views.table.rows // 8 + views.table.columns // 8) % 6 == 0
    color = 0.6 * (skin + reflected) * np.where(shadowed, 0.35, 1.0)[:, None].astype(np.float32)
    observations = [TexelObservation(color, np.ones(count, np.float32), normals, toward)]
    prior = np.tile(np.array([[0.4, 0.3, 0.25]], np.float32), (count, 1))
    specular = np.full((count, 1), 0.54, np.float32)
    fused = fuse(views, observations, prior, specular)
    face = (views.table.region == Region.SKIN) & (views.table.occlusion[:, 0] == 1.0)
    hue = [np.median(fused.albedo[face & there, 2] / fused.albedo[face & there, 0]) for there in (shadowed, ~shadowed)]
    assert hue[0] > 0.85 * hue[1]


def test_interreflections_do_not_redden_the_albedo(views: TexelViews) -> None:
    count = len(views.table.rows)
    draw = np.random.default_rng(0)
    normals = draw.normal(size=(count, 3)) * [0.7, 0.3, 0.3] + [0.0, 0.0, 1.0]
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    toward = np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (count, 1))
    skin = np.array([0.4, 0.3, 0.25], np.float32)
    shading = np.maximum(0.5 + 0.5 * normals[:, :1], 0.02)  # one lamp, on the person's left
    red = ((views.table.rows // 8 + views.table.columns // 8) % 6 == 0)[:, None]
    color = skin * shading * np.where(red, np.array([1.3, 0.9, 0.8], np.float32), 1.0)
    observations = [TexelObservation(color.astype(np.float32), np.ones(count, np.float32), normals, toward)]
    prior = np.tile(skin, (count, 1))
    matt = np.zeros((count, 1), np.float32)
    fused = fuse(views, observations, prior, matt)
    face = (views.table.region == Region.SKIN) & (views.table.occlusion[:, 0] == 1.0)
    redness = fused.albedo[:, 0] / fused.albedo[:, 2]

    def excess(there: np.ndarray) -> float:
        return float(np.median(redness[face & there & red[:, 0]]) / np.median(redness[face & there & ~red[:, 0]]) - 1.0)

    lit, shaded = excess(shading[:, 0] > 0.5), excess(shading[:, 0] < 0.1)
    assert lit > 0.4  # a birthmark keeps its hue
    assert shaded < 0.5 * lit


def test_beside_white_eyes_the_same_colour_is_darker_skin(views: TexelViews) -> None:
    count = len(views.table.rows)
    draw = np.random.default_rng(0)
    normals = draw.normal(size=(count, 3)) * 0.4 + [0.0, 0.0, 1.0]
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    toward = np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (count, 1))
    color = np.tile(np.array([[0.2, 0.12, 0.09]], np.float32), (count, 1))
    observations = [TexelObservation(color, np.ones(count, np.float32), normals, toward)]
    specular = np.full((count, 1), 0.54, np.float32)

    def tone(sclera: list[float] | None) -> float:
        whites = [None if sclera is None else np.array(sclera, np.float32)]
        fused = fuse(views, observations, 2.0 * color, specular, scleras=whites)
        return float(np.median(fused.albedo[views.table.region == Region.SKIN]))

    assert tone([0.5, 0.47, 0.44]) < 0.9 * tone([0.25, 0.235, 0.22])
    assert tone([0.5, 0.47, 0.44]) < tone(None)


def test_a_sharper_view_gives_the_detail(views: TexelViews, light: Light) -> None:
    count = len(views.table.rows)
    normals = np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (count, 1))
    checker = ((views.table.rows // 2 + views.table.columns // 2) % 2)[:, None].astype(np.float32)
    skin = np.array([0.4, 0.25, 0.19], np.float32)
    sharp = skin * (0.75 + 0.5 * checker)
    blurred = np.tile(skin, (count, 1))
    weight = np.ones(count, np.float32)
    observations = [TexelObservation(color, weight, normals, normals) for color in (sharp, blurred)]
    specular = np.zeros((count, 1), np.float32)
    fused = fuse(views, observations, blurred, specular, sharpness=[1.0, 0.3])
    open_air = (views.table.occlusion[:, 0] == 1.0) & (views.table.region != Region.EARS)
    sides = [open_air & (checker[:, 0] == side) for side in (0, 1)]
    contrast = np.ptp([fused.albedo[side].mean() for side in sides])
    plain_mean = np.ptp([(sharp + 0.3 * blurred)[side].mean() / 1.3 for side in sides])
    level = fused.albedo[open_air].mean() / skin.mean()
    assert contrast / level > 1.15 * plain_mean


def test_flow_finds_a_known_shift(
    model: MorphableModel,
    photograph: Callable[..., Keyframe],
    light: Light,
    identity: torch.Tensor,
    skin: ReflectanceMaps,
) -> None:
    keyframe = photograph("front")
    crop = crop_face(keyframe, keyframe.observation.face_mask().astype(np.float32), 192)
    aligner = HeadAligner(model, select_backend("cpu"), AlignmentSettings())
    whole = camera_of(keyframe.observation.camera, FOCAL)
    moved = estimate(0.0, light)
    offset_m = 0.004
    moved.pose.translation[0] += offset_m
    rendering = aligner.draw(moved, identity.numpy(), crop.camera(whole), skin)
    targets = flow_targets(
        MeshBasis(model),
        linear_to_bytes(rendering.image[0].numpy()),
        rendering.rast[0].numpy(),
        model.face_triangles.numpy(),
        crop,
        keyframe.observation.camera,
        FlowSettings(),
    )
    assert targets is not None
    assert len(targets.pixels) > 150
    points = targets.points.mean + targets.points.identity @ identity.numpy().astype(np.float64)
    depth = 0.45 - points[:, 2]
    true_x = whole.center_x_px + whole.focal_px * points[:, 0] / depth
    assert np.median(np.abs(targets.pixels[:, 0] - true_x)) < 0.35
    # Without the flow, the render would be off by the whole shift.
    assert whole.focal_px * offset_m / 0.45 > 2.0


def test_baking_prefers_observed_texels(views: TexelViews) -> None:
    count = len(views.table.rows)
    skin, eyes = (views.table.region == int(region) for region in (Region.SKIN, Region.EYES))
    confidence = np.where(skin, np.linspace(0.0, 1.0, count), 0.0).astype(np.float32)
    albedo, skin_probability = np.full((count, 3), 0.2, np.float32), np.ones((count, 1), np.float32)
    texture = FusedTexture(albedo, albedo, albedo, skin_probability, confidence, (), (), confidence)
    generated = ReflectanceMaps.constant((0.6, 0.6, 0.6), 0.4, 32)
    maps = bake(views.table, texture, generated, inverted=True, blink=NO_BLINK)
    values = views.table.from_map(maps.diffuse[0].numpy())[:, 0]
    np.testing.assert_allclose(values[confidence > FULL_CONFIDENCE], 0.2, atol=1e-5)
    np.testing.assert_allclose(values[eyes], 0.6, atol=1e-5)
    # Between them, the generator's, scaled to the observed texels beside it.
    hardly = skin & (confidence > 0.1) & (confidence < 0.3)
    assert np.median(values[hardly]) < 0.25
    assert maps.specular.shape == (1, RESOLUTION, RESOLUTION, 1)
    before = bake(views.table, texture, generated, inverted=False, blink=NO_BLINK)
    teeth = views.table.within((Region.TEETH,))
    found = views.table.from_map(before.diffuse[0].numpy())
    np.testing.assert_allclose(found[~teeth], 0.2, atol=1e-6)
    np.testing.assert_allclose(found[teeth], np.tile(np.float32(ENAMEL), (teeth.sum(), 1)), atol=1e-6)


def test_an_unobserved_side_mirrors_the_other(views: TexelViews) -> None:
    """With the other side's pattern, and its own albedo scale beside observed texels."""
    table = views.table
    mirrored = table.mirrored(table.mirrored(table.columns[:, None].astype(np.float32)))[:, 0]
    np.testing.assert_array_equal(mirrored, table.columns)
    left, skin = table.columns < RESOLUTION // 2, table.within((Region.SKIN,))
    stripes = np.where(table.rows // 8 % 2, 0.1, 0.4).astype(np.float32)[:, None] * np.ones(3, np.float32)
    skin_probability, confidence = np.ones((len(left), 1), np.float32), left.astype(np.float32)
    texture = FusedTexture(stripes, stripes, stripes, skin_probability, confidence, (), (), confidence)
    maps = bake(table, texture, ReflectanceMaps.constant((0.3,) * 3, 0.4, 32), inverted=True, blink=NO_BLINK)
    values = table.from_map(maps.diffuse[0].numpy())
    # The neck's lower edge counts as a collar; teeth have their own tone.
    seen = left & ~table.within((Region.NECK, Region.TEETH))
    np.testing.assert_allclose(values[seen], stripes[seen], atol=1e-6)
    ratio = np.abs(np.log(values[skin & ~left] / stripes[skin & ~left]))
    # At borders, neighbouring regions' tones pass into each other.
    assert np.percentile(ratio, 75) < 0.05


def test_hair_over_a_forehead_loses_the_specular_albedo_of_skin(views: TexelViews) -> None:
    """By the ratio of its albedo to the skin's; all other texels keep theirs."""
    table = views.table
    count = len(table.rows)
    skin = table.region == int(Region.SKIN)
    forehead = skin & (table.rows < np.median(table.rows[skin]) - 0.1 * RESOLUTION)
    everywhere, skin_probability = np.full((count, 3), 0.4, np.float32), np.ones((count, 1), np.float32)
    albedo, ones = np.where(forehead[:, None], 0.04, everywhere).astype(np.float32), np.ones(count, np.float32)
    texture = FusedTexture(albedo, albedo, everywhere, skin_probability, ones, (), (), ones)
    maps = bake(views.table, texture, ReflectanceMaps.constant((0.4,) * 3, 0.5, 32), inverted=True, blink=NO_BLINK)
    specular = table.from_map(maps.specular[0].numpy())[:, 0]
    assert 0.05 < np.median(specular[forehead]) < 0.08
    assert np.median(specular[skin & ~forehead]) == pytest.approx(0.5, abs=0.01)
    np.testing.assert_allclose(specular[~np.isin(table.region, [int(region) for region in HAIR_COVERED_REGIONS])], 0.5)
    brighter = FusedTexture(2.0 * albedo, 2.0 * albedo, albedo, skin_probability, ones, (), (), ones)
    shining = bake(views.table, brighter, ReflectanceMaps.constant((0.4,) * 3, 0.5, 32), inverted=True, blink=NO_BLINK)
    np.testing.assert_allclose(shining.specular.numpy(), 0.5, atol=1e-6)


def test_the_generated_mouth_replaces_the_observed_one(views: TexelViews) -> None:
    table = views.table
    albedo, skin_probability = np.full((len(table.rows), 3), 0.2, np.float32), np.ones((len(table.rows), 1), np.float32)
    texture = FusedTexture(
        albedo, albedo, albedo, skin_probability, skin_probability[:, 0], (), (), skin_probability[:, 0]
    )
    generated = ReflectanceMaps.constant((0.6, 0.6, 0.6), 0.4, 32)
    maps = bake(table, texture, generated, inverted=True, blink=NO_BLINK)
    completed = table.from_map(with_generated_mouth(table, maps, generated, None).diffuse[0].numpy())
    behind = np.isin(table.region, [int(region) for region in BEHIND_LIPS])
    wanted = with_mouth(table, np.full_like(albedo, 0.6), None)
    np.testing.assert_allclose(completed[behind], wanted[behind], atol=1e-6)
    np.testing.assert_allclose(completed[~behind], 0.2, atol=1e-6)


def test_many_grazing_views_are_not_one_that_sees_a_texel_well() -> None:
    settings, sharpest = FusionSettings(), 0.5

    def sums(weights: list[float]) -> BandSums:
        summed = np.array([np.sum(weights)]), np.array([np.sum(np.power(weights, settings.detail_power))])
        return BandSums(summed[0], np.zeros((1, 3)), summed[1], np.zeros((1, 3)))

    for count in (1, 50):
        assert best_weight(sums([0.01] * count), sharpest, settings) == pytest.approx(0.01 / sharpest)
    assert best_weight(sums([0.4] + [0.01] * 11), sharpest, settings) == pytest.approx(0.4 / sharpest, rel=0.1)

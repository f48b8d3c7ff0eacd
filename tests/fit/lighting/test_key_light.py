"""Search for a directional light by its shadows, on the model's head with known light and blotched skin."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitme.color import linear_to_bytes
from fitme.fit.estimate import Illumination, KeyframeEstimate, KeyLight
from fitme.fit.lighting.key_light import KeyLightSettings, agreed_direction, explained_share
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS, LightSettings
from fitme.fit.texture.cast_lights import key_directions, search_samples
from fitme.fit.texture.fusion import FusedTexture, FusionView, TextureFusion
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.texel_views import TexelViews
from fitme.fit.texture.unprojection import TexelObservation
from fitme.geometry import Camera, HeadPose
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.renderer import render
from fitme.shape.morphable_model import MorphableModel

RESOLUTION = 128
CAMERA = Camera.centered(320.0, 320, 240)
WITH_KEY_LIGHT = LightSettings(key=KeyLightSettings(enabled=True))
SUN = KeyLight(np.array([0.65, 0.35, 0.67], np.float32), np.full(3, 0.8, np.float32))
"""From above and the viewer's right: the nose's shadow falls on the cheek."""
DIM = Light.ambient(0.25).sh[0].numpy()


@pytest.fixture(scope="module")
def views(model: MorphableModel) -> TexelViews:
    return TexelViews(model, RESOLUTION)


def observed(views: TexelViews, model: MorphableModel, skin: ReflectanceMaps, light: Illumination) -> TexelObservation:
    pose = HeadPose(np.array([0.0, 0.1, 0.0], np.float32), np.array([0.0, 0.0, -0.45], np.float32))
    estimate = KeyframeEstimate(pose, np.zeros(52, np.float32), light.sh, 0.0, light.key)
    rotation, translation = (torch.from_numpy(part)[None] for part in (pose.rotation, pose.translation))
    rendering = render(model, model.mean[None], rotation, translation, CAMERA, skin, estimate.illumination.light)
    image, usable = linear_to_bytes(rendering.image[0].numpy()), np.ones((240, 320), np.float32)
    return views.observe(estimate, np.zeros(model.identity_count, np.float32), 1.0, CAMERA, image, usable)


def fused(
    views: TexelViews, observation: TexelObservation, skin: ReflectanceMaps, settings: LightSettings
) -> FusedTexture:
    flat = np.tile(np.array([[0.4, 0.3, 0.25]], np.float32), (len(views.table.rows), 1))
    fusion = TextureFusion(views.table, flat, views.at_texels(skin.specular), FusionSettings(), settings)
    return fusion.fuse([FusionView(observation, 1.0)])


def test_the_direction_of_a_light_is_found_by_its_shadows(
    views: TexelViews, model: MorphableModel, skin: ReflectanceMaps
) -> None:
    fused_texture = fused(views, observed(views, model, skin, Illumination(DIM, SUN)), skin, WITH_KEY_LIGHT)
    key = fused_texture.lights[0].key
    assert key is not None
    assert np.degrees(np.arccos(key.direction @ SUN.direction / np.linalg.norm(SUN.direction))) < 6.0
    # Albedo and light share a scale: the key light's part of the whole is what counts.
    ambient = fused_texture.lights[0].sh[0].mean() * 0.2820948
    assert key.color.mean() / ambient == pytest.approx(0.8 / 0.25, rel=0.5)


def test_shadows_do_not_stay_in_the_albedo(views: TexelViews, model: MorphableModel, skin: ReflectanceMaps) -> None:
    truth = views.at_texels(skin.diffuse)
    observation = observed(views, model, skin, Illumination(DIM, SUN))
    skin_texels = views.table.within(LIGHT_REGIONS) & (observation.weight > 0.3)
    errors = []
    for enabled in (True, False):
        settings = LightSettings(key=KeyLightSettings(enabled=enabled))
        albedo = fused(views, observation, skin, settings).albedo[skin_texels]
        scale = np.median(albedo / truth[skin_texels])
        errors.append(np.abs(albedo / scale - truth[skin_texels]).mean())
    assert errors[0] < 0.8 * errors[1]


def test_soft_light_has_no_key_light(
    views: TexelViews, model: MorphableModel, skin: ReflectanceMaps, light: Light
) -> None:
    texture = fused(views, observed(views, model, skin, Illumination(light.sh[0].numpy())), skin, WITH_KEY_LIGHT)
    assert texture.lights[0].key is None


def test_a_view_adopts_the_direction_on_which_others_agree(
    views: TexelViews, model: MorphableModel, skin: ReflectanceMaps
) -> None:
    observation = observed(views, model, skin, Illumination(DIM, SUN))
    index = np.flatnonzero(views.table.within(LIGHT_REGIONS) & (observation.weight > 0.0))
    albedo, specular = views.at_texels(skin.diffuse)[index], views.at_texels(skin.specular)
    lit = search_samples(views.table, observation, specular, index, albedo, observation.weight[index])
    assert lit is not None
    flat = replace(observation, geometry=None)
    assert search_samples(views.table, flat, specular, index, albedo, observation.weight[index]) is None
    # A gain that alone would be too small suffices beside two views that agree, and without them does not.
    settings = KeyLightSettings(enabled=True)
    found = key_directions([lit, lit, None], [None] * 3, settings)
    assert found[0] is not None and found[2] is None
    assert explained_share(lit, found[0], settings) > 5.0 * settings.least_gain
    assert explained_share(lit, -found[0], settings) < settings.agreed_gain
    assert agreed_direction([found[0], found[0], None]) is not None
    assert agreed_direction([found[0], None, None, None]) is None
    assert agreed_direction([found[0], -found[0]]) is None


def test_an_unshadowed_key_light_adds_its_harmonics() -> None:
    folded = Illumination(DIM, SUN).unshadowed_sh
    assert folded.shape == (9, 3)
    assert (folded[0] > DIM[0]).all()
    assert Illumination(DIM).unshadowed_sh is DIM

"""Teeth of a rendered person, read back from the render."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from fitme.fit.estimate import KeyframeEstimate
from fitme.fit.texture.teeth import ShownTeeth, TeethTexels, TeethView, shown_teeth, teeth_texels, view_of_teeth
from fitme.fit.texture.unprojection import texel_table
from fitme.geometry import Camera, HeadPose
from fitme.parts.renderer import PartsRenderer
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel

RESOLUTION, SIZE_PX = 512, 900
CAMERA = Camera(3.2 * SIZE_PX, SIZE_PX / 2, SIZE_PX / 2, SIZE_PX, SIZE_PX)
POSE = HeadPose(np.array([0.0, 0.0, 0.0], np.float32), np.array([0.0, 0.06, -0.55], np.float32))
SKIN = np.float32((0.45, 0.25, 0.18))
SMILE = {
    "jawOpen": 0.15,
    "mouthSmileLeft": 0.8,
    "mouthSmileRight": 0.8,
    "mouthUpperUpLeft": 0.5,
    "mouthUpperUpRight": 0.5,
}


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="module")
def texels(model: MorphableModel) -> TeethTexels:
    found = teeth_texels(model, RESOLUTION)
    assert found is not None
    return found


def estimate(activations: dict[str, float]) -> KeyframeEstimate:
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    for name, activation in activations.items():
        expression[expression_index(name)] = activation
    light = Light.ambient().sh[0].numpy()
    return KeyframeEstimate(POSE, expression, light, 0.0)


def seen(model: MorphableModel, texels: TeethTexels, activations: dict[str, float], diffuse, paint=None):
    """View of the teeth of a head with a diffuse map (R, R, 3) in a render."""
    found = estimate(activations)
    maps = replace(ReflectanceMaps.constant((0.4, 0.25, 0.2), 0.3, RESOLUTION), diffuse=torch.from_numpy(diffuse)[None])
    renderer = PartsRenderer(model, SIZE_PX)
    renderer.set_maps(maps)
    with torch.no_grad():
        vertices = model.vertices(torch.zeros(1, model.identity_count), torch.from_numpy(found.expression)[None])[0]
    image = renderer.render(vertices.numpy(), POSE, CAMERA, Light.ambient())
    if paint is not None:
        image = np.full_like(image, paint)
    identity = np.zeros(model.identity_count, np.float32)
    usable = np.ones(image.shape[:2], np.float32)
    focal = CAMERA.focal_px / SIZE_PX
    return view_of_teeth(model, texels, found, identity, focal, CAMERA, image, usable)


def colored(model: MorphableModel, texels: TeethTexels) -> np.ndarray:
    """Map (R, R, 3) with broad patches of enamel in the bands."""
    random = np.random.default_rng(3)
    patches = cv2.resize(random.uniform(0.75, 1.25, (12, 24)).astype(np.float32), (RESOLUTION, RESOLUTION))
    diffuse = np.full((RESOLUTION, RESOLUTION, 3), (0.4, 0.25, 0.2), np.float32)
    diffuse[texels.rows, texels.columns] = np.float32((0.6, 0.53, 0.44)) * patches[texels.rows, texels.columns, None]
    return diffuse


def test_a_smile_shows_the_teeth_that_the_map_has(model, texels):
    diffuse = colored(model, texels)
    view = seen(model, texels, SMILE, diffuse)
    assert view is not None
    shown = shown_teeth(texels, [(view, 1.0)], SKIN)
    assert shown is not None
    sure = shown.weight > 0.3
    assert sure.mean() > 0.1, "a smile shows some of the upper row"
    wanted = diffuse[texels.rows, texels.columns][sure]
    ratio = np.log(shown.albedo[sure] / wanted)
    assert np.abs(np.median(ratio)) < 0.08
    assert np.median(np.abs(ratio - np.median(ratio))) < 0.08
    assert np.corrcoef(shown.albedo[sure, 1], wanted[:, 1])[0, 1] > 0.7


def test_a_closed_mouth_shows_none(model, texels):
    assert seen(model, texels, {}, colored(model, texels)) is None
    assert shown_teeth(texels, [], SKIN) is None


@pytest.mark.parametrize("color", [(170, 70, 75), (20, 10, 10)])
def test_lips_and_the_dark_where_teeth_should_be_do_not_count(model, texels, color):
    view = seen(model, texels, SMILE, colored(model, texels), paint=color)
    assert view is not None
    shown = shown_teeth(texels, [(view, 1.0)], SKIN)
    assert shown is not None and shown.weight.max() < 0.05


def test_the_view_that_shows_a_tooth_best_decides(texels):
    count = len(texels.rows)
    sharp, dull = (np.tile(np.float32(tone), (count, 1)) for tone in ((0.6, 0.55, 0.45), (0.3, 0.27, 0.22)))
    views = [
        (TeethView(sharp, np.full(count, 0.8, np.float32)), 1.0),
        (TeethView(dull, np.full(count, 0.8, np.float32)), 0.3),
    ]
    shown = shown_teeth(texels, views, SKIN)
    assert isinstance(shown, ShownTeeth)
    bare = shown.albedo * np.maximum(texels.shades, 0.3)
    np.testing.assert_allclose(np.median(bare, axis=0), sharp[0], rtol=0.05)


def test_texels_are_the_tables_own(model, texels):
    table = texel_table(model, RESOLUTION)
    places = table.texels_at(texels.rows, texels.columns)
    assert np.array_equal(table.rows[places], texels.rows) and np.array_equal(table.columns[places], texels.columns)
    np.testing.assert_allclose(texels.weights.sum(1), 1.0, atol=1e-5)

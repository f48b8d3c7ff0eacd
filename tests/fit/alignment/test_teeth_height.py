"""Height of the rows of teeth of rendered people who smile, by renders and their landmarks."""

import numpy as np
import pytest
import torch

from fitme.fit.alignment.rows_of_teeth import opening_of, upper_edge
from fitme.fit.alignment.teeth_height import MouthFrame, TeethHeight
from fitme.geometry import Camera, HeadPose, image_points
from fitme.parts.renderer import PartsRenderer
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import CROWN_HEIGHT_M, GUM_LINE_SHARE, TEETH_SIGMA_M, MorphableModel
from fitme.shape.regions import Region

SIZE_PX = 900
CAMERA = Camera(3.2 * SIZE_PX, SIZE_PX / 2, SIZE_PX / 2, SIZE_PX, SIZE_PX)
POSE = HeadPose(np.zeros(3, np.float32), np.array([0.0, 0.06, -0.55], np.float32))
OPEN = {
    "jawOpen": 0.45,
    "mouthUpperUpLeft": 0.6,
    "mouthUpperUpRight": 0.6,
    "mouthLowerDownLeft": 0.4,
    "mouthLowerDownRight": 0.4,
}


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


def frame(model: MorphableModel, height: float, activations: dict[str, float]) -> MouthFrame:
    """Render of the mean head with its teeth at a height, beside the head without it."""
    expression = torch.zeros(1, EXPRESSION_COUNT)
    for name, activation in activations.items():
        expression[0, expression_index(name)] = activation
    identity = torch.zeros(1, model.identity_count + 1)
    with torch.no_grad():
        plain = model.vertices(identity[:, :-1], expression)
        identity[0, -1] = height
        drawn = model.vertices(identity, expression)
    renderer = PartsRenderer(model, SIZE_PX)
    maps = ReflectanceMaps.constant((0.42, 0.26, 0.2), 0.2, 512)
    teeth = model.triangle_region == int(Region.TEETH)
    uv = model.uv[model.uv_triangles[teeth].long()].flatten(0, 1)
    maps.diffuse[0, (uv[:, 1] * 511).long(), (uv[:, 0] * 511).long()] = torch.tensor([0.7, 0.62, 0.5])
    low, high = uv.min(0).values, uv.max(0).values
    maps.diffuse[0, int(low[1] * 512) : int(high[1] * 512) + 1, int(low[0] * 512) : int(high[0] * 512) + 1] = (
        torch.tensor([0.7, 0.62, 0.5])
    )
    renderer.set_maps(maps)
    image = renderer.render(drawn[0].numpy(), POSE, CAMERA, Light.ambient())
    landmarks = image_points(model.landmarks(plain)[0].numpy(), POSE, CAMERA)
    return MouthFrame(image, landmarks, plain[0].numpy(), POSE, CAMERA)


def test_one_coefficient_more_moves_the_upper_row_of_teeth_alone(model):
    identity = torch.zeros(1, model.identity_count + 1)
    identity[0, -1] = 2.0
    moved = (model.neutral(identity) - model.neutral(identity[:, :-1]))[0]
    teeth = model.vertex_mask(Region.TEETH) & ~model.lower_teeth
    assert not moved[~teeth].any()
    height = model.mean[teeth, 1]
    edge, gum_line = height < height.amin() + 0.001, (height - height.amin() - CROWN_HEIGHT_M).abs() < 0.001
    np.testing.assert_allclose(moved[teeth, 1][edge], 2.0 * TEETH_SIGMA_M, rtol=0.1)
    np.testing.assert_allclose(moved[teeth, 1][gum_line], 2.0 * GUM_LINE_SHARE * TEETH_SIGMA_M, rtol=0.25)


@pytest.mark.parametrize("height", [-1.5, 0.0, 1.5])
def test_the_edge_of_the_upper_row_tells_the_height(model, height):
    seen = frame(model, height, OPEN)
    edge = upper_edge(opening_of(seen.image, seen.landmarks))
    assert edge is not None and not edge.hidden
    # One image counts in proportion to its certainty: the prior holds it back.
    found = TeethHeight(model).measured([seen] * 6)
    assert found == pytest.approx(0.86 * height, abs=0.5)


def test_closed_mouths_say_nothing(model):
    assert TeethHeight(model).measured([frame(model, 0.0, {})]) == 0.0
    assert TeethHeight(model).measured([]) == 0.0

"""Inner-mouth extensions: their place, their motion with the teeth, and that they show through an open mouth alone."""

import numpy as np
import pytest
import torch

from fitme.build.shape.source_mesh import Part
from fitme.build.shape.teeth import LOWER_EXTENSION_M, UPPER_EXTENSION_M, find_inner_mouth_extension
from fitme.geometry import Camera
from fitme.render.occlusion import teeth_and_adjacent
from fitme.render.rasterizer import select_backend
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.shape.regions import Region

ROWS = ((Part.UPPER_TEETH, UPPER_EXTENSION_M), (Part.LOWER_TEETH, LOWER_EXTENSION_M))
BETWEEN_ROWS_V = 0.935
"""Height in the layout between the upper and the lower row."""


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


def parts(model: MorphableModel) -> np.ndarray:
    """(F,) `Part` of each triangle of the rows; all else counts as head."""
    triangles = model.triangles.long()
    mine = teeth_and_adjacent(model)[triangles].all(1).numpy()
    upper = model.uv[model.uv_triangles.long()].mean(1)[:, 1].numpy() < BETWEEN_ROWS_V
    return np.where(mine, np.where(upper, Part.UPPER_TEETH, Part.LOWER_TEETH), Part.HEAD)


def extension(model: MorphableModel, row: Part):
    arrays = (model.triangles.numpy(), model.uv_triangles.numpy(), model.uv.double().numpy())
    return find_inner_mouth_extension(*arrays, parts(model), row)


@pytest.mark.parametrize(("row", "offset_m"), ROWS)
def test_extensions_end_at_the_offset_from_their_row(model, row, offset_m):
    found = extension(model, row)
    mean = model.mean.double().numpy()
    assert np.abs(found.lengthened(mean, offset_m) - mean).max() < 1e-6
    assert found.weights.sum(1) == pytest.approx(1.0)
    assert (model.triangle_region[torch.from_numpy(found.triangles)] == Region.MOUTH_INTERIOR).all()


@pytest.mark.parametrize(("row", "offset_m"), ROWS)
def test_an_extension_moves_with_its_row(model, row, offset_m):
    found = extension(model, row)
    values = np.zeros((2, model.vertex_count, 3))
    values[:, found.edge] = [[[0.0, 1.0, 0.0]], [[1.0, 0.0, 2.0]]]
    moved = found.moved(values)
    assert np.allclose(moved[0, found.vertices], [0.0, 1.0, 0.0])
    assert np.allclose(moved[1, found.vertices], [1.0, 0.0, 2.0])
    others = np.setdiff1d(np.arange(model.vertex_count), found.vertices)
    assert np.array_equal(moved[:, others], values[:, others])
    reached = found.lengthened(values, offset_m)[0, found.vertices[np.argmax(found.reach)]]
    assert np.allclose(reached, np.array([0.0, 1.0, 0.0]) + offset_m)


def test_front_teeth_face_the_viewer_down_to_their_edge(model):
    normals = vertex_normals(model.mean[None], model.triangles)[0]
    front = model.vertex_mask(Region.TEETH) & (model.mean[:, 0].abs() < 0.012) & (model.mean[:, 2] > 0.015)
    assert front.sum() > 10
    assert (normals[front, 2] > 0.8).all()


def inside_shown(model: MorphableModel, **expression: float) -> int:
    """Pixels of teeth and their extensions in a frontal view of a face."""
    coefficients = torch.zeros(1, len(EXPRESSION_NAMES))
    for name, value in expression.items():
        coefficients[0, EXPRESSION_NAMES.index(name)] = value
    vertices = model.vertices(torch.zeros(1, model.identity_count), coefficients)[0]
    view = vertices + torch.tensor([0.0, 0.07, -0.4])
    clip = Camera.centered(800.0, 200, 200).clip(view)[None].contiguous()
    triangle = select_backend("cpu").rasterize(clip, model.triangles, (200, 200))[0, ..., 3].long() - 1
    rows = torch.from_numpy(parts(model) != Part.HEAD)
    return int(rows[triangle[triangle >= 0]].sum())


def test_extensions_show_through_an_open_mouth_alone(model):
    opened = inside_shown(model, jawOpen=0.3)
    assert opened > 400
    # Lips that are shut leave a line, which `MouthOcclusion` darkens.
    assert inside_shown(model) < 0.1 * opened
    assert inside_shown(model, mouthRollLower=1.0, mouthRollUpper=1.0) < 0.1 * opened


def test_a_row_that_is_no_strip_is_refused(model):
    arrays = (model.triangles.numpy(), model.uv_triangles.numpy(), model.uv.double().numpy())
    with pytest.raises(ValueError, match="strip"):
        find_inner_mouth_extension(
            *arrays, np.where(parts(model) == Part.HEAD, Part.UPPER_TEETH, Part.HEAD), Part.UPPER_TEETH
        )

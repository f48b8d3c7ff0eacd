"""The UV layout of the default model: inside the square, without overlap, symmetric, most of it face."""

import numpy as np
import pytest
import torch

from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region

RESOLUTION = 512


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


def signed_areas(model: MorphableModel) -> torch.Tensor:
    a, b, c = (model.uv[model.uv_triangles[:, k].long()].double() for k in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def test_layout_stays_in_the_square_and_no_triangle_is_flipped(model):
    assert model.uv.min() >= 0
    assert model.uv.max() <= 1
    assert (signed_areas(model) < 0).all()  # v grows downwards, so outside is clockwise


def test_no_texel_belongs_to_two_triangles(model):
    covered = float((uv_raster(model, RESOLUTION).triangle >= 0).mean())
    total = float(signed_areas(model).abs().sum())
    assert total == pytest.approx(covered, abs=2e-3)  # overlap would make the sum of areas larger than their union
    assert covered > 0.9


def test_layout_is_mirror_symmetric(model):
    triangle = uv_raster(model, RESOLUTION).triangle
    region = np.where(triangle >= 0, model.triangle_region.numpy()[np.maximum(triangle, 0)], -1)
    assert (region == region[:, ::-1]).mean() > 0.995


def test_the_face_gets_most_texels(model):
    areas = signed_areas(model).abs()
    face = torch.isin(model.triangle_region, torch.tensor([Region.SKIN, Region.LIPS, Region.EARS]))
    assert float(areas[face].sum()) > 0.45
    assert float(areas[model.triangle_region == Region.SCALP].sum()) < 0.2


def test_face_is_mapped_with_little_distortion(model):
    face = model.triangles[model.face_triangles].long()
    uv = model.uv[model.uv_triangles[model.face_triangles].long()].double()
    x = model.mean[face].double()
    edges_uv = torch.stack([uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]], -1)
    e1, e2 = x[:, 1] - x[:, 0], x[:, 2] - x[:, 0]
    length = e1.norm(dim=1)
    along = (e1 * e2).sum(1) / length
    across = (e2.square().sum(1) - along.square()).clamp(min=1e-16).sqrt()
    edges = torch.zeros_like(edges_uv)
    edges[:, 0, 0], edges[:, 0, 1], edges[:, 1, 1] = length, along, across
    stretch = torch.linalg.svdvals(edges_uv @ torch.linalg.inv(edges))
    assert float((stretch[:, 0] / stretch[:, 1]).median()) < 1.7


def test_positions_interpolate_smoothly_over_the_face(model):
    coverage = uv_raster(model, RESOLUTION)
    positions = coverage.interpolate(model.mean.numpy(), model.triangles.numpy())
    centre = positions[RESOLUTION // 3, RESOLUTION // 2]
    assert abs(float(centre[0])) < 2e-3
    assert float(centre[2]) > 0.0
    assert coverage.barycentric.sum(-1)[coverage.triangle >= 0] == pytest.approx(1.0, abs=1e-4)

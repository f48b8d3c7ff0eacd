"""Teeth and gums: behind the lips with every expression, the lower row with the jaw."""

import numpy as np
import pytest
import torch

from fitme.arrays import BoolArray, Float32Array
from fitme.parts.drawn_head import DrawnHead, drawn_head
from fitme.render.cpu.rasterize import rasterize_rows
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES, expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel

INNER_LIPS = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
"""MediaPipe's landmarks round the opening of the lips."""
SIZE_PX = 200
HALF_WIDTH_M = 0.05
MARGIN_PX = 9
"""Distance from the opening up to which a tooth may show: landmarks round it are a coarse polygon."""


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="module")
def drawn(model: MorphableModel) -> DrawnHead:
    return drawn_head(model)


def part(drawn: DrawnHead, name: str):
    return next(found for found in drawn.opaque if found.part.name == name)


def rotation(yaw: float):
    cosine, sine = np.cos(yaw), np.sin(yaw)
    return np.array([[cosine, 0.0, sine], [0.0, 1.0, 0.0], [-sine, 0.0, cosine]])


def outside_the_lips(model: MorphableModel, drawn: DrawnHead, head: Float32Array, yaw: float) -> int:
    """Pixels of teeth and gums that show elsewhere than in the opening of the lips, in a parallel projection."""
    middle = np.array([0.0, -0.066, 0.0])
    view = (drawn.posed(head)[0] - middle) @ rotation(yaw).T / (HALF_WIDTH_M, -HALF_WIDTH_M, -0.3)
    clip = np.concatenate([view, np.ones((len(view), 1))], 1)
    rast = np.zeros((SIZE_PX, SIZE_PX, 4))
    rasterize_rows(clip, drawn.triangles.numpy(), rast, 0, SIZE_PX)
    face = rast[..., 3].astype(int) - 1
    in_mouth = np.zeros(len(drawn.triangles), bool)
    for found in drawn.opaque:
        in_mouth[found.faces] = found.part.behind_lips
    shown = (face >= 0) & in_mouth[np.maximum(face, 0)]
    lips = model.landmarks(torch.from_numpy(head)[None])[0, list(INNER_LIPS)].numpy()
    place = ((lips - middle) @ rotation(yaw).T / (HALF_WIDTH_M, -HALF_WIDTH_M, 1.0))[:, :2]
    return int((shown & ~near_polygon((place + 1.0) / 2.0 * SIZE_PX)).sum())


def near_polygon(corners) -> BoolArray:
    import cv2

    mask = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    cv2.fillPoly(mask, [np.rint(corners).astype(np.int32)], 1)
    return cv2.dilate(mask, np.ones((2 * MARGIN_PX + 1,) * 2, np.uint8)) > 0


@pytest.mark.parametrize("seed", [None, 1, 2])
def test_no_tooth_penetrates_the_skin_with_any_expression(model: MorphableModel, drawn: DrawnHead, seed: int | None):
    identity = torch.zeros(1, model.identity_count)
    if seed is not None:
        identity = torch.randn(identity.shape, generator=torch.Generator().manual_seed(seed))
    expressions = torch.cat([torch.zeros(1, EXPRESSION_COUNT), torch.eye(EXPRESSION_COUNT)])
    heads = model.vertices(identity.expand(len(expressions), -1), expressions).numpy()
    found = {
        (name, yaw): outside_the_lips(model, drawn, head, yaw)
        for name, head in zip(("neutral", *EXPRESSION_NAMES), heads, strict=True)
        for yaw in (0.0, 0.8)
    }
    assert {key: count for key, count in found.items() if count > 0} == {}


def test_the_lower_row_moves_with_the_jaw_and_the_upper_one_stays(model: MorphableModel, drawn: DrawnHead):
    jaw = model.expression_basis[expression_index("jawOpen")].numpy()
    lower = part(drawn, "lowerTeeth").part.binding.displacements(jaw)
    assert lower[:, 1].max() < -0.005
    assert np.abs(part(drawn, "upperTeeth").part.binding.displacements(jaw)).max() < 1e-6
    # Rigid up to the linear model of a rotation: distances between the row's points stay.
    neutral = part(drawn, "lowerTeeth").part.binding.apply(model.mean.numpy())
    gaps = [np.linalg.norm(points[1:] - points[:-1], axis=1) for points in (neutral, neutral + 0.5 * lower)]
    np.testing.assert_allclose(gaps[1], gaps[0], rtol=0.15, atol=1e-5)

"""Distances of expressions, and farthest-point sampling of expressions."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fitme.fit.texture.expression_distance import displacements, expression_axes, expression_gram, farthest_expressions
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.morphable_model import MorphableModel

COUNT = 16


@pytest.fixture(scope="module")
def gram(model: MorphableModel) -> npt.NDArray[np.float64]:
    return expression_gram(model).double().numpy()


def faces(*names: str) -> npt.NDArray[np.float64]:
    rows = np.zeros((len(names), EXPRESSION_COUNT))
    for row, name in zip(rows, names, strict=True):
        row[expression_index(name)] = 1.0
    return rows


def test_distances_are_those_of_the_face_s_vertices(model: MorphableModel, gram: npt.NDArray[np.float64]) -> None:
    one, other = torch.rand(2, EXPRESSION_COUNT, generator=torch.Generator().manual_seed(0))
    moved = torch.einsum("e,evx->vx", one - other, model.expression_basis)[model.face_vertices]
    found = displacements(one.double().numpy()[None], other.double().numpy(), gram)
    np.testing.assert_allclose(found, float((moved**2).sum(-1).mean().sqrt()), rtol=1e-4)
    points = torch.stack([one, other]).double().numpy() @ expression_axes(gram)
    np.testing.assert_allclose(np.linalg.norm(points[0] - points[1]), found[0], rtol=1e-4)
    assert displacements(faces("jawOpen"), faces("jawOpen")[0], gram) == 0.0


def test_an_open_jaw_is_farther_from_neutral_than_a_raised_brow(gram: npt.NDArray[np.float64]) -> None:
    brow, jaw = displacements(faces("browInnerUp", "jawOpen"), np.zeros(EXPRESSION_COUNT), gram)
    assert 0.0002 < brow < jaw < 0.02


def test_the_most_different_expressions_are_kept(gram: npt.NDArray[np.float64]) -> None:
    nearly = np.concatenate([np.zeros((20, EXPRESSION_COUNT)), faces("jawOpen", "mouthPucker", "browDownLeft")])
    nearly += 1e-3 * np.random.default_rng(0).random(nearly.shape)
    chosen = farthest_expressions(nearly, gram, 4)
    assert {20, 21} <= set(chosen)
    assert len(set(chosen)) == 4
    many = np.random.default_rng(1).random((30, EXPRESSION_COUNT))
    assert len(set(farthest_expressions(many, gram, COUNT))) == COUNT
    assert sorted(farthest_expressions(many[:3], gram, COUNT)) == [0, 1, 2]

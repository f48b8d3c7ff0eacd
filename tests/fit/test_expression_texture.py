"""Correctives of the albedo from what single keyframes show."""

import numpy as np
import numpy.typing as npt
import torch

from fitme.fit.delit import DelitView
from fitme.fit.expression_texture import (
    MOST_EXPRESSIONS,
    ExpressionView,
    albedo_correctives,
    expression_gram,
    spread_expressions,
)
from fitme.fit.fusion import FusionSettings
from fitme.fit.unprojection import texel_table
from fitme.shape import MorphableModel
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.regions import Region

RESOLUTION = 64
SETTINGS = FusionSettings()


def faces(*names: str) -> npt.NDArray[np.float32]:
    rows = np.zeros((len(names), EXPRESSION_COUNT), np.float32)
    for row, name in zip(rows, names, strict=True):
        row[expression_index(name)] = 1.0
    return rows


def seen(
    index: npt.NDArray[np.number], albedo: npt.NDArray[np.number], weight: float, expression: npt.NDArray[np.float32]
) -> ExpressionView:
    """Texels (M,) as one picture shows them."""
    weights = np.full(len(index), weight, np.float16)
    return ExpressionView(DelitView(index.astype(np.int32), albedo.astype(np.float16), weights), expression, 1.0)


def test_inner_products_are_those_of_displacements(model: MorphableModel) -> None:
    expression = torch.rand(EXPRESSION_COUNT, generator=torch.Generator().manual_seed(0))
    moved = torch.einsum("e,evx->vx", expression, model.expression_basis)[model.face_vertices]
    squared = float(expression @ expression_gram(model) @ expression)
    np.testing.assert_allclose(squared, float((moved**2).sum(-1).mean()), rtol=1e-4)


def test_each_expression_gets_back_what_its_keyframe_showed(model: MorphableModel) -> None:
    table = texel_table(model, RESOLUTION)
    count = len(table.rows)
    skin = np.flatnonzero(table.region == Region.SKIN)
    g = np.random.default_rng(0)
    # Two keyframes show half of the skin each, a fold where only one of them has it.
    own = g.uniform(0.2, 0.6, (2, count, 3)).astype(np.float32)
    fused = own.mean(0)
    halves = [skin[: 2 * len(skin) // 3], skin[len(skin) // 3 :]]
    expressions = faces("mouthSmileLeft", "browInnerUp")
    views = [
        seen(half, albedo[half], 5.0, expression)
        for half, albedo, expression in zip(halves, own, expressions, strict=True)
    ]
    found = albedo_correctives(table, fused, views, expression_gram(model), SETTINGS)
    assert found is not None
    for row, expression in zip(found.deltas.float().numpy(), found.expressions.numpy(), strict=True):
        index = int((expression @ expressions.T).argmax())
        texels = row[table.rows, table.columns]
        shown = np.zeros(count, bool)
        shown[halves[index]] = True
        assert np.abs(texels[shown] - (own[index] - fused)[shown]).max() < 0.02
        assert not texels[~shown].any()


def test_hair_ears_and_neck_stay(model: MorphableModel) -> None:
    table = texel_table(model, RESOLUTION)
    count = len(table.rows)
    views = [
        seen(np.arange(count), np.full((count, 3), level), 1.0, expression)
        for level, expression in zip((0.2, 0.6), faces("jawOpen", "mouthPucker"), strict=True)
    ]
    fused = np.full((count, 3), 0.4, np.float32)
    found = albedo_correctives(table, fused, views, expression_gram(model), SETTINGS)
    assert found is not None
    texels = found.deltas.float().numpy()[:, table.rows, table.columns]
    still = np.isin(table.region, [int(region) for region in (Region.SCALP, Region.EARS, Region.NECK)])
    assert not texels[:, still].any()
    assert (np.abs(texels[:, table.region == Region.LIPS]) > 0.1).all()


def test_one_keyframe_has_nothing_of_its_own(model: MorphableModel) -> None:
    table = texel_table(model, 16)
    one = seen(np.zeros(1), np.zeros((1, 3)), 1.0, faces("jawOpen")[0])
    fused = np.zeros((len(table.rows), 3), np.float32)
    assert albedo_correctives(table, fused, [one], expression_gram(model), SETTINGS) is None


def test_the_most_different_expressions_are_kept(model: MorphableModel) -> None:
    gram = expression_gram(model).double().numpy()
    nearly = np.concatenate([np.zeros((20, EXPRESSION_COUNT)), faces("jawOpen", "mouthPucker", "browDownLeft")])
    nearly += 1e-3 * np.random.default_rng(0).random(nearly.shape)
    chosen = spread_expressions(nearly, gram, 4)
    assert {20, 21} <= set(chosen)
    assert len(set(chosen)) == 4
    many = np.random.default_rng(1).random((30, EXPRESSION_COUNT))
    assert len(set(spread_expressions(many, gram, MOST_EXPRESSIONS))) == MOST_EXPRESSIONS
    assert sorted(spread_expressions(many[:3], gram, MOST_EXPRESSIONS)) == [0, 1, 2]

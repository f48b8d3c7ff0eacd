"""Extraction of albedo correctives from single frames."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.expression_correctives import (
    GRAM_STRIDE,
    ClosedLids,
    ExpressionView,
    albedo_correctives,
    principal_mixing,
)
from fitme.fit.texture.expression_distance import expression_gram
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.skin.completion import blink_of, lid_share
from fitme.fit.texture.unprojection import texel_table
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

RESOLUTION = 64
SETTINGS = FusionSettings()


def faces(*names: str) -> npt.NDArray[np.float32]:
    rows = np.zeros((len(names), EXPRESSION_COUNT), np.float32)
    for row, name in zip(rows, names, strict=True):
        row[expression_index(name)] = 1.0
    return rows


def view_of(
    index: npt.NDArray[np.number], albedo: npt.NDArray[np.number], weight: float, expression: npt.NDArray[np.float32]
) -> ExpressionView:
    """View of the texels (M,) by one frame."""
    weights = np.full(len(index), weight, np.float16)
    return ExpressionView(ViewAlbedo(index.astype(np.int32), albedo.astype(np.float16), weights), expression, 1.0)


def test_each_expression_recovers_the_albedo_of_its_frame(model: MorphableModel) -> None:
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
        view_of(half, albedo[half], 5.0, expression)
        for half, albedo, expression in zip(halves, own, expressions, strict=True)
    ]
    found = albedo_correctives(table, fused, fused, views, expression_gram(model), SETTINGS)
    assert found is not None
    rows = np.tensordot(found.mixing.numpy(), found.deltas.float().numpy(), 1)
    for row, expression in zip(rows, found.expressions.numpy(), strict=True):
        index = int((expression @ expressions.T).argmax())
        texels = row[table.rows, table.columns]
        shown = np.zeros(count, bool)
        shown[halves[index]] = True
        assert np.abs(texels[shown] - (own[index] - fused)[shown]).max() < 0.02
        assert np.abs(texels[~shown]).max() < 1e-3


def test_hair_ears_and_neck_stay(model: MorphableModel) -> None:
    table = texel_table(model, RESOLUTION)
    count = len(table.rows)
    views = [
        view_of(np.arange(count), np.full((count, 3), level), 1.0, expression)
        for level, expression in zip((0.2, 0.6), faces("jawOpen", "mouthPucker"), strict=True)
    ]
    fused = np.full((count, 3), 0.4, np.float32)
    found = albedo_correctives(table, fused, fused, views, expression_gram(model), SETTINGS)
    assert found is not None
    texels = np.tensordot(found.mixing.numpy(), found.deltas.float().numpy(), 1)[:, table.rows, table.columns]
    still = np.isin(table.region, [int(region) for region in (Region.SCALP, Region.EARS, Region.NECK)])
    assert not texels[:, still].any()
    assert (np.abs(texels[:, table.region == Region.LIPS]) > 0.1).all()


def test_lids_follow_the_blinks_alone(model: MorphableModel) -> None:
    """Frames with open eyes show brow and lashes where a lid unfolds; closed lids do not, whatever the face does."""
    table = texel_table(model, RESOLUTION)
    count = len(table.rows)
    share = lid_share(table, blink_of(model))
    lid, left = share[:, 0] > 0.99, table.columns >= RESOLUTION // 2
    assert 10 < lid.sum() < 0.05 * count
    maps = np.full((count, 3), 0.3, np.float32)
    smeared = view_of(np.arange(count), np.full((count, 3), 0.1), 5.0, faces("mouthSmileLeft")[0])
    lids = ClosedLids(np.full((count, 3), 0.4, np.float32), share)

    def albedo(views: list[ExpressionView], expression: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        found = albedo_correctives(table, maps, maps, views, expression_gram(model), SETTINGS, lids)
        assert found is not None
        diffuse = torch.from_numpy(table.to_filled_map(maps))[None]
        return table.from_map(found.albedo(diffuse, torch.from_numpy(expression))[0].numpy())

    smile = faces("mouthSmileLeft")[0]
    assert albedo([smeared], smile)[lid].mean() == pytest.approx(0.3, abs=0.01), "open: as the maps have it"
    wink = smile + faces("eyeBlinkLeft")[0]
    closed = albedo([smeared], wink)
    assert closed[lid & left].mean() == pytest.approx(0.4, abs=0.01)
    assert closed[lid & ~left].mean() == pytest.approx(0.3, abs=0.01)
    # A frame that shows the closed lid knows better.
    seen = view_of(np.arange(count), np.full((count, 3), 0.5), 50.0, wink)
    assert albedo([smeared, seen], wink)[lid & left].mean() == pytest.approx(0.5, abs=0.01)


def test_mixing_is_the_best_approximation_of_its_rank() -> None:
    """The reference is the singular value decomposition; a stride hardly costs anything where neighbours are alike."""
    g = np.random.default_rng(2)
    smooth = np.repeat(g.normal(size=(9, 400, 3)), GRAM_STRIDE, axis=1).astype(np.float32)  # (M, N, 3)
    for count in (1, 4, 9):
        mixing = principal_mixing(smooth, count)
        flat = smooth.reshape(len(smooth), -1)
        u, s, vt = np.linalg.svd(flat, full_matrices=False)
        best = (u[:, :count] * s[:count]) @ vt[:count]
        assert mixing.shape == (9, count)
        assert mixing.T @ mixing == pytest.approx(np.eye(count), abs=1e-5)
        assert mixing @ (mixing.T @ flat) == pytest.approx(best, abs=1e-3)


def test_a_mouth_interior_of_a_single_frame_is_a_corrective(model: MorphableModel) -> None:
    """Texels that the frame does not show follow the fused albedo; teeth have the same tone with every expression."""
    table = texel_table(model, RESOLUTION)
    maps = np.full((len(table.rows), 3), 0.5, np.float32)
    fused = np.where(table.within((Region.TEETH, Region.MOUTH_INTERIOR))[:, None], 0.8, maps).astype(np.float32)
    (expression,) = faces("jawOpen")
    lips = np.flatnonzero(table.region == Region.LIPS)
    one = view_of(lips, np.full((len(lips), 3), 0.2), 1e3, expression)
    found = albedo_correctives(table, maps, fused, [one], expression_gram(model), SETTINGS)
    assert found is not None
    diffuse = torch.from_numpy(table.to_filled_map(maps))[None]
    applied = table.from_map(found.albedo(diffuse, torch.from_numpy(expression))[0].numpy())
    np.testing.assert_allclose(applied[lips], 0.2, atol=2e-3)
    np.testing.assert_allclose(applied[table.region == Region.MOUTH_INTERIOR], 0.8, atol=2e-3)
    np.testing.assert_allclose(applied[table.region == Region.TEETH], 0.5, atol=2e-3)
    far = table.from_map(found.albedo(diffuse, torch.zeros_like(found.expressions[0]))[0].numpy())
    np.testing.assert_allclose(far, maps, atol=0.05)


def test_no_correctives_without_frames(model: MorphableModel) -> None:
    table = texel_table(model, 16)
    nothing = np.zeros((len(table.rows), 3), np.float32)
    assert albedo_correctives(table, nothing, nothing, [], expression_gram(model), SETTINGS) is None

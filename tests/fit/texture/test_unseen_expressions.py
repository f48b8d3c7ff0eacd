"""Prior of expressions that no image shows: applied at them alone, and never over what images show."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fitme.errors import ModelFileError
from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.expression_correctives import ExpressionView, albedo_correctives
from fitme.fit.texture.expression_distance import expression_gram
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.expression_prior import (
    ExpressionPrior,
    load_expression_prior,
    packaged_expression_prior,
    save_expression_prior,
)
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

RESOLUTION = 64
TONE = 0.3
CHANGE = -0.2


def prior() -> ExpressionPrior:
    return ExpressionPrior(packaged_expression_prior().expressions, torch.full((1, 32, 32, 3), CHANGE))


def correctives(model: MorphableModel, shown: np.ndarray) -> tuple[TexelTable, AlbedoCorrectives]:
    """Correctives of a person of one tone, seen whole with one expression (52,)."""
    table = texel_table(model, RESOLUTION)
    maps = np.full((len(table.rows), 3), TONE, np.float32)
    every = np.arange(len(maps))
    view = ViewAlbedo(every.astype(np.int32), maps.astype(np.float16), np.full(len(maps), 5.0, np.float16))
    found = albedo_correctives(
        table, maps, maps, [ExpressionView(view, shown, 1.0)], expression_gram(model), FusionSettings(), None, prior()
    )
    assert found is not None
    return table, found


def cheek_at(table: TexelTable, found: AlbedoCorrectives, expression: np.ndarray) -> float:
    diffuse = torch.full((1, RESOLUTION, RESOLUTION, 3), TONE)
    albedo = found.albedo(diffuse, torch.from_numpy(expression))[0].numpy()
    return float(table.from_map(albedo)[table.region == Region.SKIN].mean())


def test_smile_that_no_image_shows_has_the_prior_and_the_neutral_face_has_not(model: MorphableModel) -> None:
    neutral, smile = np.zeros(EXPRESSION_COUNT, np.float32), prior().expressions[0].numpy()
    table, found = correctives(model, neutral)
    assert cheek_at(table, found, neutral) == pytest.approx(TONE, abs=0.002)
    assert cheek_at(table, found, smile) == pytest.approx(TONE * np.exp(CHANGE), abs=0.006)
    half = cheek_at(table, found, 0.5 * smile)
    assert cheek_at(table, found, smile) < half < TONE


def test_an_open_jaw_is_no_smile(model: MorphableModel) -> None:
    open_jaw = np.zeros(EXPRESSION_COUNT, np.float32)
    open_jaw[expression_index("jawOpen")] = 0.6
    table, found = correctives(model, np.zeros(EXPRESSION_COUNT, np.float32))
    assert cheek_at(table, found, open_jaw) == pytest.approx(TONE, abs=0.003)


def test_a_smile_that_was_seen_decides(model: MorphableModel) -> None:
    smile = prior().expressions[0].numpy()
    table, found = correctives(model, smile)
    assert len(found.expressions) == 1
    assert cheek_at(table, found, smile) == pytest.approx(TONE, abs=0.002)


def test_prior_is_kept_by_its_file(tmp_path: Path) -> None:
    path = tmp_path / "prior.safetensors"
    save_expression_prior(prior(), path)
    loaded = load_expression_prior(path)
    torch.testing.assert_close(loaded.expressions, prior().expressions)
    torch.testing.assert_close(loaded.changes, prior().changes, atol=0.003, rtol=0.0)
    path.write_bytes(b"nothing")
    with pytest.raises(ModelFileError, match="fitme train expressions"):
        load_expression_prior(path)

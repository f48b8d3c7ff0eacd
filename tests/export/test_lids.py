"""Files have plain lids: what open eyes show of fold and lashes is not drawn out over them in a blink."""

from dataclasses import replace

import numpy as np
import torch

from fitme.avatar import Avatar
from fitme.export.lids import BLINK, maps_with_lids
from fitme.export.portrait import expression_of
from fitme.fit.texture.skin.completion import blink_of, lid_share
from fitme.fit.texture.unprojection import texel_table
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage

SIDE = 256


def test_streaks_of_lids_go_and_all_else_stays() -> None:
    model = load_default_model()
    skin = ReflectanceMaps.constant((0.4, 0.3, 0.25), 0.5, SIDE)
    streaks = torch.where(torch.arange(SIDE) % 4 < 2, 0.15, 0.0)[None, None, :, None]
    open_eyes = replace(skin, diffuse=skin.diffuse - streaks)
    # Closed eyes have plain skin.
    correctives = AlbedoCorrectives(
        expression_of(BLINK)[None], torch.eye(EXPRESSION_COUNT), torch.ones(1, 1), streaks.expand(1, SIDE, SIDE, 3)
    )
    avatar = Avatar(torch.zeros(model.identity_count), open_eyes, 1.0, Stage.TUNING, correctives=correctives)
    table = texel_table(model, SIDE)
    lid = lid_share(table, blink_of(model))[:, 0]
    before, after = (table.from_map(maps.diffuse[0].numpy()) for maps in (open_eyes, maps_with_lids(avatar, model)))
    contrast, left = (values[lid > 0.9].std(0).mean() for values in (before, after))
    assert left < 0.4 * contrast
    np.testing.assert_array_equal(after[lid == 0.0], before[lid == 0.0])
    assert maps_with_lids(replace(avatar, correctives=None), model) is open_eyes

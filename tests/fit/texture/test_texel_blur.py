"""Low-pass filters over the texels of a head."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.fit.texture.texel_blur import low_pass
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), 128)


@settings(max_examples=10, deadline=None)
@given(inside=st.floats(-2.0, 2.0), outside=st.floats(-2.0, 2.0))
def test_texels_outside_have_no_influence(table: TexelTable, inside: float, outside: float) -> None:
    skin = (table.region == Region.SKIN)[:, None]
    values = np.where(skin, inside, outside).astype(np.float32) * np.ones((1, 2), np.float32)
    found = low_pass(table, values, skin.astype(np.float32), 0.05)
    np.testing.assert_allclose(found[skin[:, 0]], inside, atol=1e-5)


def test_patterns_are_removed_and_gradients_kept(table: TexelTable) -> None:
    slope = table.columns / 128.0
    fine = (-1.0) ** (table.columns + table.rows)
    values = (slope + 0.3 * fine).astype(np.float32)[:, None]
    found = low_pass(table, values, np.ones_like(values), 0.02)[:, 0]
    inner = (table.region == Region.SKIN) & (np.abs(table.columns - 64) < 30) & (np.abs(table.rows - 45) < 20)
    np.testing.assert_allclose(found[inner], slope[inner], atol=0.02)

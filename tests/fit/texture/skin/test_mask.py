"""Skin probabilities and the mask of the neck's skin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.fit.texture.skin.mask import neck_boundary_fade, neck_skin_mask, skin_probabilities
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

RESOLUTION = 128
SKIN = np.array([0.45, 0.3, 0.22], np.float32)


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), RESOLUTION)


def everywhere(table: TexelTable, value: np.ndarray | float) -> np.ndarray:
    return np.broadcast_to(np.asarray(value, np.float32), (len(table.rows), np.size(value))).copy()


@settings(max_examples=20, deadline=None)
@given(light=st.floats(0.35, 1.8), warmth=st.floats(-0.1, 0.1))
def test_skin_in_odd_light_is_skin(table: TexelTable, light: float, warmth: float) -> None:
    observed = everywhere(table, SKIN * light * np.exp([warmth, 0.0, -warmth]))
    skin_probability = skin_probabilities(table, observed, everywhere(table, SKIN), everywhere(table, 1.0))
    assert skin_probability.min() > 0.9


@pytest.mark.parametrize("color", [(0.02, 0.02, 0.02), (0.8, 0.8, 0.8), (0.1, 0.15, 0.4), (0.05, 0.03, 0.02)], ids=str)
def test_collars_and_hair_are_no_skin(table: TexelTable, color: tuple[float, float, float]) -> None:
    observed, skin = everywhere(table, np.array(color)), everywhere(table, SKIN)
    neck = table.region == Region.NECK
    assert skin_probabilities(table, observed, skin, everywhere(table, 1.0))[neck].max() < 0.1


def test_a_collar_is_left_out_with_a_margin(table: TexelTable) -> None:
    neck = table.region == Region.NECK
    edge = int(np.median(table.rows[neck]))
    collar = neck & (table.rows > edge)
    skin_probability = (~collar).astype(np.float32)[:, None]
    share = neck_skin_mask(table, skin_probability, everywhere(table, 1.0))[:, 0]
    assert share[collar].max() < 0.55
    assert share[collar & (table.rows > edge + 3)].max() < 0.05
    assert share[neck & (table.rows < edge - 8)].min() > 0.95
    assert (share[~neck] == 1.0).all()


def test_unobserved_texels_are_no_collar(table: TexelTable) -> None:
    nothing = everywhere(table, 0.0)
    assert (neck_skin_mask(table, nothing, nothing) == 1.0).all()


def test_confidence_fades_towards_unobserved_texels(table: TexelTable) -> None:
    neck = table.region == Region.NECK
    edge = int(np.median(table.rows[neck]))
    confidence = ((table.rows > edge) | ~neck).astype(np.float32)[:, None]
    factor = neck_boundary_fade(table, confidence)[:, 0]
    assert factor[neck & (table.rows == edge + 1)].max() < 0.5
    assert factor[neck & (table.rows > edge + 8)].min() > 0.95
    assert (factor[~neck] == 1.0).all()

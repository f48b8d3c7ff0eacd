"""Tone that spreads from what was seen to what was not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.fit.toning import toned
from fitme.fit.unprojection import TexelTable, texel_table
from fitme.shape import load_default_model
from fitme.shape.regions import Region

RESOLUTION = 128


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), RESOLUTION)


def gaps(table: TexelTable) -> np.ndarray:
    """(N, 1) what is seen of the skin: all but stripes of four texels."""
    skin = table.region == Region.SKIN
    return (skin & (table.columns % 16 >= 4)).astype(np.float32)[:, None]


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.3, 2.0), level=st.floats(0.1, 0.45))
def test_gaps_take_the_tone_beside_them(table: TexelTable, factor: float, level: float) -> None:
    share = gaps(table)
    pattern = 1.0 + 0.2 * np.sin(table.rows / 3.0)[:, None]
    expected = np.asarray(level * pattern * np.ones((1, 3)), np.float32)
    seen = np.where(share > 0.0, factor * (expected + 0.01) - 0.01, 0.0).astype(np.float32)
    found = toned(table, expected, seen, share)
    hidden = (share[:, 0] == 0.0) & (table.region == Region.SKIN)
    wanted = np.clip(factor * (expected + 0.01) - 0.01, 0.0, 1.0)
    assert np.median(np.abs(found[hidden] - wanted[hidden])) < 1e-3  # with its own pattern
    assert np.abs(found[hidden] - expected[hidden]).max() > 0.05 * abs(factor - 1.0) * level


def test_regions_keep_their_tones_apart(table: TexelTable) -> None:
    share = (table.region == Region.SKIN).astype(np.float32)[:, None]
    expected = np.full((len(table.rows), 3), 0.4, np.float32)
    seen = np.where(share > 0.0, 0.2, 0.0).astype(np.float32) * np.ones((1, 3), np.float32)
    found = toned(table, expected, seen, share)
    for region in (Region.EYES, Region.TEETH, Region.MOUTH_INTERIOR):
        assert np.allclose(found[table.region == region], 0.4, atol=1e-6)
    assert np.median(found[table.region == Region.LIPS]) < 0.3


def test_bright_teeth_do_not_light_the_depth_of_a_mouth(table: TexelTable) -> None:
    teeth = table.region == Region.TEETH
    expected = np.where(teeth, 0.6, 0.05).astype(np.float32)[:, None] * np.ones((1, 3), np.float32)
    share = (teeth & (table.rows % 2 == 0)).astype(np.float32)[:, None]
    found = toned(table, expected, np.full_like(expected, 0.9), share)
    inside = np.isin(table.region, [int(Region.TEETH), int(Region.MOUTH_INTERIOR)])
    np.testing.assert_allclose(found[inside], expected[inside])


def test_nothing_seen_changes_nothing(table: TexelTable) -> None:
    expected = np.random.default_rng(0).uniform(0.1, 0.8, (len(table.rows), 3)).astype(np.float32)
    nothing = np.zeros((len(table.rows), 1), np.float32)
    assert np.allclose(toned(table, expected, np.zeros_like(expected), nothing), expected, atol=1e-6)

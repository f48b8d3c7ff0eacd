"""Albedo completion: colour ratios spread from observed to unobserved texels."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.fit.texture.albedo_completion import ObservedAlbedo, complete_albedo
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

RESOLUTION = 128
SKIN = np.array([0.45, 0.3, 0.22], np.float32)
HAIR = np.array([0.03, 0.02, 0.015], np.float32)


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), RESOLUTION)


def gaps(table: TexelTable) -> np.ndarray:
    """(N, 1) observed share: 1 on the skin but for stripes of four texels."""
    skin = table.region == Region.SKIN
    return (skin & (table.columns % 16 >= 4)).astype(np.float32)[:, None]


@settings(max_examples=10, deadline=None)
@given(factor=st.floats(0.3, 2.0), level=st.floats(0.1, 0.45))
def test_gaps_are_filled_from_neighbouring_texels(table: TexelTable, factor: float, level: float) -> None:
    share = gaps(table)
    pattern = 1.0 + 0.2 * np.sin(table.rows / 3.0)[:, None]
    expected = np.asarray(level * pattern * np.ones((1, 3)), np.float32)
    observed = np.where(share > 0.0, factor * (expected + 0.01) - 0.01, 0.0).astype(np.float32)
    found = complete_albedo(table, expected, ObservedAlbedo(observed, share, np.ones_like(share), np.ones_like(share)))
    hidden = (share[:, 0] == 0.0) & (table.region == Region.SKIN)
    wanted = np.clip(factor * (expected + 0.01) - 0.01, 0.0, 1.0)
    assert np.median(np.abs(found[hidden] - wanted[hidden])) < 1e-3  # with its own pattern
    assert np.abs(found[hidden] - expected[hidden]).max() > 0.05 * abs(factor - 1.0) * level


def test_regions_are_completed_separately(table: TexelTable) -> None:
    share = (table.region == Region.SKIN).astype(np.float32)[:, None]
    expected = np.full((len(table.rows), 3), 0.4, np.float32)
    observed = np.where(share > 0.0, 0.2, 0.0).astype(np.float32) * np.ones((1, 3), np.float32)
    found = complete_albedo(table, expected, ObservedAlbedo(observed, share, np.ones_like(share), np.ones_like(share)))
    for region in (Region.EYES, Region.TEETH, Region.MOUTH_INTERIOR):
        assert np.allclose(found[table.region == region], 0.4, atol=1e-6)
    assert np.median(found[table.region == Region.LIPS]) < 0.3


def test_bright_teeth_do_not_light_the_depth_of_a_mouth(table: TexelTable) -> None:
    teeth = table.region == Region.TEETH
    expected = np.where(teeth, 0.6, 0.05).astype(np.float32)[:, None] * np.ones((1, 3), np.float32)
    share = (teeth & (table.rows % 2 == 0)).astype(np.float32)[:, None]
    found = complete_albedo(
        table, expected, ObservedAlbedo(np.full_like(expected, 0.9), share, np.ones_like(share), np.ones_like(share))
    )
    inside = np.isin(table.region, [int(Region.TEETH), int(Region.MOUTH_INTERIOR)])
    np.testing.assert_allclose(found[inside], expected[inside])


def test_without_observations_nothing_changes(table: TexelTable) -> None:
    expected = np.random.default_rng(0).uniform(0.1, 0.8, (len(table.rows), 3)).astype(np.float32)
    nothing = np.zeros((len(table.rows), 1), np.float32)
    assert np.allclose(
        complete_albedo(table, expected, ObservedAlbedo(np.zeros_like(expected), nothing, nothing, nothing)), expected
    )


def observed_from_the_front(table: TexelTable, forehead: np.ndarray) -> ObservedAlbedo:
    """Observed albedo of the middle of face and neck, skin, and of the middle of scalp and forehead, `forehead`."""
    middle = np.abs(table.columns - RESOLUTION / 2) < 0.25 * RESOLUTION
    known = np.isin(table.region, [int(region) for region in (Region.SKIN, Region.LIPS, Region.NECK, Region.SCALP)])
    upper = (table.region == Region.SCALP) | (table.rows < 0.15 * RESOLUTION)
    share = (middle & known).astype(np.float32)[:, None]
    albedo = np.where(upper[:, None], forehead, SKIN).astype(np.float32) * share
    skin_probability = (~upper).astype(np.float32)[:, None]
    return ObservedAlbedo(albedo, share, skin_probability, np.ones_like(share))


def test_ears_and_neck_are_skin_though_hair_was_expected(table: TexelTable) -> None:
    observed = observed_from_the_front(table, HAIR)
    strands = 1.0 + 0.4 * np.sin(table.columns)[:, None]
    expected = np.where(observed.share > 0.0, SKIN, HAIR * strands).astype(np.float32)
    found = complete_albedo(table, expected, observed)
    for region in (Region.EARS, Region.NECK):
        middle = found[table.region == region]
        np.testing.assert_allclose(np.median(middle, 0), SKIN, rtol=0.08)
    hidden_scalp = (table.region == Region.SCALP) & (observed.share[:, 0] == 0.0)
    assert np.median(found[hidden_scalp], 0).max() < 2.0 * HAIR.max()


def test_beards_are_kept(table: TexelTable) -> None:
    """Hidden texels of a jaw that is as dark as hair may be as dark."""
    observed = observed_from_the_front(table, HAIR)
    jaw = (table.region == Region.SKIN) & (table.rows > 0.5 * RESOLUTION)
    bearded = ObservedAlbedo(
        np.where(jaw[:, None], HAIR * observed.share, observed.albedo).astype(np.float32),
        observed.share,
        np.where(jaw[:, None], 0.0, observed.skin_probability).astype(np.float32),
        observed.seen_well,
    )
    expected = np.tile(HAIR, (len(jaw), 1))
    hidden = jaw & (observed.share[:, 0] == 0.0)
    assert np.median(complete_albedo(table, expected, bearded)[hidden]) < 0.1
    assert np.median(complete_albedo(table, expected, observed)[hidden]) > 0.15


@settings(max_examples=6, deadline=None)
@given(level=st.floats(0.05, 0.7))
def test_hair_has_one_albedo_scale(table: TexelTable, level: float) -> None:
    """A partly observed scalp has the observed albedo everywhere, whatever was expected."""
    hair = np.array([level, 0.8 * level, 0.5 * level], np.float32)
    observed = observed_from_the_front(table, hair)
    expected = np.full((len(table.rows), 3), 0.2, np.float32)
    scalp = table.region == Region.SCALP
    found = complete_albedo(table, expected, observed)[scalp]
    np.testing.assert_allclose(np.median(found, 0), hair, rtol=0.05)


def test_sideburns_end_beside_the_ears_and_the_nape_thins_out_below_them(table: TexelTable) -> None:
    """A jaw that shows no beard is skin up to its ears; a hidden scalp becomes skin towards its lower end."""
    observed = observed_from_the_front(table, HAIR)
    found = complete_albedo(table, np.tile(HAIR, (len(table.rows), 1)), observed)
    ears = table.rows[table.region == Region.EARS]
    hidden = observed.share[:, 0] == 0.0
    cheek = hidden & (table.region == Region.SKIN)
    assert np.median(found[cheek & (table.rows > ears.mean() + 0.5 * (ears.max() - ears.mean()))]) > 0.15
    scalp = hidden & (table.region == Region.SCALP)
    upper, lower = scalp & (table.rows < ears.mean()), scalp & (table.rows > ears.max())
    assert upper.any() and lower.any()
    assert np.median(found[lower], 0).min() > 4.0 * np.median(found[upper], 0).max()


def test_stains_at_a_graze_are_not_the_tone_of_ears_and_neck(table: TexelTable) -> None:
    observed = observed_from_the_front(table, HAIR)
    skin = (observed.share[:, 0] > 0.0) & (table.region == Region.SKIN)
    edge = skin & (
        np.abs(table.columns / RESOLUTION - 0.5) > 0.9 * np.abs(table.columns[skin] / RESOLUTION - 0.5).max()
    )
    stained = replace(observed, albedo=np.where(edge[:, None], 0.5 * observed.albedo, observed.albedo))
    expected = np.full((len(table.rows), 3), 0.4, np.float32)
    neck = (table.region == Region.NECK) & (observed.share[:, 0] == 0.0)
    tones = [
        float(np.median(complete_albedo(table, expected, given)[neck]))
        for given in (
            observed,
            stained,
            replace(stained, seen_well=np.where(edge, 0.0, 1.0).astype(np.float32)[:, None]),
        )
    ]
    clean, with_stains, without = tones
    assert with_stains < 0.97 * clean
    assert abs(without - clean) < 0.3 * abs(with_stains - clean)

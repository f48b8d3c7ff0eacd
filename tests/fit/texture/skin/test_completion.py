"""Completion of unseen skin: grain, seam, lids and the forehead's lines, on textures made up of each."""

import numpy as np
import pytest

from fitme.fit.texture.skin.completion import (
    bare_scalp,
    blink_of,
    join_at_back,
    smooth_unseen,
    with_lids,
    without_forehead_lines,
)
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

RESOLUTION = 128


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), RESOLUTION)


def test_grain_leaves_unseen_necks_only(table: TexelTable):
    stripes = np.where(table.columns % 4 < 2, 0.25, 0.35)[:, None].repeat(3, 1).astype(np.float32)
    neck = table.region == Region.NECK
    seen = (table.columns < RESOLUTION // 2).astype(np.float32)[:, None]
    smooth = smooth_unseen(table, stripes, seen)
    inner = neck & (table.rows < 0.8 * RESOLUTION)
    assert smooth[inner & (seen[:, 0] == 0)].std() < 0.25 * stripes[inner].std()
    np.testing.assert_array_equal(smooth[neck & (seen[:, 0] == 1)], stripes[neck & (seen[:, 0] == 1)])
    np.testing.assert_array_equal(smooth[table.region == Region.SKIN], stripes[table.region == Region.SKIN])


def test_both_sides_of_the_cut_agree_and_what_was_seen_decides(table: TexelTable):
    left = (table.columns < RESOLUTION // 2)[:, None]
    halves = np.where(left, 0.2, 0.4).repeat(3, 1).astype(np.float32)
    cut = (table.columns < 2) & (table.rows > 0.2 * RESOLUTION) & (table.rows < 0.8 * RESOLUTION)
    none = np.zeros((len(halves), 1), np.float32)
    joined = join_at_back(table, halves, none)
    np.testing.assert_allclose(joined[cut], 0.3, atol=0.01)
    np.testing.assert_allclose(table.mirrored(joined)[cut], 0.3, atol=0.01)
    seen = join_at_back(table, halves, left.astype(np.float32))
    np.testing.assert_array_equal(seen[left[:, 0]], halves[left[:, 0]])
    np.testing.assert_allclose(table.mirrored(seen)[cut], 0.2, atol=0.03)


def test_lids_take_the_tone_of_the_skin_around_eyes_and_not_of_brows(table: TexelTable):
    model = load_default_model()
    blink = blink_of(model)
    motion = np.linalg.norm(table.weights @ blink, axis=1)
    lid = (motion > 0.5 * motion.max()) & (motion < 0.85 * motion.max()) & (table.region == Region.SKIN)
    albedo = np.where(lid, 0.05, 0.4)[:, None].repeat(3, 1).astype(np.float32)
    skin = np.where(lid, 0.0, 1.0)[:, None].astype(np.float32)
    painted = with_lids(table, albedo, skin, blink)
    assert painted[lid].mean() > 0.28
    far = motion < 0.01 * motion.max()
    np.testing.assert_array_equal(painted[far], albedo[far])
    np.testing.assert_array_equal(with_lids(table, albedo, np.zeros_like(skin), blink), albedo)


def test_lines_across_the_forehead_go_and_pores_stay():
    rows = np.mgrid[:RESOLUTION, :RESOLUTION][0]
    pores = np.random.default_rng(0).normal(0.0, 0.1, (RESOLUTION, RESOLUTION))
    lines = 0.5 * np.sin(rows / 1.5)
    slopes = np.stack([np.zeros_like(lines), lines + pores, np.ones_like(lines)], -1)
    normals = (slopes / np.linalg.norm(slopes, axis=-1, keepdims=True)).astype(np.float32)[None]
    smooth = without_forehead_lines(normals)
    forehead = np.s_[0, int(0.14 * RESOLUTION) : int(0.18 * RESOLUTION), int(0.4 * RESOLUTION) : int(0.6 * RESOLUTION)]
    across = (smooth[forehead][..., 1] / smooth[forehead][..., 2]).mean(1)
    assert np.abs(across).max() < 0.15
    assert (smooth[forehead][..., 1] / smooth[forehead][..., 2]).std() > 0.05
    below = np.s_[0, RESOLUTION // 2 :]
    np.testing.assert_allclose(smooth[below], normals[below], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(smooth, axis=-1), 1.0, atol=1e-5)


def test_a_bald_scalp_has_the_skin_s_tone_where_it_was_not_seen(table: TexelTable):
    scalp, face = table.region == Region.SCALP, table.region == Region.SKIN
    painted = np.where(scalp, 0.05, 0.4)[:, None].repeat(3, 1).astype(np.float32)
    seen = face.astype(np.float32)[:, None]
    skin = np.ones_like(seen)
    bare = bare_scalp(table, painted, seen, skin)
    np.testing.assert_allclose(bare[scalp], 0.4, atol=0.03)
    np.testing.assert_array_equal(bare[face], painted[face])
    everywhere = np.ones_like(seen)
    np.testing.assert_array_equal(bare_scalp(table, painted, everywhere, skin), painted)
    np.testing.assert_array_equal(bare_scalp(table, painted, np.zeros_like(seen), skin), painted)

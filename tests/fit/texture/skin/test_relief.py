"""Relief of skin from its albedo: hollows where it is darker, none under hair."""

import numpy as np
import pytest

from fitme.fit.texture.skin.relief import with_relief
from fitme.fit.texture.unprojection import TexelTable, texel_table
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

RESOLUTION = 256
FLAT = np.zeros((1, RESOLUTION, RESOLUTION, 3), np.float32) + np.array([0.0, 0.0, 1.0], np.float32)
ROW, COLUMN = 110, 170
"""Texel of a cheek."""


@pytest.fixture(scope="module")
def table() -> TexelTable:
    return texel_table(load_default_model(), RESOLUTION)


def albedo(table: TexelTable, dark: np.ndarray) -> np.ndarray:
    return np.where(dark, 0.2, 0.3)[:, None].repeat(3, 1).astype(np.float32)


def test_dark_dot_is_a_hollow_and_even_skin_is_flat(table: TexelTable) -> None:
    np.testing.assert_allclose(
        with_relief(table, FLAT, albedo(table, np.zeros(len(table.rows), bool))), FLAT, atol=1e-3
    )
    found = with_relief(table, FLAT, albedo(table, (table.rows == ROW) & (table.columns == COLUMN)))[0]
    np.testing.assert_allclose(np.linalg.norm(found, axis=-1), 1.0, atol=1e-5)
    # Left of the hollow the surface falls to the right, so that the normal leans to the right; above it, downwards.
    assert found[ROW, COLUMN - 1, 0] > 0.02
    assert found[ROW, COLUMN + 1, 0] < -0.02
    assert found[ROW - 1, COLUMN, 1] < -0.02
    assert found[ROW + 1, COLUMN, 1] > 0.02
    np.testing.assert_allclose(found[ROW, COLUMN + 12], FLAT[0, 0, 0], atol=1e-3)


def test_brows_have_no_relief(table: TexelTable) -> None:
    near = (np.abs(table.rows - ROW) < 6) & (np.abs(table.columns - COLUMN) < 12)
    strands = near & ((table.columns // 2) % 2 == 0)
    skin = table.region == Region.SKIN
    hair = np.where(near, 0.05, 0.3)[:, None].repeat(3, 1).astype(np.float32)
    hair[strands] = 0.07
    inner = (np.abs(table.rows - ROW) < 3) & (np.abs(table.columns - COLUMN) < 8) & skin
    found = table.from_map(with_relief(table, FLAT, hair)[0])
    assert np.abs(found[inner, :2]).max() < 0.01

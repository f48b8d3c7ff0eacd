"""Hair that hangs down beside the neck hangs down behind it as well, and clothes are none."""

from collections.abc import Callable

import numpy as np
import pytest

from fitme.arrays import Float32Array
from fitme.hair.coverage import completed_coverage
from fitme.hair.envelope import EnvelopeGrid
from fitme.hair.fit import fit_hair, hangs_down, is_long
from fitme.hair.hair import Hair
from fitme.hair.hanging import hanging_person, hanging_rows
from fitme.hair.settings import HairSettings
from fitme.hair.strands import HairKind, hair_locks
from fitme.hair.texels import TEXTURE_COLUMNS, TEXTURE_ROWS, at_texels
from fitme.hair.texture import HairTexture
from fitme.render.rasterizer import RasterizerBackend
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

from .conftest import HAIR, Photograph, pose_of

CHIN, MIDDLE, FACE = 60.0, 50.0, 50.0


def locks(width: int, bottom: int) -> np.ndarray:
    """Mask of hair (120, 100) with a lock on each side of the neck."""
    hair = np.zeros((120, 100), bool)
    hair[10:40, 20:80] = True
    hair[40:bottom, 20 : 20 + width] = hair[40:bottom, 80 - width : 80] = True
    return hair


def test_rows_of_hanging_hair_end_where_it_ends() -> None:
    assert hanging_rows(locks(8, 90), CHIN, MIDDLE, FACE) == 90


@pytest.mark.parametrize("bottom", [50, 62])
def test_hair_that_ends_at_the_chin_does_not_hang(bottom: int) -> None:
    assert hanging_rows(locks(8, bottom), CHIN, MIDDLE, FACE) == 60


def test_shoulders_of_the_hairs_colour_end_it() -> None:
    hair = locks(8, 120)
    hair[80:, 2:98] = True
    assert hanging_rows(hair, CHIN, MIDDLE, FACE) == 80


def test_below_the_chin_the_head_reaches_to_the_outer_edge_of_its_locks() -> None:
    person = np.ones((120, 100), np.float32)
    hair, neck = locks(8, 90), np.zeros((120, 100), bool)
    neck[:, 40:60] = True
    head = hanging_person(person, hair, neck, CHIN, MIDDLE, 90, FACE)
    assert (head[:60] == 1.0).all()
    np.testing.assert_array_equal(np.flatnonzero(head[80] > 0.5)[[0, -1]], [20, 79])
    np.testing.assert_array_equal(np.flatnonzero(head[100] > 0.5)[[0, -1]], [40, 59])


@pytest.fixture(scope="module")
def coverage_behind(
    model: MorphableModel,
    backend: RasterizerBackend,
    neutral: Float32Array,
    grid: EnvelopeGrid,
    photograph: Photograph,
) -> Callable[[float], float]:
    """Mean coverage fitted behind the neck by one frontal image of hair that hangs down to some height, metres."""

    def fitted(bottom_m: float) -> float:
        covered = grid.hairy & (grid.origins[..., 1] > bottom_m)
        thickness = np.where(covered, 0.035, 0.0).astype(np.float32)
        coverage = (at_texels(covered.astype(np.float64)) > 0.5)[..., None].astype(np.float32)
        albedo = np.broadcast_to(np.array(HAIR, np.float32), (*coverage.shape[:2], 3)).copy()
        scene = photograph(Hair(thickness, HairTexture(albedo, coverage)), pose_of(0))
        found = fit_hair(model, neutral, [scene.frame], backend, HairSettings())
        heights, back = grid.origins[..., 1], grid.directions[..., 2] < -0.8
        behind = at_texels((back & (heights > -0.125) & (heights < -0.105)).astype(np.float64)) > 0.5
        return float(found.texture.coverage[behind].mean())

    return fitted


def test_what_hangs_on_both_sides_hangs_behind(coverage_behind: Callable[[float], float]) -> None:
    assert coverage_behind(-0.15) > 0.8
    assert coverage_behind(-0.02) < 0.3


def test_hair_comes_down_round_an_ear_and_collars_do_not(grid: EnvelopeGrid) -> None:
    shape = (TEXTURE_ROWS, TEXTURE_COLUMNS)
    heights = at_texels(grid.origins[..., 1])[:, 0]
    scalp = at_texels((grid.region == int(Region.SCALP)).astype(np.float64)) > 0.5
    shown = scalp.astype(np.float32)
    # A lock that begins under the scalp behind the ear and leads forwards, and a collar beside it.
    start, columns = 150, np.arange(TEXTURE_COLUMNS)
    first = int(np.flatnonzero(scalp[:, start])[-1])
    for row in range(first - 4, TEXTURE_ROWS):
        middle = start + min(row - first, 40)
        shown[row, np.abs(columns - middle) < 12] = 1.0
    collar = (heights < -0.15)[:, None] & (np.abs(columns - 260) < 12)[None]
    shown[collar] = 1.0
    coverage = completed_coverage(
        grid,
        np.full(grid.skull_m.shape, 0.02),
        shown,
        np.ones(shape, np.float32),
        np.zeros(grid.skull_m.shape),
        hair_locks(HairKind.HANGING),
    )
    below = int(np.argmax(heights < -0.16))
    assert coverage[below, start + 40] > 0.9
    assert coverage[below, 260] < 0.1


def test_hair_tied_to_a_tail_is_long_and_does_not_hang(grid: EnvelopeGrid) -> None:
    above_jaw, left = grid.origins[..., 1] > -0.06, grid.directions[..., 0] > 0.0
    cropped = np.where(above_jaw, 1.0, 0.0)
    tied = np.where(above_jaw, 1.0, 0.1 * left)
    loose = np.ones_like(cropped)
    assert [is_long(grid, hair) for hair in (cropped, tied, loose)] == [False, True, True]
    assert [hangs_down(grid, hair) for hair in (cropped, tied, loose)] == [False, False, True]

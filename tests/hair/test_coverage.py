"""Hair that is unseen or seen aslant thins out strand by strand."""

import numpy as np

from fitme.hair.coverage import completed_coverage, ending
from fitme.hair.envelope import EnvelopeGrid
from fitme.hair.strands import HairKind, hair_locks
from fitme.hair.texels import TEXTURE_COLUMNS, TEXTURE_ROWS


def test_hair_thins_out_over_the_length_of_its_density_s_fall() -> None:
    fall = np.clip((260.0 - np.arange(TEXTURE_ROWS)) / 30.0, 0.0, 1.0).astype(np.float32)
    density = np.repeat(fall[:, None], TEXTURE_COLUMNS, 1)
    coverage = ending(density, hair_locks(HairKind.CROPPED))
    by_row = coverage.mean(1)
    assert by_row[:220].min() > 0.95
    assert by_row[285:].max() < 0.05
    assert (np.diff(by_row[220:285:6]) < 0.05).all()
    # Half-way down there are strands and skin between them, not a veil over both.
    middle = coverage[int(np.argmin(np.abs(by_row[200:300] - 0.5))) + 200]
    assert ((middle < 0.2) | (middle > 0.8)).mean() > 0.6
    assert not ending(np.zeros_like(density), hair_locks(HairKind.CROPPED)).any()
    assert (ending(np.ones_like(density), hair_locks(HairKind.HANGING)) > 0.99).mean() > 0.99


def test_a_hairline_seen_aslant_ends_in_strands_not_in_cells(grid: EnvelopeGrid) -> None:
    """A block of hair in a temple's cells becomes strands, as dense on the whole; before the face it stays."""
    shape = (TEXTURE_ROWS, TEXTURE_COLUMNS)
    temple, front = np.s_[192:216, 520:544], np.s_[192:216, 372:396]
    shown = np.zeros(shape, np.float32)
    shown[temple] = shown[front] = 0.5
    seen = np.full(shape, 0.2, np.float32)
    seen[front] = 1.0
    nowhere = np.zeros(grid.skull_m.shape)
    coverage = completed_coverage(grid, nowhere, shown, seen, nowhere, hair_locks(HairKind.CROPPED))
    flat = completed_coverage(grid, nowhere, shown, np.ones(shape, np.float32), nowhere, hair_locks(HairKind.CROPPED))
    assert coverage[temple].std() > 3.0 * flat[temple].std()
    assert 0.6 < coverage[temple].mean() / flat[temple].mean() < 1.8
    np.testing.assert_allclose(coverage[front], flat[front])

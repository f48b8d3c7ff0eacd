"""Unseen hair thins out strand by strand."""

import numpy as np

from fitme.hair.coverage import ending
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

"""Lids of a calm face rest where images of it have them."""

import numpy as np
import torch

from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.resting_lids import LARGEST, resting_lids, with_resting_lids

BLINKS = [expression_index(f"eyeBlink{side}") for side in ("Left", "Right")]
WIDE = [expression_index(f"eyeWide{side}") for side in ("Left", "Right")]


def closed(share: float) -> np.ndarray:
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    expression[BLINKS] = share
    return expression


def test_a_blink_for_a_moment_is_none_of_the_rest() -> None:
    assert resting_lids([closed(0.15), closed(0.2), closed(0.16), closed(1.0)]) < 0.2
    assert abs(resting_lids([closed(1.0)]) - LARGEST) < 1e-6
    assert resting_lids([closed(0.0)]) == 0.0
    assert resting_lids([]) == 0.0


def test_eyes_opened_wide_on_every_image_rest_open() -> None:
    wide = np.zeros(EXPRESSION_COUNT, np.float32)
    wide[WIDE] = 0.3
    assert resting_lids([wide]) == 0.0


def test_expressions_begin_at_the_rest() -> None:
    shut, wide = torch.from_numpy(closed(1.0)), torch.zeros(EXPRESSION_COUNT)
    wide[WIDE] = 1.0
    rested = with_resting_lids(torch.stack([torch.zeros(EXPRESSION_COUNT), shut, wide]), 0.2)
    assert torch.allclose(rested[:, BLINKS].mean(1), torch.tensor([0.2, 1.0, 0.0]))
    others = [index for index in range(EXPRESSION_COUNT) if index not in BLINKS]
    assert not rested[:2, others].any()

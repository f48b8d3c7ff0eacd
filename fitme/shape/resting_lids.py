"""Lids at rest: how far a person's eyes are closed on a face without expression.

The model's neutral eyes are wide open, as no photograph of a calm face shows them. What keyframes share of a blink is
no expression but the person's look.
"""

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from fitme.arrays import Float32Array
from fitme.shape.expressions import expression_index

LARGEST = 0.3
"""Activation of a blink above which it is one."""
QUANTILE = 0.4
"""Quantile, over images, of the blinks that counts as the person's rest: eyes that close for moments lie above it."""
SIDES = tuple((expression_index(f"eyeBlink{side}"), expression_index(f"eyeWide{side}")) for side in ("Left", "Right"))


def resting_lids(expressions: Sequence[Float32Array]) -> float:
    """Activation of both eyes' blinks at rest, by the expressions (52,) of images; 0 without any."""
    if not expressions:
        return 0.0
    closed = [np.mean([shown[blink] - shown[wide] for blink, wide in SIDES]) for shown in expressions]
    return float(np.clip(np.quantile(closed, QUANTILE), 0.0, LARGEST))


def with_resting_lids(expression: Tensor, lids: float) -> Tensor:
    """Expression (..., 52) of a face whose lids rest at an activation `lids`: blinks begin there, eyes that are opened
    wide leave it."""
    rested = expression.clone()
    for blink, wide in SIDES:
        open_share = 1.0 - expression[..., wide].clamp(0.0, 1.0)
        rested[..., blink] = expression[..., blink].maximum(lids * open_share)
    return rested

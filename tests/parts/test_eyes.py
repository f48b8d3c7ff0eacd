"""Light that reaches eyes between their lids."""

import numpy as np
import pytest
import torch

from fitme.parts.drawn_head import drawn_head
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model


@pytest.mark.parametrize("side", [0, 1])
def test_closing_lids_take_the_light_from_the_eye(side: int) -> None:
    model = load_default_model()
    drawn = drawn_head(model)
    (eye,) = [part for part in drawn.opaque if part.eye == side]
    light = []
    for blink in (0.0, 0.5, 1.0):
        expression = torch.zeros(1, EXPRESSION_COUNT)
        expression[0, expression_index(f"eyeBlink{('Left', 'Right')[side]}")] = blink
        head = model.vertices(torch.zeros(1, model.identity_count), expression)[0].numpy()
        light.append(drawn.posed(head)[1][eye.place])
    opened, half, closed = light
    assert opened.max() > 0.8
    assert opened.max() >= half.max() > closed.max()
    # What is left of a gap is in the shade of both lids: no white line.
    assert closed.max() < 0.25
    assert np.quantile(opened, 0.9) > 2.0 * closed.max()

"""Reductions over channels against numpy's."""

import numpy as np
import pytest

from fitme.channels import channel_max, channel_mean, channel_sum


@pytest.mark.parametrize("shape", [(40, 30, 3), (7, 4), (0, 3)])
def test_reductions_match_numpy(shape: tuple[int, ...]) -> None:
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    np.testing.assert_array_equal(channel_sum(image), image.sum(-1))
    np.testing.assert_array_equal(channel_mean(image), image.mean(-1))
    np.testing.assert_array_equal(channel_max(image), image.max(-1))
    assert channel_mean(image).dtype == np.float32

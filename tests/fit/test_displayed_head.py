"""Displayed head: the working head at first, then a running mean to which new heads contribute once registered."""

from functools import partial

import numpy as np
import pytest
import torch

from fitme.fit.displayed_head import DisplayedHead, HeadEstimate, blended
from fitme.reflectance.maps import ReflectanceMaps


def head(level: float, side: int = 4) -> HeadEstimate:
    maps = ReflectanceMaps.constant((level, level, level), level, side)
    return HeadEstimate(np.full(3, level, np.float32), 1.0 + level, maps)


def test_a_blend_is_a_mean_and_takes_texels_that_only_the_new_head_has_observed() -> None:
    confidence = torch.ones(1, 4, 4, 1)
    confidence[:, :2] = 0.0
    between = blended(head(0.2), head(0.8), 0.25, confidence)
    torch.testing.assert_close(between.maps.diffuse[:, :2], torch.full((1, 2, 4, 3), 0.8))
    torch.testing.assert_close(between.maps.diffuse[:, 2:], torch.full((1, 2, 4, 3), 0.35))
    np.testing.assert_allclose(between.identity, 0.35, rtol=1e-6)
    assert between.focal == pytest.approx(1.2 * (1.8 / 1.2) ** 0.25)
    torch.testing.assert_close(between.maps.normals.norm(dim=-1), torch.ones(1, 4, 4))


def test_the_first_working_head_is_displayed_and_later_ones_once_registered() -> None:
    displayed = DisplayedHead()
    assert not displayed.has_converged
    assert displayed.of(partial(head, 0.2)).identity[0] == pytest.approx(0.2)
    displayed.converge(displayed.of(partial(head, 0.4)))
    displayed.begin(0.5, None)
    assert not displayed.includes_working_head
    assert displayed.of(partial(head, 0.9)).identity[0] == pytest.approx(0.4)
    displayed.register()
    assert displayed.includes_working_head
    assert displayed.of(partial(head, 0.8)).identity[0] == pytest.approx(0.6)
    displayed.invalidate()
    assert displayed.of(partial(head, 0.6)).identity[0] == pytest.approx(0.5)
    displayed.converge(displayed.of(partial(head, 0.6)))
    assert displayed.of(partial(head, 0.0)).identity[0] == pytest.approx(0.5)
    displayed.reset()
    assert displayed.of(partial(head, 0.1)).identity[0] == pytest.approx(0.1)


def test_running_means_scatter_less_than_single_heads() -> None:
    displayed, random = DisplayedHead(), np.random.default_rng(0)
    singles, means = random.uniform(0.3, 0.7, 200), []
    for level in singles:
        displayed.begin(0.5, None)
        displayed.register()
        displayed.converge(displayed.of(partial(head, float(level))))
        means.append(float(displayed.of(partial(head, 0.0)).identity[0]))
    assert np.std(means[20:]) < 0.7 * np.std(singles)
    assert np.mean(means[20:]) == pytest.approx(np.mean(singles), abs=0.03)

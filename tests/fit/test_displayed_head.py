"""What is shown of a fit: whole at first, then a running mean that new pictures join once they are in register."""

import numpy as np
import pytest
import torch

from fitme.fit.displayed_head import DisplayedHead, FoundHead, blended
from fitme.reflectance.maps import ReflectanceMaps


def head(level: float, side: int = 4) -> FoundHead:
    maps = ReflectanceMaps.constant((level, level, level), level, side)
    return FoundHead(np.full(3, level, np.float32), 1.0 + level, maps)


def test_a_blend_lies_between_and_takes_what_only_the_new_head_has_seen() -> None:
    seen = torch.ones(1, 4, 4, 1)
    seen[:, :2] = 0.0
    between = blended(head(0.2), head(0.8), 0.25, seen)
    torch.testing.assert_close(between.maps.diffuse[:, :2], torch.full((1, 2, 4, 3), 0.8))
    torch.testing.assert_close(between.maps.diffuse[:, 2:], torch.full((1, 2, 4, 3), 0.35))
    np.testing.assert_allclose(between.identity, 0.35, rtol=1e-6)
    assert between.focal == pytest.approx(1.2 * (1.8 / 1.2) ** 0.25)
    torch.testing.assert_close(between.maps.normals.norm(dim=-1), torch.ones(1, 4, 4))


def test_the_first_head_is_shown_at_work_and_later_ones_in_register() -> None:
    shown = DisplayedHead()
    assert not shown.has_converged
    assert shown.of(head(0.2)).identity[0] == pytest.approx(0.2)
    shown.rest(shown.of(head(0.4)))
    shown.begin(0.5, None)
    assert not shown.has_joined
    assert shown.of(head(0.9)).identity[0] == pytest.approx(0.4)
    shown.register()
    assert shown.has_joined
    assert shown.of(head(0.8)).identity[0] == pytest.approx(0.6)
    shown.changed()
    assert shown.of(head(0.6)).identity[0] == pytest.approx(0.5)
    shown.rest(shown.of(head(0.6)))
    assert shown.of(head(0.0)).identity[0] == pytest.approx(0.5)
    shown.restart()
    assert shown.of(head(0.1)).identity[0] == pytest.approx(0.1)


def test_running_means_scatter_less_than_single_heads() -> None:
    shown, random = DisplayedHead(), np.random.default_rng(0)
    singles, means = random.uniform(0.3, 0.7, 200), []
    for level in singles:
        shown.begin(0.5, None)
        shown.register()
        shown.rest(shown.of(head(float(level))))
        means.append(float(shown.of(head(0.0)).identity[0]))
    assert np.std(means[20:]) < 0.7 * np.std(singles)
    assert np.mean(means[20:]) == pytest.approx(np.mean(singles), abs=0.03)

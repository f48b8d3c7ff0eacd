"""Random lights: level, directions, tint, repeatability by seed."""

import math

import numpy as np
import pytest
import torch

from fitme.render.reflection import SH_BAND_0
from fitme.synthetic.lights import ray_bundle_light, room_light, smooth_and_sharp_lights, smooth_lights

COUNT = 2000
SHARE, TINT = (0.1, 0.9), 0.1


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rays_and_ambient_light_are_about_one_in_all() -> None:
    light = ray_bundle_light(np.random.default_rng(0))
    assert light.ambient[0] * SH_BAND_0 + light.levels.sum() == pytest.approx(1.0)
    np.testing.assert_allclose(np.linalg.norm(light.directions, axis=1), 1.0)


def test_lamps_of_a_room_have_its_ambient_light_s_tint() -> None:
    g = np.random.default_rng(1)
    for _ in range(20):
        light = room_light(g)
        tint = light.sh[0, 0] / light.sh[0, 0, 1]
        torch.testing.assert_close(light.colors[0] / light.colors[0, :, 1:2], tint.expand_as(light.colors[0]))
        assert (light.directions[0, :, 2] > 0.0).all()


def test_light_comes_more_often_from_the_front_and_from_above() -> None:
    smooth = smooth_lights(COUNT, SHARE, TINT, generator(2))[..., 1]  # order 1: y, z, x
    sharp = smooth_and_sharp_lights(COUNT, SHARE, TINT, generator(2)).directions[:, 0]
    for up, front, right in (smooth[:, 1:4].T, sharp[:, [1, 2, 0]].T):
        assert up.mean() > 5.0 * up.std() / math.sqrt(COUNT)
        assert front.mean() > 5.0 * front.std() / math.sqrt(COUNT)
        assert right.mean().abs() < 4.0 * right.std() / math.sqrt(COUNT)


def test_a_seed_gives_the_same_lights() -> None:
    first, second = (smooth_lights(3, SHARE, TINT, generator(4)) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0.0, atol=0.0)
    assert not torch.equal(first, smooth_lights(3, SHARE, TINT, generator(5)))

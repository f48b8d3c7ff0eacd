"""Simulated observations of maps: the side that faces the camera, under light, with the errors of a fit."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from fitme.color import srgb_to_linear
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.encoder.simulated_textures import (
    CaptureSettings,
    Views,
    measure_views,
    random_yaws,
    simulate_observations,
)

RESOLUTION = 64
CLEAN = CaptureSettings(
    largest_blur=0.1, largest_noise=0.0, largest_shift=0.0, hole_share=0.0, occluder_share=0.0,
    exposure_log_sigma=0.0, white_balance_log_sigma=0.0, light_tint_log_sigma=0.0,
)  # fmt: skip


@cache
def views(*yaws_deg: float) -> Views:
    settings = replace(CaptureSettings(), pitch_deg=0.0, roll_deg=0.0)
    yaws = np.array(yaws_deg, np.float32)
    return measure_views(load_default_model(), yaws, RESOLUTION, settings, seed=2)


def skin_maps(level: float, count: int = 2) -> torch.Tensor:
    maps = torch.zeros(count, 6, RESOLUTION, RESOLUTION)
    maps[:, :3], maps[:, 3] = level, 0.3
    return maps


def test_a_turned_head_hides_its_other_side():
    turned = views(-40.0, 40.0).weight
    left, right = turned[..., : RESOLUTION // 2].sum((1, 2)), turned[..., RESOLUTION // 2 :].sum((1, 2))
    assert float(left[0] / right[0]) < 0.4 or float(right[0] / left[0]) < 0.4
    assert (left[0] < right[0]) != (left[1] < right[1])


def test_ears_and_the_back_of_the_head_are_never_visible():
    texel_geometry = default_texel_geometry(RESOLUTION)
    visible = views(-40.0, 0.0, 40.0).weight.amax(0).numpy()
    assert visible.min() >= 0.0 and visible.max() <= 1.0
    # Texels at the border of two regions may belong to either.
    inner_ears = texel_geometry.is_region(Region.EARS) & texel_geometry.covered
    assert float((visible[inner_ears] > 0.0).mean()) < 0.05
    behind = (
        texel_geometry.position[..., 2] < texel_geometry.position[texel_geometry.covered][:, 2].min() + 0.06
    ) & texel_geometry.covered
    assert float(visible[behind].max()) < 0.02


def test_a_seed_decides_everything():
    maps = skin_maps(0.6, 4)
    first, second, other = (
        simulate_observations(maps, views(-20.0, 20.0), CaptureSettings(), torch.Generator().manual_seed(seed))
        for seed in (5, 5, 6)
    )
    assert torch.equal(first.texture, second.texture) and torch.equal(first.visibility, second.visibility)
    assert not torch.equal(first.texture, other.texture)
    for values in (first.texture, first.visibility):
        assert float(values.min()) >= 0.0 and float(values.max()) <= 1.0
    assert np.array_equal(random_yaws(5, CLEAN, 1), random_yaws(5, CLEAN, 1))


@pytest.mark.parametrize("level", [0.35, 0.75])
def test_fusing_divides_the_light_out(level: float):
    """A head of one colour is shaded in a lit texture and flat in a fused one."""
    visible = views(-20.0, 20.0).weight.amin(0)[None] * views(0.0).skin > 0.3

    def unevenness(lit_share: float) -> float:
        settings = replace(CLEAN, lit_share=lit_share, residual_shading=0.0, directional_share=(0.8, 0.8))
        random = torch.Generator().manual_seed(1)
        texture = simulate_observations(skin_maps(level, 6), views(-20.0, 20.0), settings, random).texture
        values = srgb_to_linear(texture).mean(-1)[visible.expand(6, -1, -1)].reshape(6, -1)
        return float((values.std(1) / values.mean(1)).mean())

    assert unevenness(0.0) < 0.5 * unevenness(1.0)


def test_a_fused_texture_has_a_target_of_its_own_brightness():
    """Where a head is visible, the target maps equal the texture; the target of a lit texture is the true maps."""
    settings = replace(CLEAN, lit_share=0.5, residual_shading=0.0)
    maps = skin_maps(0.6, 12)
    observation = simulate_observations(maps, views(-20.0, 20.0), settings, torch.Generator().manual_seed(4))
    fused = observation.delighted
    assert bool(fused.any()) and not bool(fused.all())
    assert torch.equal(observation.target[~fused], maps[~fused])
    weight = observation.visibility * views(0.0).skin[..., None]
    covered_by_skin, wanted = (
        ((values * weight).sum((1, 2)) / weight.sum((1, 2)))[fused]
        for values in (observation.texture, observation.target[:, :3].permute(0, 2, 3, 1))
    )
    torch.testing.assert_close(covered_by_skin, wanted, rtol=0.0, atol=0.03)
    assert float((wanted - 0.6).abs().mean()) > 0.02


def test_brighter_skin_stays_brighter():
    random = torch.Generator
    means = []
    for level in (0.3, 0.6, 0.9):
        settings = replace(CLEAN, lit_share=0.5, albedo_scale_log_sigma=0.0)
        observation = simulate_observations(skin_maps(level, 8), views(-20.0, 20.0), settings, random().manual_seed(3))
        weight = observation.visibility * views(0.0).skin[..., None]
        means.append((observation.texture * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3)))
    assert bool((means[0] < means[1]).all()) and bool((means[1] < means[2]).all())


def test_holes_are_marked_invisible():
    settings = replace(CLEAN, hole_share=1.0)
    whole = simulate_observations(skin_maps(0.5, 8), views(0.0), CLEAN, torch.Generator().manual_seed(0))
    holed = simulate_observations(skin_maps(0.5, 8), views(0.0), settings, torch.Generator().manual_seed(0))
    assert float(holed.visibility.sum()) < 0.97 * float(whole.visibility.sum())

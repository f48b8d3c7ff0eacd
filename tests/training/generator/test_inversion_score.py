"""Inversion by the shipped weights: samples, schedules, and a synthetic skin found in W+."""

import numpy as np
import torch

from fitme.color import linear_to_srgb
from fitme.metrics.similarity import psnr
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.packaged_models import packaged_generator
from fitme.skin.painter import synthesize_skin
from fitme.skin.skin_tone_classes import skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.contact_sheets import sample_latents, sample_maps, synthesize_all
from fitme.training.data.dataset import HELD_OUT_SEED
from fitme.training.generator.inversion_score import InversionRecipe, invert, score_inversion, tune


def maps_near_the_mean(generator: ReflectanceGenerator, count: int) -> ReflectanceMaps:
    return sample_maps(generator, count, seed=2, truncation=0.7)


def test_coarse_maps_agree_with_full_ones():
    generator = packaged_generator()
    w = sample_latents(generator, 1)
    coarse, full = (linear_to_srgb(synthesize_all(generator, w, size).diffuse) for size in (64, None))
    shrunk = torch.nn.functional.avg_pool2d(full.permute(0, 3, 1, 2), full.shape[1] // 64).permute(0, 2, 3, 1)
    assert float((coarse - shrunk).abs().mean()) < 0.03


def test_samples_span_light_and_dark_skin():
    generator = packaged_generator()
    diffuse = sample_maps(generator, 40, seed=1, resolution=64).diffuse.numpy()
    angles = [skin_ita_deg(head, default_texel_geometry(64)) for head in diffuse]
    assert np.quantile(angles, 0.1) < -20.0 and np.quantile(angles, 0.9) > 30.0


def test_inversion_and_tuning_find_a_skin_that_was_never_trained_on():
    generator = packaged_generator()
    target = synthesize_skin(HELD_OUT_SEED + 900).maps()
    (score,) = score_inversion(generator, target, steps=40, tuning_steps=15)
    assert score.inverted.psnr_db > score.start.psnr_db + 2.0
    assert score.tuned is not None and score.tuned.psnr_db > score.inverted.psnr_db


def test_recipes_spend_every_step_coarse_to_fine():
    recipe = InversionRecipe(stages=((4, 0.5), (2, 0.33), (1, 0.17)))
    for steps in (1, 7, 16, 200):
        sizes = recipe.resolutions(256, steps)
        assert len(sizes) == steps and sizes == sorted(sizes)
        assert set(sizes) <= {64, 128, 256}
    assert recipe.rate_at(0, 10) == recipe.rate
    assert recipe.rate_at(9, 10) < recipe.rate_at(5, 10) < recipe.rate


def test_heads_of_a_batch_are_inverted_independently(tiny_generator: ReflectanceGenerator):
    targets = maps_near_the_mean(tiny_generator, 3)
    recipe = InversionRecipe(bfloat16=False)
    together = invert(tiny_generator, targets, 6, recipe=recipe)
    alone = torch.cat([invert(tiny_generator, targets.one(index), 6, recipe=recipe) for index in range(3)])
    torch.testing.assert_close(together, alone, atol=2e-3, rtol=1e-3)


def test_bfloat16_finds_nearly_the_same(tiny_generator: ReflectanceGenerator):
    targets = maps_near_the_mean(tiny_generator, 2)
    found = []
    for bfloat16 in (False, True):
        latents = invert(tiny_generator, targets, 40, recipe=InversionRecipe(bfloat16=bfloat16))
        with torch.no_grad():
            found.append(psnr(tiny_generator.synthesize(latents).diffuse, targets.diffuse))
    assert float((found[0] - found[1]).abs().max()) < 3.0


def test_masked_texels_do_not_pull(tiny_generator: ReflectanceGenerator):
    target = maps_near_the_mean(tiny_generator, 1)
    mask = torch.zeros(64, 64)
    mask[:32] = 1.0
    spoiled = ReflectanceMaps(target.diffuse.clone(), target.specular.clone(), target.normals)
    spoiled.diffuse[:, 40:] = 0.9
    spoiled.specular[:, 40:] = 0.1
    recipe = InversionRecipe(stages=((1, 1.0),), bfloat16=False)
    found = [invert(tiny_generator, maps, 5, mask, recipe) for maps in (target, spoiled)]
    torch.testing.assert_close(*found)


def test_tuning_leaves_the_original_and_the_mapping_network_alone(tiny_generator: ReflectanceGenerator):
    before = {name: value.clone() for name, value in tiny_generator.state_dict().items()}
    target = maps_near_the_mean(tiny_generator, 1)
    w_plus = tiny_generator.broadcast(tiny_generator.mean_w[None])
    tuned = tune(tiny_generator, w_plus, target, 3).state_dict()
    assert all(torch.equal(before[name], value) for name, value in tiny_generator.state_dict().items())
    assert all(torch.equal(before[name], tuned[name]) for name in before if name.startswith("mapping"))
    assert not torch.equal(before["constant"], tuned["constant"])

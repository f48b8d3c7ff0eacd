"""The shipped weights: what they give, and that a made-up skin is found again in W+."""

import numpy as np
import torch

from fitme.color import linear_to_srgb
from fitme.reflectance import load_default_generator
from fitme.reflectance.inversion_score import invert, psnr
from fitme.reflectance.sheets import sample_maps
from fitme.reflectance.skin import synthesize_skin
from fitme.reflectance.tone import typology_angle


def test_coarse_maps_agree_with_full_ones():
    generator = load_default_generator()
    maps = sample_maps(generator, 1)
    noise = torch.randn(1, generator.latent_size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        coarse = generator.synthesize(generator.broadcast(generator.mapping(noise)), 64)
    shrunk = torch.nn.functional.avg_pool2d(linear_to_srgb(maps.diffuse).permute(0, 3, 1, 2), 4).permute(0, 2, 3, 1)
    assert float((linear_to_srgb(coarse.diffuse) - shrunk).abs().mean()) < 0.03


def test_samples_span_light_and_dark_skin():
    generator = load_default_generator()
    noise = torch.randn(40, generator.latent_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        coarse = generator.synthesize(generator.broadcast(generator.mapping(noise)), 64)
    angles = typology_angle(coarse.diffuse[:, 11:13, 28:36].mean((1, 2)).numpy())
    assert np.quantile(angles, 0.1) < -20.0 and np.quantile(angles, 0.9) > 30.0


def test_inversion_finds_a_skin_that_was_never_trained_on():
    generator = load_default_generator()
    target = synthesize_skin(2_000_003).maps()
    with torch.no_grad():
        start = generator.synthesize(generator.broadcast(generator.mean_w[None]))
    w_plus = invert(generator, target, steps=16)
    with torch.no_grad():
        found = generator.synthesize(w_plus)
    assert psnr(found.diffuse, target.diffuse) > psnr(start.diffuse, target.diffuse) + 2.0

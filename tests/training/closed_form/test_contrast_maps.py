import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fitme.reflectance.layers import CONTRAST_BOUND, CONTRAST_CELL, LocalContrast, downsample, upsample
from fitme.training.closed_form.contrast_maps import (
    ContrastModel,
    clear_contrast,
    fit_contrast,
    local_variance,
    set_contrast,
)

from ...conftest import TINY

COVERED = torch.ones(1, 1, TINY.resolution, TINY.resolution)


def samples_of(generator, latents):
    """Pairs of latents and a generator's raw maps, in batches, as `fit_contrast` takes them."""
    with torch.no_grad():
        for w in latents.split(20):
            *_, raw = generator.raw_pyramid(generator.broadcast(w)).values()
            yield w, raw


def finest_variance(generator, latents, modality):
    """Local variance (N, h, h) of the finest octave."""
    parts = []
    with torch.no_grad():
        for w in latents.split(20):
            fine = generator.raw_pyramid(generator.broadcast(w))[TINY.resolution][modality]
            parts.append(local_variance(fine - upsample(downsample(fine)), COVERED))
    return torch.cat(parts)


@pytest.fixture
def fading(tiny_generator):
    """The tiny generator with local contrast that depends on w, by factors around two thirds."""
    torch.manual_seed(4)
    generator = copy.deepcopy(tiny_generator)
    models = {
        name: [
            ContrastModel(
                torch.full_like(layer.mean, -0.4), 0.15 * torch.randn_like(layer.maps),
                torch.randn(len(layer.maps), TINY.latent_size) / TINY.latent_size**0.5, torch.zeros(len(layer.maps)),
            )
            for layer in branch.contrast_layers()
        ]
        for name, branch in generator.named_branches()
    }  # fmt: skip
    set_contrast(generator, models)
    return generator


def test_missing_contrast_is_found(tiny_generator, fading):
    latents = tiny_generator.mean_w + torch.randn(300, TINY.latent_size, generator=torch.Generator().manual_seed(1))
    found = copy.deepcopy(tiny_generator)
    set_contrast(found, fit_contrast(tiny_generator, samples_of(fading, latents), COVERED))
    new = tiny_generator.mean_w + torch.randn(40, TINY.latent_size, generator=torch.Generator().manual_seed(2))
    for modality in ("diffuse", "specular", "normals"):
        wanted, before, after = (
            finest_variance(g, new, modality).clamp(min=1e-12).log() for g in (fading, tiny_generator, found)
        )
        # An untrained network adds coarse structure at fine resolutions, too, which spills over between octaves.
        assert float((after - wanted).abs().mean()) < 0.7 * float((before - wanted).abs().mean())


def test_a_generator_that_lacks_nothing_stays_as_it_is(tiny_generator):
    latents = tiny_generator.mean_w + torch.randn(100, TINY.latent_size)
    found = copy.deepcopy(tiny_generator)
    set_contrast(found, fit_contrast(tiny_generator, samples_of(tiny_generator, latents), COVERED))
    w_plus = tiny_generator.broadcast(latents[:3])
    with torch.no_grad():
        before, after = tiny_generator.synthesize(w_plus), found.synthesize(w_plus)
    # Its bands also hold a little of what the resolution below could show.
    torch.testing.assert_close(after.diffuse, before.diffuse, rtol=0.0, atol=0.02)


def test_gains_can_be_cleared(tiny_generator, fading):
    w_plus = tiny_generator.broadcast(tiny_generator.mean_w + torch.randn(2, TINY.latent_size))
    with torch.no_grad():
        assert not torch.allclose(fading.synthesize(w_plus).diffuse, tiny_generator.synthesize(w_plus).diffuse)
        clear_contrast(fading)
        assert torch.equal(fading.synthesize(w_plus).diffuse, tiny_generator.synthesize(w_plus).diffuse)


def test_coarse_outputs_have_no_gain(tiny_generator, fading):
    w_plus = tiny_generator.broadcast(tiny_generator.mean_w[None])
    with torch.no_grad():
        coarse = [g.synthesize(w_plus, TINY.trunk_resolution).diffuse for g in (tiny_generator, fading)]
    assert torch.equal(*coarse)


@given(st.floats(0.0, 40.0), st.integers(0, 2**16))
def test_gains_stay_within_their_bound(size, seed):
    torch.manual_seed(seed)
    layer = LocalContrast(3, 16, 5)
    with torch.no_grad():
        layer.maps.copy_(size * torch.randn_like(layer.maps))
        gains = layer(torch.randn(2, 5)).log()
    assert gains.shape == (2, 1, 16, 16)
    assert float(gains.abs().max()) <= CONTRAST_BOUND + 1e-5


def test_gains_have_gradients():
    torch.manual_seed(0)
    layer = LocalContrast(3, 16, 5).double()
    with torch.no_grad():
        layer.maps.copy_(torch.randn_like(layer.maps))
    assert torch.autograd.gradcheck(layer, torch.randn(2, 5, dtype=torch.double, requires_grad=True))


def test_local_variance_leaves_out_uncovered_texels():
    band = torch.ones(1, 2, 16, 16)
    band[..., :4] = 100.0
    covered = torch.ones(1, 1, 16, 16)
    covered[..., :4] = 0.0
    covered[..., 8:, 8:] = 0.0
    found = local_variance(band, covered)
    assert found.shape == (1, 16 // CONTRAST_CELL, 16 // CONTRAST_CELL)
    torch.testing.assert_close(found[0], torch.tensor([[1.0, 1.0], [1.0, 0.0]]))

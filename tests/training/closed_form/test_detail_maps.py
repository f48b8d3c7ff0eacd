import copy

import pytest
import torch

from fitme.reflectance.modality import MODALITIES
from fitme.training.closed_form.detail_maps import DetailModel, Residual, clear_details, fit_details, set_details

from ...conftest import TINY


def samples_of(generator, latents):
    """Pairs of latents and a generator's raw maps, in batches, as `fit_details` takes them."""
    with torch.no_grad():
        for w in latents.split(20):
            *_, raw = generator.raw_pyramid(generator.broadcast(w)).values()
            yield w, raw


@pytest.fixture
def richer(tiny_generator):
    """The tiny generator with details at every resolution of its trunk and branches."""
    torch.manual_seed(8)
    sides = [TINY.trunk_resolution << level for level in range(TINY.branch_levels + 1)]
    models = {
        m.name: {
            side: DetailModel(
                torch.randn(maps, side, side), torch.randn(m.raw_channels, maps),
                torch.randn(maps, TINY.latent_size), tiny_generator.mean_w,
            )
            for maps, side in zip(TINY.detail_maps, sides, strict=True)
        }
        for m in MODALITIES
    }  # fmt: skip
    generator = copy.deepcopy(tiny_generator)
    means = {m.name: torch.zeros(m.raw_channels, 64, 64) for m in MODALITIES}
    set_details(generator, Residual(means, models))
    return generator


def test_details_are_added_to_the_outputs(tiny_generator, richer):
    w = tiny_generator.mean_w + torch.randn(1, TINY.latent_size)
    with torch.no_grad():
        for side in (16, 64):
            plain = tiny_generator.raw_pyramid(tiny_generator.broadcast(w), side)[side]["diffuse"]
            added = richer.raw_pyramid(richer.broadcast(w), side)[side]["diffuse"] - plain
            assert float(added.square().mean()) > 0.1
        nothing = richer.raw_pyramid(richer.broadcast(richer.mean_w[None]), 16)[16]["diffuse"]
        plain = tiny_generator.raw_pyramid(tiny_generator.broadcast(tiny_generator.mean_w[None]), 16)[16]["diffuse"]
    torch.testing.assert_close(nothing, plain, rtol=1e-3, atol=1e-3)


def test_missing_details_are_found(tiny_generator, richer):
    latents = tiny_generator.mean_w + torch.randn(400, TINY.latent_size, generator=torch.Generator().manual_seed(1))
    models = fit_details(tiny_generator, samples_of(richer, latents), TINY.detail_maps)
    found = copy.deepcopy(tiny_generator)
    set_details(found, models)
    new = tiny_generator.mean_w + torch.randn(40, TINY.latent_size, generator=torch.Generator().manual_seed(2))
    for modality in ("diffuse", "specular", "normals"):
        wanted, before, after = (
            torch.cat([raw[modality] for _, raw in samples_of(g, new)]) for g in (richer, tiny_generator, found)
        )
        # The ridge shrinks a little; maps that channels share can hold only the leading part of three channels.
        assert float((after - wanted).square().mean()) < 0.35 * float((before - wanted).square().mean())


def test_nothing_is_added_where_nothing_is_left_out(tiny_generator):
    latents = tiny_generator.mean_w + torch.randn(100, TINY.latent_size)
    models = fit_details(tiny_generator, samples_of(tiny_generator, latents), TINY.detail_maps)
    found = copy.deepcopy(tiny_generator)
    set_details(found, models)
    w_plus = tiny_generator.broadcast(latents[:3])
    with torch.no_grad():
        torch.testing.assert_close(
            found.synthesize(w_plus).diffuse, tiny_generator.synthesize(w_plus).diffuse, rtol=1e-3, atol=1e-4
        )


def test_a_missing_mean_is_found_and_details_can_be_cleared(tiny_generator):
    latents = tiny_generator.mean_w + torch.randn(60, TINY.latent_size)
    shifted = copy.deepcopy(tiny_generator)
    with torch.no_grad():
        for _, branch in shifted.named_branches():
            branch.base.add_(torch.randn_like(branch.base))
    found = copy.deepcopy(tiny_generator)
    set_details(found, fit_details(tiny_generator, samples_of(shifted, latents), TINY.detail_maps))
    clear_details(found)
    for (_, before), (_, after) in zip(shifted.named_branches(), found.named_branches(), strict=True):
        torch.testing.assert_close(after.base, before.base, rtol=1e-3, atol=1e-3)

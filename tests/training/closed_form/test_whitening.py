import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.training.closed_form.whitening import LEAST_VARIANCE, style_layers, whiten_latents, whitening

SURELY_VARYING = 6
"""Directions of the tiny generator's w."""


@pytest.fixture
def lively(tiny_generator: ReflectanceGenerator) -> ReflectanceGenerator:
    """A generator all of whose styles do something."""
    with torch.no_grad():
        tiny_generator.components.normal_(std=0.1)
        for _, branch in tiny_generator.named_branches():
            for layer in branch.detail_layers():
                layer.positions.normal_()
    return tiny_generator


def test_no_map_changes(lively):
    z = torch.randn(4, lively.latent_size)
    before = lively.synthesize(lively.broadcast(lively.mapping(z)))
    whiten_latents(lively)
    after = lively.synthesize(lively.broadcast(lively.mapping(z)))
    for name in ("diffuse", "specular", "normals"):
        torch.testing.assert_close(getattr(after, name), getattr(before, name), rtol=1e-3, atol=1e-4)


def test_latents_have_unit_variance_but_for_rare_directions(lively):
    whiten_latents(lively)
    z = torch.randn(20_000, lively.latent_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        latents = lively.mapping(z)
    values = torch.linalg.eigvalsh(torch.cov(latents.T))
    assert values.max() < 1.2
    assert values[-SURELY_VARYING:].min() > 0.8
    torch.testing.assert_close(lively.mean_w, latents.mean(0), rtol=0.0, atol=0.1)


def test_every_layer_that_reads_a_latent_is_known(lively):
    w_plus = torch.randn(1, lively.num_layers, lively.config.latent_size, requires_grad=True)
    layers = style_layers(lively)
    with torch.no_grad():
        for layer in layers:
            layer.weight.zero_()
    maps = lively.synthesize(w_plus)
    found = torch.autograd.grad(maps.diffuse.sum() + maps.normals.sum() + maps.specular.sum(), w_plus)[0]
    assert (found == 0.0).all()


@given(seed=st.integers(0, 2**16), scales=st.lists(st.floats(-2.0, 2.0), min_size=2, max_size=6))
def test_the_matrix_and_its_inverse_undo_each_other_and_no_variance_grows_beyond_one(seed, scales):
    random = torch.Generator().manual_seed(seed)
    size = len(scales)
    basis = torch.linalg.qr(torch.randn(size, size, generator=random)).Q
    latents = torch.randn(500, size, generator=random) @ torch.diag(10.0 ** torch.tensor(scales)) @ basis
    transform, inverse = whitening(latents)
    torch.testing.assert_close(transform @ inverse, torch.eye(size), rtol=0.0, atol=2e-3)
    covariance = torch.cov(latents.double().T)
    variances = torch.linalg.eigvalsh(torch.cov((latents @ transform.T).double().T))
    assert variances.max() < 1.01
    rare = torch.linalg.eigvalsh(covariance) < LEAST_VARIANCE * covariance.diagonal().mean()
    assert (variances > 0.98).sum() >= (~rare).sum()

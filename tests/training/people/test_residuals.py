"""Extension fitted to people: it explains what the generator lacks."""

import pytest
import torch

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.texture_encoder import TextureEncoderConfig, encoder_for
from fitme.training.people.mixing import PeopleBank
from fitme.training.people.people_set import PeopleSet
from fitme.training.people.residuals import SPREAD, ExtensionSettings, coefficients, residual_components


def test_coefficients_of_a_sum_of_components_are_its_weights():
    random = torch.Generator().manual_seed(0)
    components = torch.randn(3, 4, 16, 16, generator=random)
    weights = torch.tensor([[0.5, -1.0, 2.0], [0.0, 1.0, 0.0]])
    residual = torch.einsum("bk,kchw->bchw", weights, components)
    found = coefficients(residual, components, torch.ones(2, 1, 16, 16))
    torch.testing.assert_close(found, weights, atol=0.02, rtol=0.02)


def test_components_explain_most_of_the_residuals(few_people: PeopleSet, tiny_generator: ReflectanceGenerator):
    torch.manual_seed(0)
    sizes = TextureEncoderConfig(resolution=32, channels=(4, 6), narrow_channels=3, hidden_size=12)
    encoder = encoder_for(tiny_generator, sizes).eval()
    settings = ExtensionSettings(heads=48, components=12)
    extension = residual_components(tiny_generator, encoder, PeopleBank(few_people), settings)
    assert extension.components.shape == (12, 4, 32, 32)
    assert extension.mean.tolist() == [1.0] + [0.0] * 11
    # The untrained generator knows no skin: the mean residual is much of it, and axes fall in size.
    size = extension.components.flatten(1).square().sum(1)
    assert size[0] > size[1]
    assert size[1] > size[11]
    assert float(extension.deviation[1]) == pytest.approx(SPREAD)

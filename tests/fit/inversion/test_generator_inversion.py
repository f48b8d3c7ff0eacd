"""The generator's part of a fit: the latent explains a texture, tuning explains the rest and spares the neighbours."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fitme.color import linear_to_srgb
from fitme.fit.inversion.generator_inversion import ReflectanceFit, TextureTarget
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.texture.mouth_interior import open_mouth
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.reflectance.texture_encoder import encoder_for
from fitme.render.rasterizer import select_backend
from fitme.shape.morphable_model import MorphableModel

CONFIG = GeneratorConfig(
    resolution=64, noise_size=8, latent_size=16, trunk_channels=(16, 16, 16, 16),
    branches={"diffuse": (8,), "specular": (8,), "normals": (8,)}, detail_maps=(4, 4),
)  # fmt: skip
SETTINGS = InversionSettings(coarse_resolution=32, coarse_stages=((2, 1.0),), coarse_steps=75)


@pytest.fixture
def generator() -> ReflectanceGenerator:
    torch.manual_seed(3)
    generator = ReflectanceGenerator(CONFIG)
    generator.measure_mean_w(64)
    return generator


def information_of(generator: ReflectanceGenerator, weight: float = 1.0) -> TextureTarget:
    with torch.no_grad():
        latent = generator.mapping(torch.randn(1, 8, generator=torch.Generator().manual_seed(9)))
        maps = generator.synthesize(3.0 * generator.broadcast(latent))
    return TextureTarget(linear_to_srgb(maps.diffuse), torch.full((1, 64, 64, 1), weight))


def test_coarse_inversion_comes_closer(generator: ReflectanceGenerator, model: MorphableModel) -> None:
    fit = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS)
    texture = information_of(generator)
    skin = open_mouth(model, CONFIG.resolution).outside  # Behind the lips, maps of unobserved texels are dark.

    def away() -> torch.Tensor:
        return (skin * (linear_to_srgb(fit.maps().diffuse) - texture.encoded)).abs().mean()

    before = away()
    losses = [fit.invert_coarsely(texture, 40) for _ in range(3)]
    after = away()
    assert losses == sorted(losses, reverse=True)
    assert after < 0.7 * before


def test_restored_fit_is_the_same(generator: ReflectanceGenerator, model: MorphableModel) -> None:
    fit = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS)
    fit.invert_coarsely(information_of(generator), 5)
    changed = {"branches.diffuse.base": generator.state_dict()["branches.diffuse.base"].numpy() + np.float32(0.1)}
    fit.restore(fit.w_plus, changed)
    other = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS)
    other.restore(fit.w_plus, fit.tuned_weights())
    assert set(fit.tuned_weights()) == set(changed)
    assert torch.equal(fit.maps().diffuse, other.maps().diffuse)
    untouched = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS)
    untouched.restore(fit.w_plus, {})
    assert not torch.equal(fit.maps().diffuse, untouched.maps().diffuse)


def test_evidence_shrinks_by_confidence() -> None:
    encoded = torch.zeros(1, 4, 4, 3)
    weight = torch.zeros(1, 4, 4, 1)
    encoded[0, 0, 0], weight[0, 0, 0] = 0.8, 1.0
    encoded[0, 0, 1] = 0.1
    small = TextureTarget(encoded, weight).at(2)
    assert small.encoded[0, 0, 0, 0] == pytest.approx(0.8, abs=1e-3)
    assert small.weight[0, 0, 0, 0] == pytest.approx(0.25)
    assert float(small.weight[0, 1, 1, 0]) == 0.0


def test_slices_add_up_to_one_run(generator: ReflectanceGenerator, model: MorphableModel) -> None:
    texture = information_of(generator)
    whole = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS)
    whole.invert_coarsely(texture, 12)
    sliced = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS)
    for _ in range(4):
        sliced.invert_coarsely(texture, 3)
    assert whole.w_plus is not None
    assert sliced.w_plus is not None
    np.testing.assert_allclose(sliced.w_plus, whole.w_plus, atol=1e-5)


def test_inversion_starts_from_the_encoders_guess_and_stays_near(
    generator: ReflectanceGenerator, model: MorphableModel
) -> None:
    torch.manual_seed(5)
    encoder = encoder_for(generator)
    texture = information_of(generator)
    guess = encoder.encode(texture.encoded, texture.weight, delighted=True)[0].numpy()
    fit = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS, lambda _: encoder)
    fit.invert_coarsely(texture, 0)
    assert fit.w_plus is not None
    np.testing.assert_array_equal(fit.w_plus, guess)
    # Without observations the encoder's prediction stays.
    unobserved = information_of(generator, weight=0.0)
    blind = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS, lambda _: encoder)
    blind.invert_coarsely(unobserved, 5)
    assert blind.w_plus is not None
    np.testing.assert_allclose(
        blind.w_plus, encoder.encode(unobserved.encoded, unobserved.weight, delighted=True)[0].numpy(), atol=1e-3
    )
    # Without the encoder it starts from the mean latent.
    plain = ReflectanceFit(generator, model, select_backend("cpu"), replace(SETTINGS, encoder=False), lambda _: encoder)
    plain.invert_coarsely(texture, 0)
    assert plain.w_plus is not None
    np.testing.assert_array_equal(plain.w_plus, np.broadcast_to(generator.mean_w.numpy(), plain.w_plus.shape))
    # A latent that is known already is not guessed again.
    warm = ReflectanceFit(generator, model, select_backend("cpu"), SETTINGS, lambda _: encoder)
    warm.restore(np.zeros_like(guess), {})
    warm.invert_coarsely(texture, 0)
    assert warm.w_plus is not None
    assert not warm.w_plus.any()

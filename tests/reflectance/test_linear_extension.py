"""Extension of a generator: nothing changes at zero, new weights add their maps, files round-trip."""

from pathlib import Path

import pytest
import torch

from fitme.errors import ModelFileError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.linear_extension import (
    LinearExtension,
    extended_encoder,
    extended_generator,
    load_extension,
    save_extension,
)
from fitme.reflectance.texture_encoder import TextureEncoderConfig, encoder_for, mark_of

COUNT, HIDDEN = 3, 12


@pytest.fixture
def extension() -> LinearExtension:
    random = torch.Generator().manual_seed(0)
    return LinearExtension(
        0.3 * torch.randn(COUNT, 4, 32, 32, generator=random),
        torch.tensor([1.0, 0.0, 0.0]),
        torch.tensor([0.2, 1.0, 1.0]),
        0.1 * torch.randn(COUNT, HIDDEN, generator=random),
        torch.zeros(COUNT),
    )


def test_maps_at_weights_of_zero_are_the_old_ones(tiny_generator: ReflectanceGenerator, extension: LinearExtension):
    extended = extended_generator(tiny_generator, extension)
    w = torch.randn(2, tiny_generator.config.latent_size, generator=torch.Generator().manual_seed(1))
    old = tiny_generator.raw_pyramid(tiny_generator.broadcast(w))[64]
    new = extended.raw_pyramid(extended.broadcast(torch.cat([w, torch.zeros(2, COUNT)], 1)))[64]
    for name, values in old.items():
        torch.testing.assert_close(new[name], values, atol=1e-4, rtol=1e-4)


def test_a_weight_adds_its_map(tiny_generator: ReflectanceGenerator, extension: LinearExtension):
    extended = extended_generator(tiny_generator, extension)
    zero = torch.zeros(1, extended.config.latent_size)
    one = zero.clone()
    one[0, -1] = 1.0
    before, after = (extended.raw_pyramid(extended.broadcast(w), 16)[16] for w in (zero, one))
    wanted = torch.nn.functional.avg_pool2d(extension.components[-1:], 2)
    torch.testing.assert_close(after["diffuse"] - before["diffuse"], wanted[:, :3], atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(after["normals"], before["normals"], atol=1e-5, rtol=1e-4)


def test_random_latents_keep_the_old_part_and_have_the_new_distribution(
    tiny_generator: ReflectanceGenerator, extension: LinearExtension
):
    extended = extended_generator(tiny_generator, extension)
    z = torch.randn(4000, extended.latent_size, generator=torch.Generator().manual_seed(2))
    w = extended.mapping(z)
    old = tiny_generator.config.latent_size
    torch.testing.assert_close(w[:, :old], tiny_generator.mapping(z[:, :-COUNT]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(w[:, old:].mean(0), extension.mean, atol=0.06, rtol=0.0)
    torch.testing.assert_close(w[:, old:].std(0), extension.deviation, atol=0.06, rtol=0.0)
    torch.testing.assert_close(extended.mean_w[old:], extension.mean)


def test_the_encoder_keeps_its_prediction_and_adds_new_components(
    tiny_generator: ReflectanceGenerator, extension: LinearExtension
):
    sizes = TextureEncoderConfig(resolution=32, channels=(4, 6), narrow_channels=3, hidden_size=HIDDEN)
    encoder = encoder_for(tiny_generator, sizes).eval()
    extended = extended_generator(tiny_generator, extension)
    larger = extended_encoder(encoder, extended, extension)
    assert larger.generator_mark == mark_of(extended)
    random = torch.Generator().manual_seed(3)
    texture, seen = torch.rand(2, 32, 32, 3, generator=random), torch.ones(2, 32, 32, 1)
    old, new = encoder.encode(texture, seen), larger.encode(texture, seen)
    torch.testing.assert_close(new[..., :-COUNT], old, atol=1e-4, rtol=1e-4)
    assert float(new[..., -COUNT:].std(0).min()) >= 0.0
    assert new.shape[-1] == old.shape[-1] + COUNT


def test_files_round_trip(tmp_path: Path, extension: LinearExtension):
    path = tmp_path / "extension.safetensors"
    save_extension(extension, path)
    found = load_extension(path)
    torch.testing.assert_close(found.components, extension.components, atol=0.01, rtol=0.0)
    torch.testing.assert_close(found.encoder_weight, extension.encoder_weight, atol=1e-3, rtol=0.0)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelFileError, match="fetch or fit it again"):
        load_extension(path)
    with pytest.raises(ModelFileError, match="there is no extension"):
        load_extension(tmp_path / "other.safetensors")

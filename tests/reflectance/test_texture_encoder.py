"""Texture encoder: inputs, outputs, files and training."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from fitme.errors import InputError, ModelFileError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.packaged_models import packaged_encoder, packaged_generator
from fitme.reflectance.raw_outputs import encode_raw
from fitme.reflectance.texture_encoder import (
    PAINTED_ENCODER,
    TextureEncoderConfig,
    encoder_for,
    load_body,
    load_encoder,
    mark_of,
    save_encoder,
)
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.closed_form.principal_components import principal_components
from fitme.training.data.dataset import texel_weight
from fitme.training.encoder.score import score_encoder
from fitme.training.encoder.simulated_textures import CaptureSettings
from fitme.training.encoder.trainer import EncoderTrainer, EncoderTrainingConfig

from ..conftest import TINY

SIZES = TextureEncoderConfig(
    resolution=32, positional_maps=2, channels=(8, 12, 12), narrow_channels=6, hidden_size=24, offset_directions=3
)
SHORT = EncoderTrainingConfig(
    views=6, component_steps=50, component_batch=6, samples=24, sample_steps=40, coarse_map_steps=20, map_steps=20,
    map_batch=4,
)  # fmt: skip
EASY = CaptureSettings(yaw_deg=10.0, exposure_log_sigma=0.0, hole_share=0.0, occluder_share=0.0, largest_noise=0.0)


@pytest.fixture
def tiny_encoder(tiny_generator):
    torch.manual_seed(1)
    encoder = encoder_for(tiny_generator, SIZES).eval()
    torch.nn.init.normal_(encoder.directions, std=0.1)
    return encoder


@settings(max_examples=15, deadline=None)
@given(batch=st.integers(1, 3), factor=st.sampled_from([1, 2, 4]), seed=st.integers(0, 100))
def test_unobserved_texels_have_no_effect(batch, factor, seed):
    torch.manual_seed(3)
    generator = ReflectanceGenerator(TINY)
    encoder = encoder_for(generator, SIZES)
    random = torch.Generator().manual_seed(seed)
    side = SIZES.resolution * factor
    texture, noise = torch.rand(2, batch, side, side, 3, generator=random)
    visibility = torch.rand(batch, side, side, 1, generator=random).sub(0.5).clamp(min=0.0)
    found = encoder.encode(texture, visibility)
    assert found.shape == (batch, generator.num_layers, TINY.latent_size)
    other = encoder.encode(torch.where(visibility > 0.0, texture, noise), visibility)
    torch.testing.assert_close(other, found)
    again = encoder.encode(torch.where(visibility > 0.0, noise, texture), visibility)
    assert not torch.allclose(again, found)


def test_an_untrained_encoder_predicts_latents_of_the_generators_distribution(tiny_generator):
    encoder = encoder_for(tiny_generator, SIZES)
    features = encoder.features(torch.rand(2, 32, 32, 3), torch.ones(2, 32, 32, 1), torch.tensor([True, False]))
    z, w_plus = encoder.latents(features)
    torch.testing.assert_close(w_plus, tiny_generator.broadcast(tiny_generator.mapping(z)))


@pytest.mark.parametrize(
    ("texture", "visibility"),
    [((1, 32, 32, 4), (1, 32, 32, 1)), ((1, 32, 32, 3), (1, 16, 16, 1)), ((1, 48, 48, 3), (1, 48, 48, 1)),
     ((1, 16, 16, 3), (1, 16, 16, 1)), ((1, 32, 64, 3), (1, 32, 64, 1)), ((32, 32, 3), (32, 32, 1))],
)  # fmt: skip
def test_textures_of_other_shapes_are_refused(tiny_encoder, texture, visibility):
    with pytest.raises(InputError, match="cannot be encoded"):
        tiny_encoder.encode(torch.zeros(texture), torch.zeros(visibility))


def test_a_saved_encoder_is_loaded_unchanged(tiny_encoder, tiny_generator, tmp_path):
    path = tmp_path / "encoder.safetensors"
    save_encoder(tiny_encoder, path, exact=True)
    loaded = load_encoder(path)
    assert loaded.config == SIZES and loaded.generator_mark == mark_of(tiny_generator)
    inputs = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 1)
    torch.testing.assert_close(loaded.encode(*inputs), tiny_encoder.encode(*inputs))
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("spoil", ["missing", "truncated", "foreign", "other tensors", "no sizes"])
def test_unusable_files_are_refused_with_their_name(tiny_encoder, tmp_path, spoil):
    path = tmp_path / "bad.safetensors"
    save_encoder(tiny_encoder, path)
    metadata = {"format": "fitme-texture-encoder", "version": "1"}
    if spoil == "missing":
        path.unlink()
    elif spoil == "truncated":
        path.write_bytes(path.read_bytes()[:-1000])
    elif spoil == "foreign":
        save_file({"x": torch.zeros(2)}, path)
    elif spoil == "no sizes":
        save_file({"x": torch.zeros(2)}, path, metadata)
    else:
        sizes = {"config": "{}", "generator_config": "{}", "layers": "34", "generator": ""}
        save_file({"x": torch.zeros(2)}, path, metadata | sizes)
    with pytest.raises(ModelFileError, match=r"bad\.safetensors"):
        load_encoder(path)


def test_an_encoder_belongs_to_one_generator(tiny_generator):
    assert packaged_encoder(tiny_generator) is None
    mark = mark_of(tiny_generator)
    assert mark == mark_of(tiny_generator)
    with torch.no_grad():
        tiny_generator.mean_w.add_(0.1)
    assert mark_of(tiny_generator) != mark


def test_every_phase_of_training_reduces_its_loss(tiny_generator, few_skins):
    basis = principal_components(few_skins, texel_weight(default_texel_geometry(64)), TINY.linear_components, 32)
    tiny_generator.set_linear_model(encode_raw(few_skins.mean()[None]), basis.components)
    trainer = EncoderTrainer(tiny_generator, few_skins, SHORT, SIZES, EASY)
    before = {name: value.clone() for name, value in tiny_generator.state_dict().items()}
    for phase in (trainer.learn_components(), trainer.learn_samples(), trainer.learn_maps()):
        reports = list(phase)
        assert [report.step for report in reports] == list(range(1, reports[0].steps + 1))
        losses = [report.loss for report in reports]
        assert sum(losses[-8:]) < sum(losses[:8]), reports[0].phase
    assert all(torch.equal(value, before[name]) for name, value in tiny_generator.state_dict().items())


def test_training_is_repeatable_and_continues_from_another_body(tiny_generator, few_skins, tmp_path):
    shorter = replace(SHORT, component_steps=3, samples=8)
    trainers = [EncoderTrainer(tiny_generator, few_skins, shorter, SIZES) for _ in range(3)]
    for trainer in trainers[:2]:
        list(trainer.learn_components())
    first, second, third = (trainer.encoder for trainer in trainers)
    for name, value in first.state_dict().items():
        torch.testing.assert_close(value, second.state_dict()[name], msg=name)
    inputs = torch.rand(1, 32, 32, 3), torch.rand(1, 32, 32, 1), torch.tensor([True])
    assert not torch.allclose(first.features(*inputs), third.features(*inputs))
    save_encoder(first, tmp_path / "first.safetensors", exact=True)
    trainers[2].set_body(load_body(tmp_path / "first.safetensors"))
    torch.testing.assert_close(first.features(*inputs), third.features(*inputs))
    with pytest.raises(InputError, match="other sizes"):
        trainers[2].set_body(encoder_for(tiny_generator, replace(SIZES, hidden_size=16)).state_dict())


def test_the_default_encoder_predicts_held_out_heads():
    generator = packaged_generator()
    encoder = packaged_encoder(generator)
    assert encoder is not None, "the encoder's weights belong to another generator: train it for the default one"
    assert PAINTED_ENCODER.stat().st_size <= 4.5 * 2**20
    score = score_encoder(encoder, generator, heads=5)
    assert score.psnr_db > 22.0 and score.lowest_psnr_db > 16.0
    assert 0.1 < score.observed_share < 0.5
    assert score_encoder(encoder, generator, heads=1) == score_encoder(encoder, generator, heads=1)

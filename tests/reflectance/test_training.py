from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from fitme.errors import ConfigError, InputError, ModelFileError
from fitme.reflectance.atlas import default_atlas
from fitme.reflectance.dataset import build_dataset, load_dataset, texel_weight
from fitme.reflectance.discriminator import DiscriminatorConfig
from fitme.reflectance.generator import encode_raw
from fitme.reflectance.layers import downsample
from fitme.reflectance.linear_basis import LinearBasis, principal_components
from fitme.reflectance.prior import match_latents
from fitme.reflectance.sheets import map_sheet, sample_maps
from fitme.reflectance.skin import synthesize_skin
from fitme.reflectance.training import Trainer
from fitme.reflectance.training_config import Phase, TrainingConfig, load_training_config

from .conftest import TINY

CONFIG = TrainingConfig(
    phases=(Phase(16, 2, 2), Phase(64, 4, 2)),
    linear_steps=5,
    warm_up_steps=1,
    adversarial_interval=1,
    generator=TINY,
    discriminator=DiscriminatorConfig(resolution=32, branch_channels=(4, 6), joint_channels=(8, 8)),
)


def trainer_of(dataset, config=CONFIG) -> Trainer:
    weight = texel_weight(default_atlas(64))
    return Trainer(config, dataset, weight, basis_of(dataset))


@cache
def basis_of(dataset) -> LinearBasis:
    sizes = TINY.linear_components, TINY.linear_resolution
    return principal_components(dataset, texel_weight(default_atlas(64)), *sizes)


def test_a_resumed_run_ends_with_the_same_weights(few_skins, tmp_path):
    whole = trainer_of(few_skins)
    reports = list(whole.run())
    assert len(reports) == CONFIG.steps and "discriminator" in reports[-1].losses
    first = trainer_of(few_skins)
    list(first.run(3))
    first.save(tmp_path / "checkpoint.pt")
    second = trainer_of(few_skins)
    second.resume(tmp_path / "checkpoint.pt")
    assert [r.step for r in second.run()] == [4, 5, 6]
    for name, value in whole.finished_generator().state_dict().items():
        torch.testing.assert_close(value, second.finished_generator().state_dict()[name], msg=name)


def test_checkpoints_of_other_settings_or_damaged_ones_are_refused(few_skins, tmp_path):
    trainer = trainer_of(few_skins)
    path = tmp_path / "checkpoint.pt"
    trainer.save(path)
    with pytest.raises(ModelFileError, match="other settings"):
        trainer_of(few_skins, replace(CONFIG, seed=7)).resume(path)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ModelFileError, match="readable"):
        trainer_of(few_skins).resume(path)


def test_training_reduces_the_loss_and_samples_are_maps(few_skins):
    config = replace(CONFIG, phases=(Phase(16, 30, 4),), learning_rate=5e-3)
    losses = [report.losses["maps_16"] for report in trainer_of(few_skins, config).run()]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_principal_components_rebuild_the_maps_they_come_from(few_skins):
    basis = principal_components(few_skins, texel_weight(default_atlas(64)), 11, 32)
    raw = torch.cat(list(encode_raw(downsample(few_skins.batch(np.arange(6), np.zeros(6, bool)), 2)).values()), 1)
    coefficients = (raw - basis.mean).flatten(1) @ basis.projection
    rebuilt = basis.mean + (coefficients @ basis.components.flatten(1)).unflatten(1, basis.mean.shape)
    torch.testing.assert_close(rebuilt, raw, rtol=1e-2, atol=2e-2)


def test_the_linear_path_reproduces_a_model_exactly(tiny_generator):
    mean = {name: torch.randn(1, count, 64, 64) for name, count in (("diffuse", 3), ("specular", 1), ("normals", 2))}
    tiny_generator.set_linear_model(mean, torch.randn(5, 6, 32, 32))
    for parameter in (p for n, p in tiny_generator.named_parameters() if "outputs" in n and "style" not in n):
        torch.nn.init.zeros_(parameter)
    w_plus = torch.randn(1, tiny_generator.num_layers, TINY.latent_size)
    with torch.no_grad():
        mixed = tiny_generator.mixture(w_plus[:, 0]) @ tiny_generator.components.flatten(1)
        expected = downsample(mean["diffuse"], 2) + mixed.unflatten(1, (6, 32, 32))[:, :3]
        found = tiny_generator.raw_pyramid(w_plus, 32)[32]["diffuse"]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_mapping_network_learns_a_distribution_that_is_not_normal(tiny_generator):
    flat = {name: torch.zeros(1, count, 64, 64) for name, count in (("diffuse", 3), ("specular", 1), ("normals", 2))}
    tiny_generator.set_linear_model(flat, torch.randn(5, 6, 32, 32))
    kinds = torch.where(torch.rand(400, 1) < 0.3, 1.2, 0.0)
    latents = tiny_generator.mapping(torch.randn(400, TINY.noise_size)).detach() + kinds
    distances = match_latents(tiny_generator, latents, 120)
    assert np.mean(distances[-10:]) < 0.7 * np.mean(distances[:5])
    found = tiny_generator.mapping(torch.randn(400, TINY.noise_size)).mean()
    assert abs(float(found - latents.mean())) < 0.3


def test_an_untrained_generator_starts_from_the_mean_of_the_data(few_skins):
    base = trainer_of(few_skins).generator.branches["specular"].base
    assert float((torch.sigmoid(base.detach())[0] - few_skins.mean()[3:4]).abs().max()) < 0.02
    sheet = map_sheet(sample_maps(trainer_of(few_skins).finished_generator(), 2))
    assert sheet.shape == (3 * 64, 2 * 64, 3)


def test_datasets_are_reused_mirrored_and_checked(few_skins, tmp_path):
    built = build_dataset(tmp_path, count=2, resolution=32)
    stamp = (tmp_path / "maps.npy").stat().st_mtime_ns
    build_dataset(tmp_path, count=2, resolution=32)
    assert (tmp_path / "maps.npy").stat().st_mtime_ns == stamp
    plain, mirrored = built.batch(np.array([1, 1]), np.array([False, True]))
    torch.testing.assert_close(mirrored[:4], plain[:4].flip(-1))
    torch.testing.assert_close(mirrored[4], -plain[4].flip(-1))
    skin = synthesize_skin(1, 32)
    torch.testing.assert_close(plain[3], torch.from_numpy(skin.specular[..., 0]), rtol=0.0, atol=3e-3)
    np.save(tmp_path / "maps.npy", np.zeros((2, 32, 16, 6), np.uint8))
    with pytest.raises(InputError, match="expected"):
        load_dataset(tmp_path)
    with pytest.raises(InputError, match="build"):
        load_dataset(tmp_path / "nowhere")


def test_the_shipped_configuration_is_valid_and_mistakes_are_named(tmp_path):
    config = load_training_config(Path(__file__).parents[2] / "configs" / "train_cpu.yaml")
    assert config.phases[-1].resolution == config.generator.resolution == 256
    for text, word in (
        ("phasez: 3", "phasez"),
        ("phases: [{resolution: 4096, steps: 1, batch: 1}]", "texels"),
        ("[1", "YAML"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(ConfigError, match=word):
            load_training_config(path)

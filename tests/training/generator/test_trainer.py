from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fitme.errors import ConfigError, ModelFileError
from fitme.reflectance.layers import downsample
from fitme.reflectance.raw_outputs import encode_raw
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.closed_form.latent_prior import match_latents
from fitme.training.closed_form.principal_components import (
    detail_components,
    map_scores,
    principal_components,
    start_rows,
)
from fitme.training.data.dataset import texel_weight
from fitme.training.generator.config import Phase, TrainingConfig, load_training_config
from fitme.training.generator.trainer import Trainer, TrainingStart
from fitme.training.objectives.adversarial import AdversaryConfig
from fitme.training.objectives.discriminator import DiscriminatorConfig

from ...conftest import TINY

CONFIG = TrainingConfig(
    phases=(Phase(16, 2, 2), Phase(64, 4, 2, adversarial=True)),
    warm_up_steps=1,
    path_length_weight=0.1,
    path_length_interval=2,
    path_length_resolution=16,
    adversary=AdversaryConfig(interval=1, augmentation_images=8),
    generator=TINY,
    discriminator=DiscriminatorConfig(resolution=32, branch_channels=(4, 6), joint_channels=(8, 8)),
)


def trainer_of(dataset, config=CONFIG) -> Trainer:
    return Trainer(config, dataset, texel_weight(default_texel_geometry(64)), start_of(dataset))


@cache
def start_of(dataset) -> TrainingStart:
    weight = texel_weight(default_texel_geometry(64))
    basis = principal_components(dataset, weight, TINY.linear_components, TINY.linear_resolution)
    details = {32: detail_components(dataset, weight, basis, TINY.branch_positions, 32)}
    return TrainingStart(basis, details, map_scores(dataset, weight, TINY.linear_resolution))


def test_a_resumed_run_ends_with_the_same_weights(few_skins):
    whole = trainer_of(few_skins)
    reports = list(whole.run())
    assert len(reports) == CONFIG.steps
    assert {"discriminator", "adversarial", "maps_64"} <= set(reports[-1].losses)
    assert any("path_length" in report.losses for report in reports)
    first = trainer_of(few_skins)
    list(first.run(3))
    second = trainer_of(few_skins)
    second.restore(first.state())
    assert [r.step for r in second.run()] == [4, 5, 6]
    for name, value in whole.generator.state_dict().items():
        assert torch.equal(value, second.generator.state_dict()[name]), name
    for name, value in whole.finished_generator().state_dict().items():
        assert torch.equal(value, second.finished_generator().state_dict()[name]), name


def test_a_state_of_other_networks_is_refused(few_skins):
    state = trainer_of(few_skins, replace(CONFIG, generator=replace(TINY, latent_size=10))).state()
    with pytest.raises(ModelFileError, match="configuration"):
        trainer_of(few_skins).restore(state)


def test_training_reduces_the_loss(few_skins):
    config = replace(CONFIG, phases=(Phase(16, 40, 4),), learning_rate=5e-3, path_length_weight=0.0)
    losses = [report.losses["maps_16"] for report in trainer_of(few_skins, config).run()]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_a_run_starts_from_the_data_s_own_linear_model(few_skins):
    # W is wider than the factors and their products are many, as it is in the shipped network.
    width = few_skins.factors.shape[1] + TINY.feature_count
    trainer = trainer_of(few_skins, replace(CONFIG, generator=replace(TINY, latent_size=width)))
    base = trainer.generator.branches["specular"].base
    assert float((torch.sigmoid(base.detach())[0] - few_skins.mean()[3:4]).abs().max()) < 0.02
    maps = few_skins.batch(np.arange(6), np.zeros(6, bool))
    wanted = start_of(few_skins).basis.coefficients(maps)
    with torch.no_grad():
        factors, mapping = trainer._factors_of(np.arange(6)), trainer.generator.mapping
        w = mapping.direct(torch.cat([factors, mapping.features(factors)], 1))
        found = torch.nn.functional.linear(w, trainer.generator.mixture.weight * trainer.generator.mixture.gain)
    # Six heads are far fewer than factors, so that the regression can follow them closely.
    assert float((found - wanted).square().mean()) < 0.3 * float(wanted.square().mean())


def test_unknown_factors_are_learned(few_skins):
    factors = few_skins.factors.copy()
    factors[2] = np.nan
    mixed = replace(few_skins, factors=factors)
    trainer = trainer_of(mixed, replace(CONFIG, phases=(Phase(16, 12, 4),)))
    before = trainer._factors_of(np.arange(6)).detach().clone()
    list(trainer.run())
    after = trainer._factors_of(np.arange(6)).detach()
    moved = (after - before).abs().amax(1) > 0.0
    assert moved.tolist() == [False, False, True, False, False, False]


def test_a_data_set_of_supplied_textures_alone_can_be_learned(few_skins):
    supplied = replace(few_skins, factors=np.full_like(few_skins.factors, np.nan))
    trainer = trainer_of(supplied, replace(CONFIG, phases=(Phase(16, 3, 4),)))
    assert trainer.generator.config.noise_size == TINY.noise_size
    assert all(np.isfinite(list(report.losses.values())).all() for report in trainer.run())


def test_fine_structures_are_found_apart_from_the_linear_model(few_skins):
    weight = texel_weight(default_texel_geometry(64))
    basis = principal_components(few_skins, weight, 1, TINY.linear_resolution)
    for maps in detail_components(few_skins, weight, basis, TINY.branch_positions, 32).values():
        torch.testing.assert_close(maps.square().mean((1, 2)), torch.ones(TINY.branch_positions))
        # Nothing that half the resolution could hold is in them.
        assert float(downsample(maps[None], 2).square().mean()) < 0.35


def test_principal_components_rebuild_the_maps_they_come_from(few_skins):
    basis = principal_components(few_skins, texel_weight(default_texel_geometry(64)), 11, 32)
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


def test_the_shipped_configuration_is_valid_and_mistakes_are_named(tmp_path):
    config = load_training_config(Path(__file__).parents[3] / "configs" / "train_cpu.yaml")
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


@given(count=st.integers(1, 400), most=st.integers(1, 60))
def test_rows_to_start_from_are_spread_over_the_data(count, most):
    rows = start_rows(count, most)
    assert len(rows) == len(set(rows.tolist())) == min(count, most)
    assert rows[0] == 0
    if len(rows) > 1:
        assert rows[-1] == count - 1
        assert np.ptp(np.diff(rows)) <= 1

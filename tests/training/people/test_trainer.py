"""Training on people: it learns, resumes to the bit, and its samples have every skin tone."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.training.objectives.discriminator import DiscriminatorConfig
from fitme.training.people.config import MapEncoderConfig, PeoplePhase, PeopleTrainingConfig, load_people_config
from fitme.training.people.latents import set_latent_distribution
from fitme.training.people.mixing import PeopleBank
from fitme.training.people.people_set import PeopleSet
from fitme.training.people.trainer import PeopleTrainer

from ...conftest import TINY

CONFIG = PeopleTrainingConfig(
    generator_seconds=1e9,
    phases=(PeoplePhase(64, 1.0, 2, adversarial=True),),
    rehearsal_interval=2,
    rehearsal_batch=2,
    path_length_interval=2,
    path_length_resolution=16,
    mixed_precision=False,
    latent_samples=32,
    # What the tiny generator has not: no features of its own, one mapping layer, other positions of detail.
    generator=replace(TINY, feature_count=0, mapping_layers=1, branch_positions=(3, 2), detail_maps=(3, 2, 1)),
    discriminator=DiscriminatorConfig(64, (4, 6), (8, 8)),
    map_encoder=MapEncoderConfig(32, (8, 8, 12), 0.0, 4),
)


@pytest.fixture
def trainer(few_people: PeopleSet, tiny_generator: ReflectanceGenerator) -> PeopleTrainer:
    return PeopleTrainer(CONFIG, PeopleBank(few_people), tiny_generator)


def test_reconstruction_improves(few_people: PeopleSet, tiny_generator: ReflectanceGenerator):
    phase = PeoplePhase(64, 1.0, 4)
    config = replace(CONFIG, phases=(phase,), learning_rate=0.01, ema_decay=0.9, path_length_weight=0.0)
    trainer = PeopleTrainer(config, PeopleBank(few_people), tiny_generator)

    def error() -> float:
        maps, found = trainer.rebuilt(8)
        return float((maps - found)[:, :3].abs().mean())

    before = error()
    for _ in range(60):
        trainer.train_step()
    assert error() < 0.8 * before


def test_a_resumed_run_goes_on_as_if_it_had_not_stopped(
    trainer: PeopleTrainer, few_people: PeopleSet, tiny_generator: ReflectanceGenerator
):
    for _ in range(2):
        trainer.train_step()
    other = PeopleTrainer(CONFIG, PeopleBank(few_people), tiny_generator)
    other.restore(copy.deepcopy(trainer.state()))
    for _ in range(2):
        one, two = trainer.train_step(), other.train_step()
        assert one.step == two.step
        assert one.losses["maps_64"] == pytest.approx(two.losses["maps_64"], rel=1e-3)


def test_random_latents_are_distributed_as_those_of_the_data(tiny_generator: ReflectanceGenerator):
    random = torch.Generator().manual_seed(0)
    mixing = torch.randn(12, 12, generator=random)
    latents = torch.randn(4000, 12, generator=random) @ mixing + 0.5
    # Along one direction the data have two clusters, which quantiles keep.
    side = (torch.rand(4000, generator=random) < 0.5).float() * 2.0 - 1.0
    latents[:, 0] += 12.0 * side
    generator = ReflectanceGenerator(CONFIG.generator)
    set_latent_distribution(generator, latents, side, seed=0)
    found = generator.mapping(torch.randn(4000, 8, generator=random))
    torch.testing.assert_close(found.mean(0), latents.mean(0), atol=0.6, rtol=0.0)
    middle = ((found[:, 0] - latents[:, 0].mean()).abs() < 3.0).float().mean()
    assert middle < 0.35


def test_the_file_of_settings_holds_the_defaults():
    path = Path(__file__).parents[3] / "configs" / "train_people.yaml"
    assert load_people_config(path) == PeopleTrainingConfig()

"""Settings of a training run, read from YAML."""

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from fitme.errors import ConfigError
from fitme.reflectance.discriminator import DiscriminatorConfig
from fitme.reflectance.generator import GeneratorConfig


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one resolution."""

    resolution: int
    steps: int
    batch: int


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that a run depends on; two runs with equal settings on equal software give equal weights."""

    seed: int = 0
    skins: int = 1400
    """Made-up heads to train on."""
    data_workers: int = 2
    phases: tuple[Phase, ...] = (Phase(64, 700, 8), Phase(128, 500, 4), Phase(256, 900, 4))
    learning_rate: float = 3e-3
    adam_betas: tuple[float, float] = (0.8, 0.99)
    linear_steps: int = 2000
    """Steps before the phases in which encoder and mapping network learn the linear model's coefficients alone."""
    linear_rate: float = 0.02
    """Learning rate of the linear model's maps beside the rest's."""
    warm_up_steps: int = 50
    final_rate: float = 0.15
    """Learning rate at the end beside the beginning's; cosine between."""
    prior_steps: int = field(default=1500, repr=False)
    """Steps at the end that fit the mapping network to the latents that the data have; checkpoints do not depend on
    it."""
    ema_decay: float = 0.995
    diffuse_weight: float = 1.0
    """Of the L1 on sRGB-encoded diffuse albedo."""
    specular_weight: float = 0.5
    normal_weight: float = 2.0
    """Of the L1 on slopes, which are small."""
    gradient_weight: float = 1.0
    """Of the L1 on differences between neighbouring texels, beside each map's own weight."""
    coarse_weight: float = 0.5
    """Of every resolution below the phase's."""
    divergence_weight: float = 3e-5
    """Per nat."""
    offset_weight: float = 0.02
    """Of the mean square of the W+ offsets."""
    offset_share: float = 0.6
    """Share of each batch that may use its W+ offsets; the rest must do with w alone."""
    adversarial_weight: float = 0.004
    adversarial_interval: int = 3
    """Steps between two uses of the discriminator, in the phases at its generator's full resolution."""
    gradient_penalty: float = 2.0
    """R1, on every fourth of the discriminator's steps, times four."""
    checkpoint_steps: int = 100
    sample_steps: int = 200
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    @property
    def steps(self) -> int:
        """Of all phases together."""
        return sum(phase.steps for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """The phase that a step belongs to."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]


def load_training_config(path: Path) -> TrainingConfig:
    """Read a YAML file; ConfigError on an unreadable file, an unknown key or a value that cannot be."""
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is not a readable YAML file: {error}") from error
    try:
        return _build(values or {})
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error


def _build(values: dict[str, Any]) -> TrainingConfig:
    known = {f.name for f in fields(TrainingConfig)}
    if unknown := sorted(set(values) - known):
        raise ConfigError(f"unknown settings {unknown}; known are {sorted(known)}")
    arguments: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in values.items()
    }
    if "phases" in arguments:
        arguments["phases"] = tuple(Phase(**phase) for phase in arguments["phases"])
    for name, kind in (("generator", GeneratorConfig), ("discriminator", DiscriminatorConfig)):
        if name in arguments:
            nested: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in arguments[name].items()}
            arguments[name] = kind(**nested)
    config = TrainingConfig(**arguments)
    if any(phase.resolution > config.generator.resolution or phase.batch < 1 for phase in config.phases):
        raise ConfigError(f"phases must have a batch of at least 1 and at most {config.generator.resolution} texels")
    return config

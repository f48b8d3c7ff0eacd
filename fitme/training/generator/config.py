"""Settings of a training run, read from YAML."""

from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path

from fitme.configuration import read_yaml, settings_from
from fitme.errors import ConfigError
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.training.objectives.adversarial import AdversaryConfig
from fitme.training.objectives.discriminator import DiscriminatorConfig
from fitme.training.objectives.reconstruction import ReconstructionWeights


@dataclass(frozen=True)
class Phase:
    """A stretch of training at one resolution."""

    resolution: int
    steps: int
    batch: int
    adversarial: bool = False
    """Whether the adversarial term is on; only at the generator's full resolution."""
    fit_details: bool = False
    """Whether the phase begins with `detail_maps.fit_details`."""


@dataclass(frozen=True)
class TrainingConfig:
    """Settings of a run; runs with equal settings on equal software give equal weights. Fields with `repr=False` may
    change when a run is resumed."""

    seed: int = 0
    skins: int = 1600
    """Synthetic heads to train on where no data set is given."""
    data_workers: int = field(default=2, repr=False)
    """Processes that paint the synthetic heads."""
    phases: tuple[Phase, ...] = (Phase(64, 700, 8), Phase(128, 500, 4), Phase(256, 900, 4, True, True))
    learning_rate: float = 3e-3
    adam_betas: tuple[float, float] = (0.8, 0.99)
    map_rate: float = 0.02
    """Learning rate of the linear model's maps as a share of `learning_rate`."""
    position_rate: float = 0.3
    """Learning rate of positional maps as a share of `learning_rate`."""
    warm_up_steps: int = 50
    final_rate: float = 0.1
    """Learning rate at the end as a share of `learning_rate`; cosine between."""
    ema_decay: float = 0.995
    path_length_weight: float = 0.0
    """Weight of the path-length penalty; 0 turns it off."""
    path_length_interval: int = 16
    """Steps between two path-length penalties."""
    path_length_resolution: int = 64
    """Texels a side of the outputs whose path length is regularised."""
    mixed_precision: bool = False
    """Whether torch's autocast to bfloat16 is on."""
    prior_steps: int = field(default=0, repr=False)
    """Steps at the end that fit the mapping network to the latents of the data, see `latent_prior.match_latents`."""
    checkpoint_steps: int = field(default=100, repr=False)
    sample_steps: int = field(default=500, repr=False)
    """Steps between two contact sheets and two measurements."""
    measured_heads: int = field(default=4, repr=False)
    """Held-out heads on whose inversion the best weights are chosen."""
    reconstruction: ReconstructionWeights = field(default_factory=ReconstructionWeights)
    adversary: AdversaryConfig = field(default_factory=AdversaryConfig)
    generator: GeneratorConfig = field(default_factory=GeneratorConfig)
    discriminator: DiscriminatorConfig = field(default_factory=DiscriminatorConfig)

    def __post_init__(self) -> None:
        full = self.generator.resolution
        if any(phase.resolution > full or phase.batch < 1 for phase in self.phases):
            raise ValueError(f"phases must have a batch of at least 1 and at most {full} texels")
        if any(phase.adversarial and phase.resolution != full for phase in self.phases):
            raise ValueError(f"only phases at the full {full} texels can be adversarial")

    def begins_with_details(self, step: int) -> bool:
        """Whether a step is the first of a phase with `fit_details`."""
        starts = accumulate((phase.steps for phase in self.phases), initial=0)
        return any(phase.fit_details and step == start for phase, start in zip(self.phases, starts, strict=False))

    @property
    def steps(self) -> int:
        """Steps of all phases together."""
        return sum(phase.steps for phase in self.phases)

    def phase(self, step: int) -> Phase:
        """The phase that a step belongs to."""
        for phase in self.phases:
            if step < phase.steps:
                return phase
            step -= phase.steps
        return self.phases[-1]


def load_training_config(path: Path) -> TrainingConfig:
    """Read a YAML file.

    :raises ConfigError: for an unreadable file, an unknown key, a value of another type, or phases that cannot be run.
    """
    content = read_yaml(path)
    if isinstance(generator := content.get("generator"), dict):
        try:
            content["generator"] = GeneratorConfig.current_format(generator)
        except (TypeError, AttributeError) as error:
            raise ConfigError(f"{path}: generator: branches must be a mapping of names to lists") from error
    return settings_from(TrainingConfig, content, str(path))

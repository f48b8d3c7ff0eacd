"""Settings of the training on people, read from YAML."""

from dataclasses import dataclass, field
from pathlib import Path

from fitme.configuration import read_yaml, settings_from
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.training.encoder.trainer import EncoderSettings
from fitme.training.objectives.discriminator import DiscriminatorConfig
from fitme.training.objectives.reconstruction import ReconstructionWeights


@dataclass(frozen=True)
class PeoplePhase:
    """A stretch of training at one resolution."""

    resolution: int
    share: float
    """Of the wall time of the generator's training."""
    batch: int
    adversarial: bool = False


@dataclass(frozen=True)
class PeopleAdversaryConfig:
    """Settings of the adversarial term."""

    gradient_share: float = 0.5
    """Norm of the adversarial gradient on the maps over that of the reconstruction's, to which its weight is set."""
    learning_rate: float = 2e-3
    """Of the discriminator."""
    gradient_penalty: float = 4.0
    """Gamma of R1."""
    penalty_interval: int = 16
    """Steps of the discriminator between two penalties."""
    augmentation_target: float = 0.6
    """E[sign(D(real))] to which the augmentation's probability is controlled."""
    augmentation_images: int = 60_000
    """Real maps over which the augmentation's probability can rise from 0 to 1."""


@dataclass(frozen=True)
class MapEncoderConfig:
    """Sizes and training of the encoder of whole maps, which takes the place of known factors."""

    resolution: int = 128
    channels: tuple[int, ...] = (64, 128, 192, 256, 256)
    seconds_share: float = 0.12
    """Share of the generator's wall time in which it learns the start generator's latents."""
    batch: int = 64


@dataclass(frozen=True)
class PeopleTrainingConfig:
    """Settings of a run. Its length is wall time: schedules follow the share of it that has passed."""

    seed: int = 0
    generator_seconds: float = 280.0
    """Wall time of the generator's training."""
    encoder_seconds: float = 100.0
    """Wall time of the texture encoder's training, after the generator's."""
    phases: tuple[PeoplePhase, ...] = (
        PeoplePhase(256, 0.3, 32), PeoplePhase(512, 0.7, 16, True),
    )  # fmt: skip
    learning_rate: float = 2e-3
    map_rate: float = 0.05
    """Learning rate of the linear model's maps as a share of `learning_rate`."""
    position_rate: float = 0.5
    """Learning rate of positional and detail maps as a share of `learning_rate`."""
    final_rate: float = 0.1
    """Learning rate at the end as a share of `learning_rate`; cosine between."""
    adam_betas: tuple[float, float] = (0.5, 0.99)
    ema_decay: float = 0.997
    latent_noise: float = 0.25
    """Noise on encoded latents, in standard deviations of their distribution, so that what lies between two people is
    skin, too."""
    rehearsal_interval: int = 4
    """Steps between two steps on samples of the start generator, so that W+ still holds what no portrait shows."""
    rehearsal_batch: int = 8
    path_length_weight: float = 0.5
    path_length_interval: int = 16
    path_length_resolution: int = 64
    mixed_precision: bool = True
    """Whether torch's autocast to bfloat16 is on."""
    checkpoint_seconds: float = 120.0
    """Wall time between two checkpoints."""
    latent_samples: int = 6144
    """Random heads whose latents the mapping network is fitted to at the end."""
    reconstruction: ReconstructionWeights = field(default_factory=lambda: ReconstructionWeights(contrast=4.0))
    adversary: PeopleAdversaryConfig = field(default_factory=PeopleAdversaryConfig)
    generator: GeneratorConfig = field(
        default_factory=lambda: GeneratorConfig(
            resolution=512,
            noise_size=128,
            feature_count=0,
            mapping_layers=1,
            branches={"diffuse": (32, 16, 8), "specular": (12, 8, 6), "normals": (20, 12, 8)},
            branch_positions=(16, 16, 4),
            detail_maps=(64, 40, 16, 2),
        )
    )
    discriminator: DiscriminatorConfig = field(
        default_factory=lambda: DiscriminatorConfig(512, (24, 48, 96), (160, 256, 256, 256))
    )
    map_encoder: MapEncoderConfig = field(default_factory=MapEncoderConfig)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)

    def phase(self, progress: float) -> PeoplePhase:
        """The phase at a share of the generator's wall time."""
        for phase in self.phases:
            if progress < phase.share:
                return phase
            progress -= phase.share
        return self.phases[-1]


def load_people_config(path: Path) -> PeopleTrainingConfig:
    """Read a YAML file.

    :raises ConfigError: for an unreadable file, an unknown key, or a value of another type.
    """
    content = read_yaml(path)
    if isinstance(generator := content.get("generator"), dict):
        content["generator"] = GeneratorConfig.current_format(generator)
    return settings_from(PeopleTrainingConfig, content, str(path))

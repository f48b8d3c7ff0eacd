"""Training of the texture encoder (`fitme train encoder`).

Three phases, each cheaper per step than the next one. First, without the generator, the body learns to predict the
principal components of the maps from simulated observations. Then the encoder learns z on the generator's own samples,
whose z is known. Last, W+ goes through the frozen generator, and its maps are compared with the true ones, hidden
texels included.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from fitme.errors import InputError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import downsample
from fitme.reflectance.texture_encoder import (
    TextureEncoderConfig,
    encoder_for,
    is_body,
    load_body,
    save_encoder,
)
from fitme.reflectance.weights import load_generator
from fitme.shape.model_file import load_default_model
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import MapDataset, load_dataset, texel_weight
from fitme.training.data.encoding import channel_count, encoded_maps, mirrored_maps
from fitme.training.encoder.simulated_textures import (
    CaptureSettings,
    TextureObservation,
    Views,
    measure_views,
    random_yaws,
    simulate_observations,
)

COMPONENTS = 160
"""Number of principal components that the body learns to predict."""
SAMPLE_BATCH = 16
"""Heads per batch of synthesis and of downsampling."""
SQUARED_SHARE = 4.0
"""Weight of squared relative to absolute errors of colour: the score is PSNR."""
CHANNEL_WEIGHTS = (1.0, 1.0, 1.0, 0.4, 0.7, 0.7)
"""Weights of the channels of an encoded map in principal components."""
LATENT_SHARE = 0.05
"""Weight of the error of z relative to the error of the maps."""


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """Lengths, learning rates and loss weights of the training."""

    seed: int = 0
    views: int = 400
    """Number of random poses of heads, drawn once."""
    component_steps: int = 3000
    component_batch: int = 32
    component_rate: float = 1.5e-3
    samples: int = 1500
    """Number of the generator's samples in the second phase."""
    sample_steps: int = 500
    sample_rate: float = 1e-3
    coarse_map_steps: int = 300
    """Steps through the generator at half the encoder's resolution, before those at its own."""
    map_steps: int = 300
    map_batch: int = 12
    map_rate: float = 8e-4
    average_decay: float = 0.995
    """Decay of the exponential moving average of the weights, which is the result."""
    specular_weight: float = 0.3
    normal_weight: float = 0.3
    prior_weight: float = 2e-3
    """Weight of the mean square of z."""
    offset_weight: float = 0.05
    """Weight of the mean square of W+ minus w, in standard deviations of w."""


@dataclass(frozen=True)
class EncoderSettings:
    """Settings of `fitme train encoder`, as in `configs/train_encoder.yaml`."""

    training: EncoderTrainingConfig = field(default_factory=EncoderTrainingConfig)
    capture: CaptureSettings = field(default_factory=CaptureSettings)
    network: TextureEncoderConfig = field(default_factory=TextureEncoderConfig)


@dataclass(frozen=True)
class EncoderStep:
    """Progress and loss of a step."""

    phase: str
    step: int
    steps: int
    loss: float


class EncoderTrainer:
    """Trainer of an encoder on maps at the encoder's resolution. Deterministic from the seed."""

    def __init__(
        self,
        generator: ReflectanceGenerator,
        dataset: MapDataset | Tensor,
        config: EncoderTrainingConfig | None = None,
        sizes: TextureEncoderConfig | None = None,
        capture: CaptureSettings | None = None,
        *,
        views: Views | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        """Trainer for a generator, which it moves to the device, on a data set, or on maps (N, 6, r, r) at the
        encoder's resolution; with `views` that were measured before."""
        self.config, self._capture = config or EncoderTrainingConfig(), capture or CaptureSettings()
        self._device = torch.device(device)
        torch.manual_seed(self.config.seed)
        self.encoder = encoder_for(generator, sizes).to(self._device)
        self._generator = generator.eval().requires_grad_(False).to(self._device)
        self._resolution = self.encoder.config.resolution
        maps = dataset if isinstance(dataset, Tensor) else small_maps(dataset, self._resolution)
        self._maps = maps.to(self._device, torch.float16)  # (N, 6, r, r)
        measured = views or measured_views(self._resolution, self.config, self._capture)
        self._views = measured.to(self._device)
        self._cover = _importance(self._resolution).to(self._device)
        self._random = torch.Generator(self._device).manual_seed(self.config.seed)
        with torch.no_grad():
            noise = torch.randn(512, generator.latent_size, generator=torch.Generator().manual_seed(0))
            self._deviation = generator.mapping(noise.to(self._device)).std(0).clamp(min=1e-3)  # (D,)

    def set_body(self, tensors: dict[str, Tensor]) -> None:
        """Replace the tensors that do not depend on the generator (`load_body`) by those of an encoder of equal sizes;
        InputError for other sizes."""
        own = self.encoder.state_dict()
        if any(name not in own or own[name].shape != value.shape for name, value in tensors.items()):
            raise InputError("the encoder to start from has other sizes: start from one of equal sizes, or from none")
        self.encoder.load_state_dict(tensors, strict=False)

    def learn_components(self) -> Iterator[EncoderStep]:
        """Train the body alone, on the principal components of the maps, with a linear read-out that is then
        dropped."""
        config = self.config
        mean, basis = _principal_components(self._maps, self._cover)  # (6rr,), (6rr, K)
        scale = basis.square().sum()
        readout = nn.Linear(self.encoder.config.hidden_size, basis.shape[1]).to(self._device)
        for parameter in readout.parameters():
            nn.init.zeros_(parameter)
        body = [value for name, value in self.encoder.named_parameters() if is_body(name)]
        size = basis.square().sum(0).sqrt()  # (K,) of each component in a map
        unit = basis / size.square()

        def loss() -> Tensor:
            maps = self._batch(config.component_batch)
            observation = simulate_observations(maps, self._views, self._capture, self._random)
            wanted = (observation.target.flatten(1) * _weights(self._cover) - mean) @ unit
            found = readout(self._features(observation))
            error: Tensor = ((found - wanted) * size).square().sum(1).mean() / scale
            return error

        yield from self._descend(
            "components", [*body, *readout.parameters()], config.component_rate, config.component_steps, loss
        )

    def learn_samples(self) -> Iterator[EncoderStep]:
        """Train on the generator's own samples, whose z is known. Errors of z are weighted by their effect on the
        maps."""
        config = self.config
        noise = torch.randn(config.samples, self._generator.latent_size, generator=self._random, device=self._device)
        maps = self._synthesized(noise)
        effect, directions = _linear_effect(noise, maps, self._cover)  # (Z, K), (6rr, K)
        scale = effect.square().sum()

        def loss() -> Tensor:
            index = torch.randint(len(noise), (config.component_batch,), generator=self._random, device=self._device)
            true = maps[index].float()
            observation = simulate_observations(true, self._views, self._capture, self._random)
            exposure = ((observation.target - true).flatten(1) * _weights(self._cover)) @ directions
            error = self.encoder.noise(self._features(observation)) - noise[index]
            changed = (error @ effect - exposure).square().sum(1).mean() / scale
            loss: Tensor = changed + LATENT_SHARE * error.square().mean()
            return loss

        yield from self._descend("samples", [*self.encoder.parameters()], config.sample_rate, config.sample_steps, loss)

    def learn_maps(self) -> Iterator[EncoderStep]:
        """Train through the frozen generator, on the true maps, at half the resolution first."""
        config = self.config
        done = 0

        def loss() -> Tensor:
            nonlocal done
            factor = 2 if done < config.coarse_map_steps else 1
            done += 1
            maps = self._batch(config.map_batch)
            observation = simulate_observations(maps, self._views, self._capture, self._random)
            z, w_plus = self.encoder.latents(self._features(observation))
            offsets = (w_plus - self.encoder.mapping(z)[:, None]) / self._deviation
            found = self._generator.synthesize(w_plus, self._resolution // factor)
            cover = downsample(self._cover[None], factor)
            loss: Tensor = self._difference(encoded_maps(found), downsample(observation.target, factor), cover)
            loss += config.prior_weight * z.square().mean() + config.offset_weight * offsets.square().mean()
            return loss

        steps = config.coarse_map_steps + config.map_steps
        yield from self._descend("maps", [*self.encoder.parameters()], config.map_rate, steps, loss)

    def _features(self, observation: TextureObservation) -> Tensor:
        return self.encoder.features(observation.texture, observation.visibility, observation.delighted)

    def _difference(self, found: Tensor, wanted: Tensor, cover: Tensor) -> Tensor:
        error = (found - wanted) * cover
        color = error[:, :3].abs().mean() + SQUARED_SHARE * (error[:, :3] * (found - wanted)[:, :3]).mean()
        specular_detail = self.config.specular_weight * error[:, 3].abs().mean()
        return color + specular_detail + self.config.normal_weight * error[:, 4:].abs().mean()

    def _descend(
        self, phase: str, parameters: list[nn.Parameter], rate: float, steps: int, loss_of: Callable[[], Tensor]
    ) -> Iterator[EncoderStep]:
        """Minimise a loss by Adam, warm-up and cosine schedule; ends with the moving average of the weights in
        place."""
        optimizer = torch.optim.Adam(parameters, rate, (0.9, 0.99))
        average = copy.deepcopy(self.encoder).requires_grad_(False)
        for step in range(steps):
            warm = min(1.0, (step + 1) / 50.0)
            for group in optimizer.param_groups:
                group["lr"] = rate * warm * (0.02 + 0.98 * 0.5 * (1.0 + float(np.cos(np.pi * step / steps))))
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            decay = min(self.config.average_decay, step / (step + 10.0))
            with torch.no_grad():
                for mean, value in zip(average.parameters(), self.encoder.parameters(), strict=True):
                    mean.lerp_(value, 1.0 - decay)
            yield EncoderStep(phase, step + 1, steps, float(loss.detach()))
        self.encoder.load_state_dict(average.state_dict())

    def _batch(self, count: int) -> Tensor:
        """Random maps (B, 6, r, r), half of them mirrored."""
        index = torch.randint(len(self._maps), (count,), generator=self._random, device=self._device)
        maps = self._maps[index].float()
        mirrored = torch.rand(count, generator=self._random, device=self._device) < 0.5
        return torch.where(mirrored[:, None, None, None], mirrored_maps(maps), maps)

    @torch.no_grad()
    def _synthesized(self, noise: Tensor) -> Tensor:
        """Maps (N, 6, r, r) of z (N, Z) in half precision."""
        parts = []
        for z in torch.split(noise, SAMPLE_BATCH):
            w_plus = self._generator.broadcast(self._generator.mapping(z))
            parts.append(encoded_maps(self._generator.synthesize(w_plus, self._resolution)).half())
        return torch.cat(parts)


def small_maps(dataset: MapDataset, resolution: int) -> Tensor:
    """All maps (N, 6, resolution, resolution), area means, in half precision; InputError if they are smaller."""
    factor = dataset.resolution // resolution
    if factor == 0:
        raise InputError(f"maps of {dataset.resolution} texels are too small to train on: build them at {resolution}")
    parts = []
    for first in range(0, len(dataset.maps), SAMPLE_BATCH):
        indices = np.arange(first, min(first + SAMPLE_BATCH, len(dataset.maps)))
        parts.append(downsample(dataset.batch(indices, np.zeros(len(indices), bool)), factor).half())
    return torch.cat(parts)


def _importance(resolution: int) -> Tensor:
    """Weights (r, r) of texels, of mean one; zero in gaps between islands."""
    texel_geometry = default_texel_geometry(resolution)
    weight = texel_weight(texel_geometry)[0, 0] * torch.from_numpy(texel_geometry.covered)
    return weight / weight.mean()


def measured_views(resolution: int, config: EncoderTrainingConfig, capture: CaptureSettings) -> Views:
    """Views of random heads in poses of the settings' distribution."""
    yaws = random_yaws(config.views, capture, config.seed)
    return measure_views(load_default_model(), yaws, resolution, capture, config.seed)


def _weights(cover: Tensor) -> Tensor:
    """Weights (6 r r,) of the values of a map."""
    channels = torch.tensor(CHANNEL_WEIGHTS, device=cover.device)
    assert len(channels) == channel_count()
    return (channels[:, None, None] * cover.sqrt()).flatten()


def _principal_components(maps: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (6rr,) of weighted maps (N, 6, r, r), and their principal components (6rr, K) scaled to standard deviations,
    by the method of snapshots (Sirovich 1987)."""
    flat = maps.float().flatten(1) * _weights(cover)
    mean = flat.mean(0)
    centred = flat - mean
    _, vectors = torch.linalg.eigh((centred @ centred.T).double())
    count = min(COMPONENTS, len(maps) - 1)
    vectors = vectors[:, -count:].flip(1).float()
    return mean, centred.T @ vectors / len(maps) ** 0.5


def _linear_effect(noise: Tensor, maps: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
    """Effect (Z, K) of each component of z (N, Z) on maps (N, 6, r, r) along their principal directions, by least
    squares; and the directions (6rr, K), of unit length in weighted maps."""
    mean, basis = _principal_components(maps, cover)
    size = basis.square().sum(0).sqrt()
    directions, weights = basis / size, _weights(cover)
    parts = [(part.float().flatten(1) * weights - mean) @ directions for part in torch.split(maps, SAMPLE_BATCH)]
    solution: Tensor = torch.linalg.lstsq(noise, torch.cat(parts)).solution
    return solution, directions


def train_encoder(
    generator: Path, data: Path, out: Path, start: Path | None = None, settings: EncoderSettings | None = None
) -> None:
    """Train an encoder for the generator of a file on the data set of a folder, and write it to `out`; with `start`,
    from the body of the encoder of a file."""
    chosen = settings or EncoderSettings()
    trainer = EncoderTrainer(
        load_generator(generator), load_dataset(data), chosen.training, chosen.network, chosen.capture
    )
    if start is not None:
        trainer.set_body(load_body(start))
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        for phase in (trainer.learn_components(), trainer.learn_samples(), trainer.learn_maps()):
            task = progress.add_task("training")
            for report in phase:
                progress.update(
                    task, description=f"{report.phase}: {report.loss:.4f}", total=report.steps, completed=report.step
                )
    save_encoder(trainer.encoder, out)

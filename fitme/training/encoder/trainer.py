"""Training of the texture encoder: `python -m fitme.training.encoder.trainer --generator FILE --data DIR
--out FILE`.

Three phases, each cheaper per step than the next. First the body learns, without the generator, to predict the maps'
principal components from what pictures show of them. Then it learns z on the generator's own samples, whose z is known.
Last, W+ goes through the frozen generator, and its maps are compared with the true ones, the unseen half included.
"""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
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
from fitme.render.rasterizer import select_backend
from fitme.shape import load_default_model
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.data.dataset import MapDataset, channel_count, encoded_maps, load_dataset, texel_weight
from fitme.training.encoder.simulated_textures import (
    CaptureSettings,
    TextureObservation,
    Views,
    measure_views,
    random_yaws,
    simulate_observations,
)

COMPONENTS = 160
"""Principal components of the maps that the body learns to predict."""
SAMPLE_BATCH = 16
"""Latents synthesised at a time."""
SQUARED_SHARE = 4.0
"""Weight of squared beside absolute errors of colour: the measure is PSNR."""
LATENT_SHARE = 0.05
"""Weight of z itself beside what it changes in the maps."""


@dataclass(frozen=True)
class EncoderTrainingConfig:
    """Lengths and weights of the training."""

    seed: int = 0
    views: int = 400
    """Random poses of heads, drawn once."""
    component_steps: int = 3000
    component_batch: int = 32
    component_rate: float = 1.5e-3
    samples: int = 1500
    """Samples of the generator that teach z."""
    sample_steps: int = 500
    sample_rate: float = 1e-3
    coarse_map_steps: int = 300
    """Steps through the generator at half the encoder's resolution, before those at its own."""
    map_steps: int = 300
    map_batch: int = 12
    map_rate: float = 8e-4
    average_decay: float = 0.995
    """Of the running mean of the weights, which is what is kept."""
    specular_weight: float = 0.3
    normal_weight: float = 0.3
    prior_weight: float = 2e-3
    """Mean square of z."""
    offset_weight: float = 0.05
    """Mean square of W+'s departure from w, in units of w's spread."""


@dataclass(frozen=True)
class EncoderStep:
    """What a step measured."""

    phase: str
    step: int
    steps: int
    loss: float


class EncoderTrainer:
    """An encoder, its data at the encoder's resolution, and views to see them in. Deterministic from the seed."""

    def __init__(
        self,
        generator: ReflectanceGenerator,
        dataset: MapDataset,
        config: EncoderTrainingConfig | None = None,
        sizes: TextureEncoderConfig | None = None,
        capture: CaptureSettings | None = None,
    ) -> None:
        self.config, self._capture = config or EncoderTrainingConfig(), capture or CaptureSettings()
        torch.manual_seed(self.config.seed)
        self._generator = generator.eval().requires_grad_(False)
        self.encoder = encoder_for(generator, sizes)
        self._resolution = self.encoder.config.resolution
        self._maps = small_maps(dataset, self._resolution)  # (N, 6, r, r) half precision
        self._views = _views(self._resolution, self.config, self._capture)
        self._cover = _importance(self._resolution)
        self._random = torch.Generator().manual_seed(self.config.seed)
        with torch.no_grad():
            noise = torch.randn(512, generator.latent_size, generator=torch.Generator().manual_seed(0))
            self._spread = generator.mapping(noise).std(0).clamp(min=1e-3)  # (D,)

    def set_body(self, tensors: dict[str, Tensor]) -> None:
        """Take over what does not depend on the generator (`load_body`) from an encoder of the same sizes; InputError
        for others."""
        own = self.encoder.state_dict()
        if any(name not in own or own[name].shape != value.shape for name, value in tensors.items()):
            raise InputError("the encoder to start from has other sizes: start from one of the same, or from none")
        self.encoder.load_state_dict(tensors, strict=False)

    def learn_components(self) -> Iterator[EncoderStep]:
        """Train the body alone, on the maps' principal components."""
        config = self.config
        mean, basis = _principal_components(self._maps, self._cover)  # (6rr,), (6rr, K)
        scale = basis.square().sum()
        readout = nn.Linear(self.encoder.config.hidden_size, basis.shape[1])
        for parameter in readout.parameters():
            nn.init.zeros_(parameter)
        body = [value for name, value in self.encoder.named_parameters() if is_body(name)]
        size = basis.square().sum(0).sqrt()  # (K,) of each component in a map
        unit = basis / size.square()

        def loss() -> Tensor:
            maps = self._batch(config.component_batch)
            observation = simulate_observations(maps, self._views, self._capture, self._random)
            wanted = (observation.wanted.flatten(1) * _weights(self._cover) - mean) @ unit
            found = readout(self._features(observation))
            error: Tensor = ((found - wanted) * size).square().sum(1).mean() / scale
            return error

        yield from self._descend(
            "components", [*body, *readout.parameters()], config.component_rate, config.component_steps, loss
        )

    def learn_samples(self) -> Iterator[EncoderStep]:
        """Train on the generator's own samples, whose z is known."""
        config = self.config
        noise = torch.randn(config.samples, self._generator.latent_size, generator=self._random)
        maps = self._synthesized(noise)
        effect, directions = _linear_effect(noise, maps, self._cover)  # (Z, K), (6rr, K)
        scale = effect.square().sum()

        def loss() -> Tensor:
            index = torch.randint(len(noise), (config.component_batch,), generator=self._random)
            true = maps[index].float()
            observation = simulate_observations(true, self._views, self._capture, self._random)
            exposure = ((observation.wanted - true).flatten(1) * _weights(self._cover)) @ directions
            error = self.encoder.noise(self._features(observation)) - noise[index]
            changed = (error @ effect - exposure).square().sum(1).mean() / scale
            loss: Tensor = changed + LATENT_SHARE * error.square().mean()
            return loss

        yield from self._descend("samples", [*self.encoder.parameters()], config.sample_rate, config.sample_steps, loss)

    def learn_maps(self) -> Iterator[EncoderStep]:
        """Train through the frozen generator, on the true maps."""
        config = self.config
        done = 0

        def loss() -> Tensor:
            nonlocal done
            factor = 2 if done < config.coarse_map_steps else 1
            done += 1
            maps = self._batch(config.map_batch)
            observation = simulate_observations(maps, self._views, self._capture, self._random)
            z, w_plus = self.encoder.latents(self._features(observation))
            offsets = (w_plus - self.encoder.mapping(z)[:, None]) / self._spread
            found = self._generator.synthesize(w_plus, self._resolution // factor)
            cover = downsample(self._cover[None], factor)
            loss: Tensor = self._difference(encoded_maps(found), downsample(observation.wanted, factor), cover)
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
        """Adam under a warm-up and a cosine; ends with the running mean of the weights in place."""
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
        """(B, 6, r, r) random maps, half of them mirrored."""
        index = torch.randint(len(self._maps), (count,), generator=self._random)
        maps = self._maps[index].float()
        mirrored = maps.flip(-1) * torch.tensor([1.0, 1.0, 1.0, 1.0, -1.0, 1.0])[:, None, None]
        return torch.where((torch.rand(count, generator=self._random) < 0.5)[:, None, None, None], mirrored, maps)

    @torch.no_grad()
    def _synthesized(self, noise: Tensor) -> Tensor:
        """Maps (N, 6, r, r) of z (N, Z) in half precision."""
        parts = []
        for z in torch.split(noise, SAMPLE_BATCH):
            w_plus = self._generator.broadcast(self._generator.mapping(z))
            parts.append(encoded_maps(self._generator.synthesize(w_plus, self._resolution)).half())
        return torch.cat(parts)


def small_maps(dataset: MapDataset, resolution: int) -> Tensor:
    """All maps (N, 6, resolution, resolution), averaged down, in half precision; InputError if they are smaller."""
    factor = dataset.resolution // resolution
    if factor == 0:
        raise InputError(f"maps of {dataset.resolution} texels are too small to train on: build them at {resolution}")
    parts = []
    for first in range(0, len(dataset.maps), SAMPLE_BATCH):
        indices = np.arange(first, min(first + SAMPLE_BATCH, len(dataset.maps)))
        parts.append(downsample(dataset.batch(indices, np.zeros(len(indices), bool)), factor).half())
    return torch.cat(parts)


def _importance(resolution: int) -> Tensor:
    """(r, r) how much each texel counts, of mean one; gaps between islands do not."""
    texel_geometry = default_texel_geometry(resolution)
    weight = texel_weight(texel_geometry)[0, 0] * torch.from_numpy(texel_geometry.covered)
    return weight / weight.mean()


def _views(resolution: int, config: EncoderTrainingConfig, capture: CaptureSettings) -> Views:
    yaws = random_yaws(config.views, capture, config.seed)
    return measure_views(load_default_model(), select_backend("cpu"), yaws, resolution, capture, config.seed)


def _weights(cover: Tensor) -> Tensor:
    """(6 r r,) how much each number of a map counts."""
    shares = torch.tensor([1.0, 1.0, 1.0, 0.4, 0.7, 0.7])
    assert len(shares) == channel_count()
    return (shares[:, None, None] * cover.sqrt()).flatten()


def _principal_components(maps: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean (6rr,) of maps and mirrored maps, and components (6rr, K) scaled to their standard deviations."""
    flat = maps.float().flatten(1) * _weights(cover)
    mean = flat.mean(0)
    centred = flat - mean
    _, vectors = torch.linalg.eigh((centred @ centred.T).double())
    count = min(COMPONENTS, len(maps) - 1)
    vectors = vectors[:, -count:].flip(1).float()
    return mean, centred.T @ vectors / len(maps) ** 0.5


def _linear_effect(noise: Tensor, maps: Tensor, cover: Tensor) -> tuple[Tensor, Tensor]:
    """(Z, K): by how much each component of z (N, Z) moves the maps (N, 6, r, r) along their principal directions, by
    least squares; and the directions (6rr, K), of unit length in weighted maps."""
    mean, basis = _principal_components(maps, cover)
    size = basis.square().sum(0).sqrt()
    directions, weights = basis / size, _weights(cover)
    parts = [(part.float().flatten(1) * weights - mean) @ directions for part in torch.split(maps, SAMPLE_BATCH)]
    solution: Tensor = torch.linalg.lstsq(noise, torch.cat(parts)).solution
    return solution, directions


def train_encoder(
    generator: Annotated[Path, typer.Option(help="Generator that the encoder is for.")],
    data: Annotated[Path, typer.Option(help="Folder of maps, as `fitme data build` makes it.")],
    out: Annotated[Path, typer.Option(help="File to write.")],
    start: Annotated[Path | None, typer.Option(help="Encoder whose body to go on from.")] = None,
    component_steps: Annotated[
        int, typer.Option(min=0, help="Steps that train the body; few will do with --start.")
    ] = EncoderTrainingConfig.component_steps,
    seed: Annotated[int, typer.Option(help="Decides everything that is random.")] = 0,
) -> None:
    """Train the encoder that gives a fit its first guess of W+."""
    config = EncoderTrainingConfig(seed=seed, component_steps=component_steps)
    trainer = EncoderTrainer(load_generator(generator), load_dataset(data), config)
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


if __name__ == "__main__":
    typer.run(train_encoder)

"""Training of the reflectance generator as the decoder of a variational autoencoder with an adversarial term.

On few maps and little time an encoder teaches the generator faster than a discriminator can: the encoder finds a z (and
offsets of W+ from w), the generator reconstructs, and the divergence keeps z near N(0, I), so that random z give
skins. The discriminator sees crops at full resolution and adds the texture that an L1 loss averages away. At the end
the distribution of z that was found is folded into the mapping network.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.color import linear_to_srgb
from fitme.errors import ModelFileError
from fitme.reflectance.dataset import MapDataset
from fitme.reflectance.discriminator import BranchedDiscriminator
from fitme.reflectance.encoder import MapEncoder
from fitme.reflectance.generator import NORMAL_SLOPE_SCALE, ReflectanceGenerator, encode_raw
from fitme.reflectance.layers import downsample
from fitme.reflectance.linear_basis import LinearBasis
from fitme.reflectance.prior import match_latents
from fitme.reflectance.training_config import TrainingConfig

PENALTY_INTERVAL = 4
"""Steps of the discriminator between two gradient penalties."""
COEFFICIENT_BATCH, COEFFICIENT_RATE = 32, 3e-3
COEFFICIENT_DIVERGENCE = 1e-3
"""Per nat, beside the weighted mean square of coefficients of unit variance."""
CHECKPOINT_FORMAT = 1


@dataclass(frozen=True)
class StepReport:
    """What a step measured."""

    step: int
    resolution: int
    losses: dict[str, float]


class Trainer:
    """Networks, optimisers and their progress. Randomness depends on the seed and the step alone, so that a run that is
    resumed gives the same weights as one that was not interrupted."""

    def __init__(self, config: TrainingConfig, dataset: MapDataset, weight: Tensor, basis: LinearBasis) -> None:
        self.config = config
        self.step = 0
        self._dataset = dataset
        self._weight = weight  # (1, 1, R, R)
        torch.manual_seed(config.seed)
        self.generator = ReflectanceGenerator(config.generator)
        self.encoder = MapEncoder(self.generator, basis)
        self.discriminator = BranchedDiscriminator(config.discriminator)
        self.generator.set_linear_model(encode_raw(dataset.mean()[None]), basis.components)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        maps = [p for name, p in self.generator.named_parameters() if is_linear_map(name)]
        networks = [p for name, p in self.generator.named_parameters() if not is_linear_map(name)]
        self._optimizer = torch.optim.Adam(
            [
                {"params": [*networks, *self.encoder.parameters()], "share": 1.0},
                {"params": maps, "share": config.linear_rate},
            ],
            config.learning_rate, config.adam_betas,
        )  # fmt: skip
        self._judge_optimizer = torch.optim.Adam(self.discriminator.parameters(), config.learning_rate / 2, (0.0, 0.99))
        centres = (torch.arange(dataset.resolution) + 0.5) / dataset.resolution * 2.0 - 1.0
        self._position = torch.stack(torch.meshgrid(centres, centres, indexing="xy"))[None]  # (1, 2, R, R)

    def run(self, steps: int | None = None) -> Iterator[StepReport]:
        """Train until the end, or for some steps, reporting each."""
        end = self.config.steps if steps is None else min(self.config.steps, self.step + steps)
        while self.step < end:
            yield self.train_step()

    def train_step(self) -> StepReport:
        """One step of the phase that is due; before the first, `_learn_coefficients`."""
        if self.step == 0:
            self._learn_coefficients()
        config, phase = self.config, self.config.phase(self.step)
        draw = np.random.default_rng((config.seed, self.step))
        indices = draw.integers(len(self._dataset.maps), size=phase.batch)
        maps = self._dataset.batch(indices, draw.random(phase.batch) < 0.5)  # (B, 6, R, R)
        noise = torch.from_numpy(draw.standard_normal((phase.batch, config.generator.noise_size)).astype(np.float32))
        free = torch.from_numpy(draw.random(phase.batch) < config.offset_share)[:, None, None]
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * self._rate() * group["share"]

        encoding = self.encoder(maps)
        w = self.generator.mapping(encoding.sample(noise))
        w_plus = self.generator.broadcast(w) + torch.where(free, encoding.offsets, torch.zeros(()))
        losses: dict[str, Tensor] = {}
        pyramid = {size: comparable(raw) for size, raw in self.generator.raw_pyramid(w_plus, phase.resolution).items()}
        for size, output in pyramid.items():
            share = 1.0 if size == phase.resolution else config.coarse_weight
            factor = maps.shape[-1] // size
            losses[f"maps_{size}"] = share * self._reconstruction(
                output, downsample(maps, factor), downsample(self._weight, factor)
            )
        losses["divergence"] = config.divergence_weight * encoding.divergence()
        losses["offsets"] = config.offset_weight * encoding.offsets.square().mean()
        adversarial = phase.resolution == maps.shape[-1] and self.step % config.adversarial_interval == 0
        if adversarial and config.adversarial_weight > 0.0:
            fake, real, position = self._crop(pyramid[phase.resolution], maps, draw)
            losses["discriminator"] = self._train_discriminator(fake.detach(), real, position)
            self.discriminator.requires_grad_(False)
            score = self.discriminator(by_modality(fake), position)
            self.discriminator.requires_grad_(True)
            losses["adversarial"] = config.adversarial_weight * functional.softplus(-score).mean()
        total = sum((value for name, value in losses.items() if name != "discriminator"), torch.zeros(()))
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._average()
        self.step += 1
        return StepReport(self.step, phase.resolution, {name: float(value.detach()) for name, value in losses.items()})

    def finished_generator(self, prior_steps: int = 0) -> ReflectanceGenerator:
        """The averaged generator, its mapping network taking z ~ N(0, I): mean and covariance of the z that the encoder
        finds over the data are folded into the first layer, then `prior_steps` of `prior.match_latents` fit the rest of
        the distribution. `mean_w` is measured."""
        generator = copy.deepcopy(self.average)
        means, variances = self._posteriors()
        size = means.shape[1]
        centred = (means - means.mean(0)).double()
        covariance = centred.T @ centred / len(means) + variances.mean(0).double().diag()
        factor = torch.linalg.cholesky(covariance + 1e-6 * torch.eye(size, dtype=torch.float64)).float()
        with torch.no_grad():
            noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(self.config.seed))
            latents = generator.mapping(means + noise * variances.sqrt())
        generator.mapping.fold_input(factor, means.mean(0))
        generator.measure_mean_w()
        if prior_steps > 0:
            match_latents(generator, latents, prior_steps, self.config.seed)
        return generator.eval()

    @torch.no_grad()
    def _posteriors(self) -> tuple[Tensor, Tensor]:
        """Means and variances (2N, Z) of z over the data and their mirror images."""
        means, variances = [], []
        for first in range(0, len(self._dataset.maps), COEFFICIENT_BATCH):
            indices = np.arange(first, min(first + COEFFICIENT_BATCH, len(self._dataset.maps)))
            for mirrored in (False, True):
                encoding = self.encoder(self._dataset.batch(indices, np.full(len(indices), mirrored)))
                means.append(encoding.mean)
                variances.append(encoding.log_variance.exp())
        return torch.cat(means), torch.cat(variances)

    @torch.no_grad()
    def reconstruct(self, indices: npt.NDArray[np.int64]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Raw maps by modality of the data, and what encoder and averaged generator make of them."""
        maps = self._dataset.batch(indices, np.zeros(len(indices), bool))
        encoding = self.encoder(maps)
        w_plus = self.average.broadcast(self.average.mapping(encoding.mean)) + encoding.offsets
        *_, rebuilt = self.average.raw_pyramid(w_plus).values()
        return encode_raw(maps), rebuilt

    def save(self, path: Path) -> None:
        """Write a checkpoint; the file appears under its name only when it is complete."""
        state = {
            "format": CHECKPOINT_FORMAT, "step": self.step, "config": repr(self.config),
            "generator": self.generator.state_dict(), "average": self.average.state_dict(),
            "encoder": self.encoder.state_dict(), "discriminator": self.discriminator.state_dict(),
            "optimizer": self._optimizer.state_dict(), "judge_optimizer": self._judge_optimizer.state_dict(),
        }  # fmt: skip
        partial = path.with_name(path.name + ".partial")
        torch.save(state, partial)
        partial.replace(path)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint; ModelFileError when it is unreadable or of other settings."""
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
        except (OSError, RuntimeError, EOFError, ValueError) as error:
            raise ModelFileError(f"{path} is not a readable checkpoint ({error}): remove it to start anew") from error
        if state.get("format") != CHECKPOINT_FORMAT or state.get("config") != repr(self.config):
            raise ModelFileError(
                f"{path} belongs to a run with other settings: use its configuration or another folder"
            )
        self.generator.load_state_dict(state["generator"])
        self.average.load_state_dict(state["average"])
        self.encoder.load_state_dict(state["encoder"])
        self.discriminator.load_state_dict(state["discriminator"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._judge_optimizer.load_state_dict(state["judge_optimizer"])
        self.step = int(state["step"])

    def _learn_coefficients(self) -> None:
        """Teach encoder, mapping network and mixture the coefficients of the data in the linear model: a variational
        autoencoder of small vectors, which takes seconds and gives the convolutions a start."""
        config = self.config
        with torch.no_grad():
            parts = []
            for first in range(0, len(self._dataset.maps), COEFFICIENT_BATCH):
                indices = np.arange(first, min(first + COEFFICIENT_BATCH, len(self._dataset.maps)))
                for mirrored in (False, True):
                    maps = self._dataset.batch(indices, np.full(len(indices), mirrored))
                    parts.append(self.encoder.coefficients(maps))
            coefficients = torch.cat(parts)  # (2N, K)
            size = self.generator.components.flatten(1).square().mean(1).sqrt()
            importance = size / size.mean()
        modules = (self.generator.mapping, self.generator.mixture, self.encoder)
        optimizer = torch.optim.Adam([p for m in modules for p in m.parameters()], COEFFICIENT_RATE)
        noise = torch.Generator().manual_seed(config.seed)
        for step in range(config.linear_steps):
            for group in optimizer.param_groups:
                group["lr"] = COEFFICIENT_RATE * (1.0 - 0.95 * step / config.linear_steps)
            chosen = torch.randint(len(coefficients), (COEFFICIENT_BATCH,), generator=noise)
            wanted = coefficients[chosen]
            encoding = self.encoder.encode(wanted)
            z = encoding.sample(torch.randn(encoding.mean.shape, generator=noise))
            error = (self.generator.mixture(self.generator.mapping(z)) - wanted) * importance
            loss = error.square().mean() + COEFFICIENT_DIVERGENCE * encoding.divergence()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        self.average.load_state_dict(self.generator.state_dict())

    def _reconstruction(self, output: Tensor, target: Tensor, weight: Tensor) -> Tensor:
        """L1 of values and of differences between neighbours, (B, 6, R, R) as the dataset has them."""
        config = self.config
        scales = output.new_tensor(
            [config.diffuse_weight / 3.0] * 3 + [config.specular_weight] + [config.normal_weight / 2.0] * 2
        )[:, None, None]
        error = output - target
        values = (error.abs() * weight * scales).sum(1).mean()
        across = ((error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:] * scales).sum(1).mean()
        down = ((error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :] * scales).sum(1).mean()
        return values + config.gradient_weight * (across + down)

    def _crop(self, fake: Tensor, real: Tensor, draw: np.random.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """The same random window of the generator's maps, the data's and their coordinates."""
        size = self.config.discriminator.resolution
        top, left = (int(k) for k in draw.integers(real.shape[-1] - size + 1, size=2))
        windows = [x[..., top : top + size, left : left + size] for x in (fake, real, self._position)]
        return windows[0], windows[1], windows[2]

    def _train_discriminator(self, fake: Tensor, real: Tensor, position: Tensor) -> Tensor:
        """Non-saturating loss with a lazy R1 penalty."""
        penalised = (self.step // self.config.adversarial_interval) % PENALTY_INTERVAL == 0
        real = real.detach().requires_grad_(penalised)
        real_score = self.discriminator(by_modality(real), position)
        fake_score = self.discriminator(by_modality(fake), position)
        loss = functional.softplus(fake_score).mean() + functional.softplus(-real_score).mean()
        total = loss
        if penalised:
            (gradient,) = torch.autograd.grad(real_score.sum(), real, create_graph=True)
            penalty = gradient.square().sum((1, 2, 3)).mean()
            total = loss + self.config.gradient_penalty / 2.0 * PENALTY_INTERVAL * penalty
        self._judge_optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self._judge_optimizer.step()
        return loss.detach()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        for mean, value in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)

    def _rate(self) -> float:
        config = self.config
        progress = self.step / max(config.steps, 1)
        cosine = config.final_rate + (1.0 - config.final_rate) * 0.5 * (1.0 + math.cos(math.pi * progress))
        return cosine * min(1.0, (self.step + 1) / max(config.warm_up_steps, 1))


def is_linear_map(name: str) -> bool:
    """Whether a parameter of the generator belongs to its linear model's maps."""
    return name == "components" or name.endswith(".base")


def comparable(raw: dict[str, Tensor]) -> Tensor:
    """The generator's raw outputs as the dataset has maps: (B, 6, R, R)."""
    diffuse = linear_to_srgb(torch.sigmoid(raw["diffuse"]))
    return torch.cat([diffuse, torch.sigmoid(raw["specular"]), raw["normals"] * NORMAL_SLOPE_SCALE], 1)


def by_modality(maps: Tensor) -> dict[str, Tensor]:
    """Maps (B, 6, R, R) for the discriminator, scaled alike."""
    return {"diffuse": maps[:, :3] * 4.0 - 2.0, "specular": maps[:, 3:4] * 4.0 - 2.0, "normals": maps[:, 4:] * 10.0}

"""Trainer of the reflectance generator on people: an autoencoder of whole maps whose decoder is the generator, with the
branched discriminator on reconstructions and on random samples.

The factors of a real skin are unknown, so an encoder of whole maps takes their place (`map_encoder`). It first learns
the latents of the start generator, whose samples are free; then both learn to rebuild heads mixed from people
(`mixing`). Latents are noised, and samples drawn from the distribution of the encoded latents are judged by the
discriminator, so that what lies between people is skin, and nobody's. Wall time takes the place of steps: schedules
follow the share of it that has passed.
"""

import copy
import math
import time
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.errors import ModelFileError
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.raw_outputs import encode_raw
from fitme.training.data.encoding import channel_count, encoded_maps
from fitme.training.generator.trainer import is_linear_map
from fitme.training.objectives.augmentation import AdaptiveAugmentation
from fitme.training.objectives.discriminator import BranchedDiscriminator
from fitme.training.objectives.path_length import PathLength
from fitme.training.objectives.reconstruction import (
    by_modality,
    encoded_outputs,
    reconstruction_losses,
)
from fitme.training.people.config import PeopleTrainingConfig
from fitme.training.people.latents import LatentStatistics, set_latent_distribution
from fitme.training.people.map_encoder import MapEncoder
from fitme.training.people.mixing import PeopleBank

WEIGHT_DECAY = 0.9
"""Decay of the running mean of the adversarial weight."""
WEIGHT_INTERVAL = 8
"""Steps between two measurements of that weight."""
LARGEST_WEIGHT = 1.0
MEAN_DRAWS = 8
"""Batches whose mean is the linear model's mean at the start."""
LATENT_BATCH = 32


@dataclass(frozen=True)
class PeopleStep:
    """Report of a step."""

    step: int
    progress: float
    """Share of the generator's wall time that has passed."""
    resolution: int
    losses: dict[str, float]


class PeopleTrainer:
    """Networks and optimisers of a run."""

    def __init__(
        self,
        config: PeopleTrainingConfig,
        bank: PeopleBank,
        start: ReflectanceGenerator,
        device: torch.device | str = "cpu",
    ) -> None:
        """:param start: generator whose weights are taken over where shapes agree, and whose samples are rehearsed."""
        self.config, self.bank, self._device = config, bank, torch.device(device)
        torch.manual_seed(config.seed)
        self._random = torch.Generator(self._device).manual_seed(config.seed)
        sizes = replace(config.generator, latent_size=start.config.latent_size)
        self._start = copy.deepcopy(start).requires_grad_(False).eval().to(self._device)
        self.generator = ReflectanceGenerator(sizes)
        take_over(self.generator, start)
        self.generator.to(self._device)
        self.encoder = MapEncoder(
            min(config.map_encoder.resolution, bank.resolution), config.map_encoder.channels, sizes.latent_size,
            channel_count(),
        ).to(self._device)  # fmt: skip
        self._set_mean()
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self.encoder_average = copy.deepcopy(self.encoder).requires_grad_(False)
        self.discriminator = BranchedDiscriminator(config.discriminator).to(self._device)
        adversary = config.adversary
        self._augmentation = AdaptiveAugmentation(adversary.augmentation_target, adversary.augmentation_images)
        self._discriminator_optimizer = torch.optim.Adam(
            self.discriminator.parameters(), adversary.learning_rate, (0.0, 0.99)
        )
        self._optimizer = torch.optim.Adam(self._groups(), config.learning_rate, config.adam_betas)
        self._statistics = LatentStatistics(sizes.latent_size, self._device)
        self._path_length = PathLength()
        centres = (torch.arange(bank.resolution, device=self._device) + 0.5) / bank.resolution * 2.0 - 1.0
        self._position = torch.stack(torch.meshgrid(centres, centres, indexing="xy"))[None]
        self._weight, self._uses = 0.0, 0
        self.step, self.seconds = 0, 0.0

    @property
    def progress(self) -> float:
        """Share of the generator's wall time that has passed, over all calls."""
        return self.seconds / self.config.generator_seconds

    def train_step(self) -> PeopleStep:
        """Train for one step; its wall time counts."""
        began = time.monotonic()
        if self.progress < self.config.map_encoder.seconds_share:
            report = self._learn_latents()
        else:
            report = self._learn_people()
        self.step += 1
        self.seconds += time.monotonic() - began
        return report

    def state(self) -> dict[str, Any]:
        """State of the training, for `restore`."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "generator": self.generator.state_dict(),
            "average": self.average.state_dict(),
            "encoder": self.encoder.state_dict(),
            "encoder_average": self.encoder_average.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "discriminator_optimizer": self._discriminator_optimizer.state_dict(),
            "augmentation": self._augmentation.state_dict(),
            "statistics": self._statistics.state(),
            "path_length": self._path_length.state_dict(),
            "weight": self._weight,
            "uses": self._uses,
            "random": self._random.get_state(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`; ModelFileError for the state of other networks."""
        try:
            for name in ("generator", "average", "encoder", "encoder_average", "discriminator"):
                getattr(self, name).load_state_dict(state[name])
            self._optimizer.load_state_dict(state["optimizer"])
            self._discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])
            self._augmentation.load_state_dict(state["augmentation"])
            self._statistics.restore(state["statistics"])
            self._path_length.load_state_dict(state["path_length"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelFileError(
                f"the checkpoint does not fit this run's networks ({error}): resume it with its own configuration"
            ) from error
        self._weight, self._uses = float(state["weight"]), int(state["uses"])
        self._random.set_state(state["random"].cpu())
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

    @torch.no_grad()
    def finished_generator(self) -> ReflectanceGenerator:
        """Averaged generator on the CPU whose mapping network gives latents distributed as those of random heads."""
        latents, ita_axis = self._latents(self.config.latent_samples)
        generator = copy.deepcopy(self.average)
        set_latent_distribution(generator, latents.to(self._device), ita_axis.to(self._device), self.config.seed)
        generator = generator.cpu()
        generator.measure_mean_w()
        return generator.eval()

    @torch.no_grad()
    def rebuilt(self, count: int) -> tuple[Tensor, Tensor]:
        """Random heads (B, 6, R, R), and the averaged networks' reconstructions."""
        maps = self.bank.draw(count, torch.Generator(self._device).manual_seed(1)).maps
        w_plus = self.average.broadcast(self.encoder_average(maps))
        return maps, encoded_maps(self.average.synthesize(w_plus))

    def _learn_latents(self) -> PeopleStep:
        """Step of the encoder alone: latents of the start generator's samples."""
        config = self.config.map_encoder
        with torch.no_grad():
            w, maps = self._rehearsed(config.batch, self.encoder.resolution)
        with self._autocast():
            found = self.encoder(maps)
        scale = w.std(0).clamp(min=0.05)
        loss = ((found.float() - w) / scale).square().mean()
        self._descend(loss)
        self._statistics.update(found.detach().float())
        return PeopleStep(self.step + 1, self.progress, self.encoder.resolution, {"latents": float(loss.detach())})

    def _learn_people(self) -> PeopleStep:
        """Step of all networks."""
        config = self.config
        share = config.map_encoder.seconds_share
        phase = config.phase((self.progress - share) / (1.0 - share))
        drawn = self.bank.draw(phase.batch, self._random)
        maps = drawn.maps
        # Unseen texels are guesses of the start generator: they count half.
        weight = self.bank.weight * (0.5 + 0.5 * drawn.share)
        root = self._statistics.root()
        with self._autocast():
            encoded = self.encoder(maps).float()
            self._statistics.update(encoded.detach())
            noise = torch.randn(encoded.shape, generator=self._random, device=self._device)
            w = encoded + config.latent_noise * noise @ root
            pyramid = self.generator.raw_pyramid(self.generator.broadcast(w), phase.resolution)
        outputs = {size: encoded_outputs({k: v.float() for k, v in raw.items()}) for size, raw in pyramid.items()}
        losses = reconstruction_losses(outputs, maps, weight, config.reconstruction)
        if phase.adversarial:
            losses |= self._adversarial(outputs[phase.resolution], maps, losses, root)
        if self.step % config.rehearsal_interval == 0:
            losses["rehearsal"] = self._rehearsal()
        if config.path_length_weight > 0.0 and self.step % config.path_length_interval == 0:
            losses["path_length"] = self._path_penalty(encoded.detach())
        total = sum((value for name, value in losses.items() if name != "discriminator"), torch.zeros(()))
        self._descend(total)
        values = {name: float(value.detach()) for name, value in losses.items()}
        values["augmentation"] = self._augmentation.p
        return PeopleStep(self.step + 1, self.progress, phase.resolution, values)

    def _adversarial(self, rebuilt: Tensor, maps: Tensor, losses: dict[str, Tensor], root: Tensor) -> dict[str, Tensor]:
        """Losses of the discriminator's step (detached) and of the generator, on samples and reconstructions."""
        config, half = self.config, len(maps) // 2
        noise = torch.randn(len(maps) - half, root.shape[0], generator=self._random, device=self._device)
        with self._autocast():
            *_, raw = self.generator.raw_pyramid(
                self.generator.broadcast(self._statistics.mean + noise @ root), maps.shape[-1]
            ).values()
        samples = encoded_outputs({k: v.float() for k, v in raw.items()})
        fake = torch.cat([rebuilt[:half], samples])
        discriminator_loss = self._train_discriminator(fake.detach(), maps)
        self.discriminator.requires_grad_(False)
        with self._autocast():
            loss = functional.softplus(-self._score(fake)).mean()
        if self.step % WEIGHT_INTERVAL == 0 or self._weight == 0.0:
            # Weight at which both gradients on the rebuilt maps are in a fixed proportion (Esser et al., "Taming
            # Transformers for High-Resolution Image Synthesis", CVPR 2021, equation 7).
            wanted = torch.autograd.grad(sum(losses.values(), torch.zeros(())), rebuilt, retain_graph=True)[0]
            found = torch.autograd.grad(loss, rebuilt, retain_graph=True)[0]
            ratio = float(wanted[:half].norm() / found[:half].norm().clamp(min=1e-12))
            ratio = min(config.adversary.gradient_share * ratio, LARGEST_WEIGHT)
            self._weight = ratio if self._weight == 0.0 else WEIGHT_DECAY * self._weight + (1.0 - WEIGHT_DECAY) * ratio
        self.discriminator.requires_grad_(True)
        return {"discriminator": discriminator_loss, "adversarial": self._weight * loss}

    def _train_discriminator(self, fake: Tensor, real: Tensor) -> Tensor:
        """Step of the discriminator; its loss without the penalty."""
        config = self.config.adversary
        with self._autocast():
            real_score = self._score(real)
            loss = functional.softplus(self._score(fake)).mean() + functional.softplus(-real_score).mean()
        total = loss
        if self._uses % config.penalty_interval == 0:
            # R1 in full precision, on half the batch.
            part = real[: max(len(real) // 2, 1)].detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._score(part).sum(), part, create_graph=True)
            penalty = gradient.square().sum((1, 2, 3)).mean()
            total = loss + config.gradient_penalty / 2.0 * config.penalty_interval * penalty
        self._discriminator_optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self._discriminator_optimizer.step()
        self._augmentation.update(real_score.float())
        self._uses += 1
        return loss.detach()

    def _score(self, maps: Tensor) -> Tensor:
        """Scores (B,) of augmented maps."""
        maps, position = self._augmentation(maps, self._position, self._random)
        scores: Tensor = self.discriminator(by_modality(maps), position)
        return scores.float()

    def _rehearsal(self) -> Tensor:
        """Loss of rebuilding the start generator's samples, at its resolution."""
        config = self.config
        with torch.no_grad():
            _, maps = self._rehearsed(config.rehearsal_batch, min(self._start.config.resolution, self.bank.resolution))
        size = maps.shape[-1]
        with self._autocast():
            w_plus = self.generator.broadcast(self.encoder(maps).float())
            pyramid = self.generator.raw_pyramid(w_plus, size)
        outputs = {side: encoded_outputs({k: v.float() for k, v in raw.items()}) for side, raw in pyramid.items()}
        weight = functional.avg_pool2d(self.bank.weight, self.bank.resolution // size)
        losses = reconstruction_losses(outputs, maps, weight, config.reconstruction)
        return sum(losses.values(), torch.zeros(()))

    def _rehearsed(self, count: int, resolution: int) -> tuple[Tensor, Tensor]:
        """w (B, D) and maps (B, 6, r, r) of random samples of the start generator."""
        z = torch.randn(count, self._start.latent_size, generator=self._random, device=self._device)
        w = self._start.mapping(z)
        with self._autocast():
            *_, raw = self._start.raw_pyramid(self._start.broadcast(w), resolution).values()
        return w, encoded_outputs({k: v.float() for k, v in raw.items()})

    def _path_penalty(self, latents: Tensor) -> Tensor:
        config = self.config
        w_plus = self.generator.broadcast(latents[: max(len(latents) // 2, 1)]).clone().requires_grad_()
        *_, raw = self.generator.raw_pyramid(w_plus, config.path_length_resolution).values()
        penalty = self._path_length.penalty(torch.cat(list(raw.values()), 1), w_plus, self._random)
        return config.path_length_weight * config.path_length_interval * penalty

    def _descend(self, loss: Tensor) -> None:
        """Step of generator and encoder, and of their averages."""
        config = self.config
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(self.progress, 1.0)))
        rate = config.learning_rate * (config.final_rate + (1.0 - config.final_rate) * cosine)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        decay = min(config.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        with torch.no_grad():
            for mean, network in ((self.average, self.generator), (self.encoder_average, self.encoder)):
                means: list[Tensor] = list(mean.parameters())
                values: list[Tensor] = list(network.parameters())
                torch._foreach_lerp_(means, values, 1.0 - decay)

    def _groups(self) -> list[dict[str, Any]]:
        """Parameter groups with each one's share of the learning rate; the mapping network is set at the end."""
        config = self.config
        named = [(n, p) for n, p in self.generator.named_parameters() if not n.startswith("mapping.")]
        linear = [p for name, p in named if is_linear_map(name)]
        positions = [p for name, p in named if name.endswith(("positions", "contrasts.maps"))]
        chosen = {id(p) for p in (*linear, *positions)}
        rest = [p for _, p in named if id(p) not in chosen]
        return [
            {"params": rest, "share": 1.0},
            {"params": linear, "share": config.map_rate},
            {"params": positions, "share": config.position_rate},
            {"params": list(self.encoder.parameters()), "share": 0.5},
        ]

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self._device.type, torch.bfloat16, enabled=self.config.mixed_precision)

    @torch.no_grad()
    def _set_mean(self) -> None:
        """Set the linear model's mean to that of random heads."""
        random = torch.Generator(self._device).manual_seed(self.config.seed)
        total = None
        for _ in range(MEAN_DRAWS):
            mean = self.bank.draw(LATENT_BATCH // 4, random).maps.mean(0, keepdim=True)
            total = mean if total is None else total + mean
        assert total is not None
        raw = encode_raw(total / MEAN_DRAWS)
        for name, branch in self.generator.named_branches():
            branch.base.copy_(raw[name])

    @torch.no_grad()
    def _latents(self, count: int) -> tuple[Tensor, Tensor]:
        """w (N, D) of random heads, and the lightness of their skin (N,), on the CPU."""
        random = torch.Generator(self._device).manual_seed(self.config.seed + 1)
        latents, lightness = [], []
        for _ in range(-(-count // LATENT_BATCH)):
            drawn = self.bank.draw(LATENT_BATCH, random)
            latents.append(self.encoder_average(drawn.maps).float().cpu())
            weight = drawn.share
            lightness.append(((drawn.maps[:, 1:2] * weight).sum((1, 2, 3)) / weight.sum((1, 2, 3))).cpu())
        return torch.cat(latents), torch.cat(lightness)


@torch.no_grad()
def take_over(generator: ReflectanceGenerator, start: ReflectanceGenerator) -> None:
    """Set every weight of a generator to the start generator's where names and shapes agree, but for rows of W+'s
    layers: every layer reads the same w in training. Finer stages begin at zero contribution."""
    own, other = generator.state_dict(), start.state_dict()
    for name, value in other.items():
        if name in own and own[name].shape == value.shape and not name.startswith("mapping."):
            own[name].copy_(value)
    for _, branch in generator.named_branches():
        coarse = start.config.branch_levels
        for level, output in enumerate(branch.outputs):
            if level >= coarse:
                for parameter in output.parameters():
                    if parameter.ndim > 1:
                        parameter.mul_(0.3)

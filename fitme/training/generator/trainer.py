"""Trainer of the reflectance generator: reconstruction from known generative factors, then adversarial training.

The factors of a synthetic skin are known, so the generator need not find a latent space from scratch: the mapping
network takes factors, and the generator learns to reconstruct the maps from them. A reconstruction loss with an exact
posterior makes training possible on a CPU. The factors of user-supplied textures are unknown and learned with the
networks (`codes`). Random z become factors by the factors' distribution (`factor_distribution`). The branched
discriminator restores structure that an L1 loss averages away (`objectives.adversarial`); path-length regularisation
keeps the generator easy to invert (`objectives.path_length`).
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Int64Array
from fitme.errors import ModelFileError
from fitme.reflectance.factor_features import select_features
from fitme.reflectance.generator import Branch, ReflectanceGenerator, SynthesisStage
from fitme.reflectance.mapping import QUANTILES
from fitme.reflectance.raw_outputs import encode_raw
from fitme.training.closed_form.contrast_maps import clear_contrast, fit_contrast, set_contrast
from fitme.training.closed_form.detail_maps import clear_details, fit_details, set_details
from fitme.training.closed_form.factor_distribution import FactorDistribution, balanced_rows, fit_factor_distribution
from fitme.training.closed_form.latent_prior import match_latents
from fitme.training.closed_form.principal_components import LinearBasis, start_rows
from fitme.training.closed_form.whitening import whiten_latents
from fitme.training.data.dataset import MapDataset
from fitme.training.generator.config import TrainingConfig
from fitme.training.objectives.adversarial import Adversary
from fitme.training.objectives.path_length import PathLength
from fitme.training.objectives.reconstruction import encoded_outputs, reconstruction_losses

RIDGE_SHARE = 0.05
"""Ridge of the regression from factors to coefficients, per map."""
CODE_RATE, CODE_WEIGHT = 10.0, 1e-3
"""Learning rate of learned factors relative to the networks', and the weight of their mean square."""
DETAIL_SAMPLES = 8000
"""Largest number of maps to which details are fitted."""
CONTRAST_SAMPLES = 1600
"""Largest number of maps to which local contrast is fitted."""
BATCH_OF_COEFFICIENTS = 32
"""Maps per batch in closed-form computations."""


@dataclass(frozen=True)
class StepReport:
    """Losses of a step."""

    step: int
    resolution: int
    losses: dict[str, float]


@dataclass(frozen=True, eq=False)
class TrainingStart:
    """Initial values that a run computes from its data once."""

    basis: LinearBasis
    details: dict[int, dict[str, Tensor]]
    """Positional maps (P, r, r) of every branch, by resolution r and modality, as `detail_components` finds them."""
    scores: Tensor
    """(N, K) regression targets of `factor_features.select_features`: `map_scores` of the maps of `start_rows`."""


class Trainer:
    """Networks and optimisers of a run. Randomness depends on the seed and the step alone, so that a resumed run ends
    with the weights of an uninterrupted one."""

    def __init__(
        self,
        config: TrainingConfig,
        dataset: MapDataset,
        weight: Tensor,  # (1, 1, R, R) of texels
        start: TrainingStart,
        device: torch.device | str = "cpu",
    ) -> None:
        self._device = torch.device(device)
        self._dataset = dataset
        self._weight = weight.to(self._device)
        self._basis = start.basis
        self._factors, self._learned, distribution = _factors(dataset, config)  # (N, Z), (N,) bool
        self.config = config = replace(config, generator=replace(config.generator, noise_size=self._factors.shape[1]))
        self.step = 0
        torch.manual_seed(config.seed)
        self.generator = ReflectanceGenerator(config.generator)
        self.generator.set_linear_model(encode_raw(dataset.mean()[None]), start.basis.components)
        if distribution is not None:
            self.generator.mapping.set_distribution(distribution.factor, distribution.knots)
            rows = torch.from_numpy(start_rows(len(self._factors)))
            known = ~self._learned[rows]
            self.generator.mapping.set_features(
                select_features(self._factors[rows][known], start.scores[known], config.generator.feature_count)
            )
        _set_positions(self.generator, start.details)
        self.generator.to(self._device)
        self.average = copy.deepcopy(self.generator).requires_grad_(False)
        self._codes = torch.nn.Parameter(self._factors[self._learned].to(self._device))  # (M, Z)
        self._adversary = Adversary(
            config.adversary, config.discriminator, config.generator.resolution, self._device, config.seed
        )
        self._path_length = PathLength()
        self._start_linear_model()
        self._optimizer = torch.optim.Adam(self._groups(), config.learning_rate, config.adam_betas)

    def run(self, steps: int | None = None) -> Iterator[StepReport]:
        """Train until the end, or for a number of steps; yields the report of each."""
        end = self.config.steps if steps is None else min(self.config.steps, self.step + steps)
        while self.step < end:
            yield self.train_step()

    def train_step(self) -> StepReport:
        """Train for one step of the current phase."""
        config, phase = self.config, self.config.phase(self.step)
        if config.begins_with_details(self.step):
            self._fit_details()
        # Batches depend on the seed and the step alone, so that a resumed run draws the same ones.
        draw = np.random.default_rng((config.seed, self.step))
        indices = draw.integers(len(self._dataset.maps), size=phase.batch)
        maps = self._dataset.batch(indices, np.zeros(phase.batch, bool)).to(self._device)  # (B, 6, R, R)
        for group in self._optimizer.param_groups:
            group["lr"] = config.learning_rate * self._rate() * group["share"]
        with torch.autocast(self._device.type, torch.bfloat16, enabled=config.mixed_precision):
            factors = self._factors_of(indices)
            w_plus = self.generator.broadcast(self.generator.mapping.from_factors(factors))
            pyramid = self.generator.raw_pyramid(w_plus, phase.resolution)
        outputs = {size: encoded_outputs({k: v.float() for k, v in raw.items()}) for size, raw in pyramid.items()}
        losses = reconstruction_losses(outputs, maps, self._weight, config.reconstruction)
        if bool(self._learned[torch.from_numpy(indices)].any()):
            losses["codes"] = CODE_WEIGHT * factors.square().mean()
        # Adversarial and path-length terms are lazy: they take part at intervals.
        adversary = config.adversary
        if phase.adversarial and adversary.weight > 0.0 and self.step % adversary.interval == 0:
            losses |= self._adversary.losses(outputs[phase.resolution], maps, self.step)
        if config.path_length_weight > 0.0 and self.step % config.path_length_interval == 0:
            losses["path_length"] = self._path_penalty(indices)
        # The discriminator has already been trained; its loss is reported only.
        total = sum((value for name, value in losses.items() if name != "discriminator"), torch.zeros(()))
        self._optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self._average()
        self.step += 1
        return StepReport(self.step, phase.resolution, {name: float(value.detach()) for name, value in losses.items()})

    def finished_generator(self, prior_steps: int = 0) -> ReflectanceGenerator:
        """Averaged generator on the CPU, with whitened latents, `mean_w` and fitted local contrast.

        With `prior_steps` its mapping network is fitted to the latents of the data, for data whose factors do not
        follow a Gaussian copula.
        """
        generator = copy.deepcopy(self.average).cpu()
        generator.measure_mean_w()
        if prior_steps > 0:
            with torch.no_grad():
                latents = generator.mapping.from_factors(self._factors_of(np.arange(len(self._factors))).cpu())
            match_latents(generator, latents, prior_steps, self.config.seed)
        whiten_latents(generator)
        clear_contrast(generator)
        covered = (self._weight.cpu() > 0.0).float()
        set_contrast(generator, fit_contrast(generator, self._samples(generator, CONTRAST_SAMPLES), covered))
        return generator.eval()

    @torch.no_grad()
    def reconstruct(self, indices: Int64Array) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Raw maps by modality of rows of the data, and the averaged generator's reconstructions of them."""
        maps = self._dataset.batch(indices, np.zeros(len(indices), bool))
        w_plus = self.average.broadcast(self.average.mapping.from_factors(self._factors_of(indices)))
        *_, rebuilt = self.average.raw_pyramid(w_plus).values()
        return encode_raw(maps), {name: value.cpu() for name, value in rebuilt.items()}

    def state(self) -> dict[str, Any]:
        """State of the training, for `checkpoint.save_checkpoint` and `restore`."""
        return {
            "step": self.step,
            "generator": dict(self.generator.state_dict()),
            "average": dict(self.average.state_dict()),
            "codes": self._codes.detach(),
            "optimizer": self._optimizer.state_dict(),
            "adversary": self._adversary.state(),
            "path_length": self._path_length.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`; ModelFileError for the state of other networks."""
        try:
            self.generator.load_state_dict(state["generator"])
            self.average.load_state_dict(state["average"])
            with torch.no_grad():
                self._codes.copy_(state["codes"])
            self._optimizer.load_state_dict(state["optimizer"])
            self._adversary.restore(state["adversary"])
            self._path_length.load_state_dict(state["path_length"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ModelFileError(
                f"the checkpoint does not fit this run's networks and data ({error}): resume it with the configuration"
                " and the data set that it was started with"
            ) from error
        self.step = int(state["step"])

    def _groups(self) -> list[dict[str, Any]]:
        """Parameter groups with each one's share of the learning rate."""
        config, named = self.config, list(self.generator.named_parameters())
        linear = [p for name, p in named if is_linear_map(name)]
        positions = [p for name, p in named if name.endswith("positions")]
        chosen = {id(p) for p in (*linear, *positions)}
        return [
            {"params": [p for _, p in named if id(p) not in chosen], "share": 1.0},
            {"params": linear, "share": config.map_rate},
            {"params": positions, "share": config.position_rate},
            {"params": [self._codes], "share": CODE_RATE},
        ]

    def _factors_of(self, indices: Int64Array) -> Tensor:
        """Standardised factors (B, Z), learned ones where a map's are unknown."""
        chosen = torch.from_numpy(indices)
        factors = self._factors[chosen].to(self._device)
        learned = self._learned[chosen]
        if bool(learned.any()):
            rank = (torch.cumsum(self._learned, 0) - 1)[chosen].clamp(min=0).to(self._device)
            factors = torch.where(learned[:, None].to(self._device), self._codes[rank], factors)
        return factors

    def _path_penalty(self, indices: Int64Array) -> Tensor:
        """Weighted path-length penalty of half a batch, as in StyleGAN2."""
        config = self.config
        half = indices[: max(len(indices) // 2, 1)]
        w_plus = self.generator.broadcast(self.generator.mapping.from_factors(self._factors_of(half)))
        *_, raw = self.generator.raw_pyramid(w_plus, config.path_length_resolution).values()
        random = torch.Generator(self._device).manual_seed(config.seed * 1_000_003 + self.step)
        penalty = self._path_length.penalty(torch.cat(list(raw.values()), 1), w_plus, random)
        return config.path_length_weight * config.path_length_interval * penalty

    @torch.no_grad()
    def _start_linear_model(self) -> None:
        """Initialise the linear path by ridge regression from factors and their products to the coefficients of the
        data in the linear model. Learned factors start where the regression gives their maps' coefficients."""
        generator, count = self.generator, len(self._factors)
        parts = [
            self._basis.coefficients(self._dataset.batch(indices, np.zeros(len(indices), bool)))
            for indices in np.array_split(np.arange(count), max(count // BATCH_OF_COEFFICIENTS, 1))
        ]
        coefficients = torch.cat(parts)  # (N, K)
        known = ~self._learned
        factors = self._factors[known]
        inputs = torch.cat([factors, generator.mapping.features(factors)], 1).double()  # (N, I)
        if len(inputs) > 0:
            ridge = RIDGE_SHARE * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
            regression = torch.linalg.solve(
                inputs.T @ inputs + ridge, inputs.T @ coefficients[known].double()
            )  # (I, K)
        else:
            regression = torch.nn.init.orthogonal_(torch.empty(inputs.shape[1], coefficients.shape[1])).double()
        # The linear path takes w: undo the mapping network's linear layer.
        direct = generator.mapping.direct
        inverse = torch.linalg.pinv((direct.weight.cpu() * direct.gain).double())  # (I, D)
        generator.mixture.weight.copy_(((inverse.T @ regression).T / generator.mixture.gain).float())
        self._codes.copy_(
            (coefficients[self._learned].double() @ torch.linalg.pinv(regression[: factors.shape[1]])).float()
        )
        self.average.load_state_dict(generator.state_dict())

    @torch.no_grad()
    def _fit_details(self) -> None:
        """Set the details of the generator and its average to the average's residual in closed form."""
        average = copy.deepcopy(self.average).cpu()
        average.measure_mean_w()
        clear_details(average)
        residual = fit_details(average, self._samples(average, DETAIL_SAMPLES), self.config.generator.detail_maps)
        for network in (self.generator, self.average):
            set_details(network, residual)

    def _samples(self, generator: ReflectanceGenerator, most: int) -> Iterator[tuple[Tensor, dict[str, Tensor]]]:
        """Pairs of w (B, D) and raw maps by modality, at most `most` heads, for a generator on the CPU."""
        count = min(len(self._factors), most)
        chosen = np.random.default_rng(self.config.seed).permutation(len(self._factors))[:count]
        for indices in np.array_split(chosen, max(count // BATCH_OF_COEFFICIENTS, 1)):
            maps = self._dataset.batch(indices, np.zeros(len(indices), bool))
            yield generator.mapping.from_factors(self._factors_of(indices).cpu()), encode_raw(maps)

    @torch.no_grad()
    def _average(self) -> None:
        """Exponential moving average of the weights, faster at the beginning."""
        decay = min(self.config.ema_decay, (1.0 + self.step) / (10.0 + self.step))
        for mean, value in zip(self.average.parameters(), self.generator.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)

    def _rate(self) -> float:
        """Share of the learning rate at the current step: warm-up times cosine."""
        config = self.config
        progress = self.step / max(config.steps, 1)
        cosine = config.final_rate + (1.0 - config.final_rate) * 0.5 * (1.0 + math.cos(math.pi * progress))
        return cosine * min(1.0, (self.step + 1) / max(config.warm_up_steps, 1))


def is_linear_map(name: str) -> bool:
    """Whether a parameter of the generator is a map of its linear model."""
    return name == "components" or name.endswith(".base")


def _factors(dataset: MapDataset, config: TrainingConfig) -> tuple[Tensor, Tensor, FactorDistribution | None]:
    """Standardised factors (N, Z) of a data set, whether rows (N,) are unknown and to be learned (they start at zero),
    and the factors' distribution, balanced over the classes of skin tone; None if no factors are known. Z is the number
    of factors, or the configured size if no factors are known."""
    factors = dataset.factors
    known = ~np.isnan(factors).any(1)
    if not known.any():
        return torch.zeros(len(factors), config.generator.noise_size), torch.ones(len(factors), dtype=torch.bool), None
    balanced = factors[known][balanced_rows(dataset.ita_deg[known], config.seed)]
    distribution = fit_factor_distribution(balanced, QUANTILES, config.seed)
    standardized = torch.zeros(len(factors), factors.shape[1])
    standardized[torch.from_numpy(known)] = distribution.standardize(factors[known])
    return standardized, torch.from_numpy(~known), distribution


@torch.no_grad()
def _set_positions(generator: ReflectanceGenerator, details: dict[int, dict[str, Tensor]]) -> None:
    """Initialise the branches' positional maps by the principal components of the data's finest structures."""
    for name, module in generator.branches.items():
        for stage in cast("Branch", module).stages:
            positions = cast("SynthesisStage", stage).positions
            if positions.shape[-1] in details:
                positions.copy_(details[positions.shape[-1]][name][: len(positions)])

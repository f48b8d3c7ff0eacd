"""Distribution of the latents that the encoder of whole maps finds: running in training, and as the mapping network."""

from typing import Any

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.mapping import QUANTILES
from fitme.training.closed_form.factor_distribution import fit_factor_distribution

STATISTICS_DECAY = 0.99
"""Decay of the running mean and covariance of encoded latents."""
LEAST_VARIANCE = 1e-4
"""Added to the variance of latents before its root is taken."""


class LatentStatistics:
    """Running Gaussian of encoded latents."""

    def __init__(self, size: int, device: torch.device) -> None:
        self.mean = torch.zeros(size, device=device)
        self.covariance = torch.eye(size, device=device)
        self._uses = 0

    def update(self, w: Tensor) -> None:
        """Take in latents (B, D)."""
        decay = min(STATISTICS_DECAY, self._uses / (self._uses + 4.0))
        self.mean.lerp_(w.mean(0), 1.0 - decay)
        centred = w - self.mean
        self.covariance.lerp_(centred.T @ centred / len(w), 1.0 - decay)
        self._uses += 1

    def root(self) -> Tensor:
        """(D, D) root of the covariance."""
        values, vectors = torch.linalg.eigh(self.covariance.double())
        root: Tensor = ((vectors * (values.clamp(min=0.0) + LEAST_VARIANCE).sqrt()) @ vectors.T).float()
        return root

    def state(self) -> dict[str, Any]:
        """State, for `restore`."""
        return {"mean": self.mean, "covariance": self.covariance, "uses": self._uses}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from `state`."""
        self.mean.copy_(state["mean"])
        self.covariance.copy_(state["covariance"])
        self._uses = int(state["uses"])


@torch.no_grad()
def set_latent_distribution(
    generator: ReflectanceGenerator,
    latents: Tensor,  # (N, D)
    axis_values: Tensor,  # (N,)
    seed: int,
) -> None:
    """Set the mapping network to a Gaussian copula of latents: independent axes of w, the first one that along which
    `axis_values` change, so that their quantiles are kept."""
    mapping, size = generator.mapping, generator.config.noise_size
    mean = latents.double().mean(0)
    centred = latents.double() - mean
    values = axis_values.double()
    values = (values - values.mean()) / values.std()
    ridge = 1e-3 * centred.square().mean() * len(centred) * torch.eye(centred.shape[1], dtype=torch.float64).to(mean)
    # The score of this direction predicts the values best; the axes after it are orthogonal in covariance.
    predictor = torch.linalg.solve(centred.T @ centred + ridge, centred.T @ values)
    score = centred @ predictor
    score = score / score.std()
    first = centred.T @ score / len(centred)  # (D,) change of w with the score
    rest = centred - score[:, None] * first
    _, _, directions = torch.linalg.svd(rest, full_matrices=False)
    basis = directions[: size - 1].T  # (D, Z - 1)
    factors = torch.cat([score[:, None], rest @ basis], 1).float().cpu().numpy()
    distribution = fit_factor_distribution(factors, QUANTILES, seed)
    mapping.set_distribution(distribution.factor.to(latents.device), distribution.knots.to(latents.device))
    columns = torch.cat([first[:, None], basis], 1) * torch.from_numpy(distribution.deviation).to(mean)
    mapping.direct.weight.zero_()
    mapping.direct.weight[:, :size] = (columns / mapping.direct.gain).float()
    offset = mean + columns @ torch.from_numpy(distribution.mean / distribution.deviation).to(mean)
    mapping.direct.bias.copy_((offset / mapping.direct.rate).float())
    # No nonlinear part: the copula has all of it.
    mapping.blend.weight.zero_()
    mapping.blend.bias.zero_()

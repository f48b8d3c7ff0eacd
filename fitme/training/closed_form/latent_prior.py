"""Fitting the mapping network to a set of latents, so that random z give what the data hold, hair or none, beard or
none."""

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator

BATCH, DIRECTIONS, RATE = 512, 96, 1e-2
LATENT_SHARE = 0.3
"""Weight of w itself beside the coefficients of the linear model that it gives."""


def match_latents(generator: ReflectanceGenerator, latents: Tensor, steps: int, seed: int = 0) -> list[float]:
    """Train the mapping network of a generator, in place, until mapping(z), z ~ N(0, I), is distributed as `latents`
    (N, D).

    The distance is the sliced Wasserstein distance (Bonneel et al., "Sliced and Radon Wasserstein Barycenters of
    Measures", JMIV 2015) between batches: random directions and those of the coefficients, sorted projections. It is
    measured on w and on the linear model's coefficients, each in proportion to what it changes. Returns the distance
    at every step.
    """
    with torch.no_grad():
        size = generator.components.flatten(1).square().mean(1).sqrt()
        importance = size / size.mean().clamp(min=1e-9)  # (K,)
        spread = latents.std(0).square().sum().sqrt()

    def features(w: Tensor) -> Tensor:
        coefficients = generator.mixture(w) * importance
        return torch.cat([coefficients, w * (LATENT_SHARE * len(importance) ** 0.5 / spread)], 1)

    random = torch.Generator().manual_seed(seed)
    parameters = list(generator.mapping.parameters())
    for parameter in parameters:
        parameter.requires_grad_()
    optimizer = torch.optim.Adam(parameters, RATE)
    with torch.no_grad():
        wanted = features(latents)
    axes = torch.eye(wanted.shape[1])[:, : len(importance)]
    distances = []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * (1.0 - 0.95 * step / steps)
        z = torch.randn(BATCH, generator.config.noise_size, generator=random)
        chosen = wanted[torch.randint(len(wanted), (BATCH,), generator=random)]
        directions = torch.randn(wanted.shape[1], DIRECTIONS, generator=random)
        directions = torch.cat([axes, directions / directions.norm(dim=0)], 1)
        found = (features(generator.mapping(z)) @ directions).sort(0).values
        distance = (found - (chosen @ directions).sort(0).values).square().mean()
        gradients = torch.autograd.grad(distance, parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        distances.append(float(distance.detach()))
    for parameter in parameters:
        parameter.requires_grad_(False)
    generator.measure_mean_w()
    return distances

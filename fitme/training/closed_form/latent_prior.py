"""Fit of the mapping network to the latents of the data, so that random z give heads distributed as in the data, with
hair or none, with a beard or none."""

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator

BATCH, DIRECTIONS, RATE = 512, 96, 1e-2
"""Latents per step, random projections per step, and Adam's learning rate at the start."""
LATENT_SHARE = 0.3
"""Weight of w relative to its coefficients in the linear model."""


def match_latents(generator: ReflectanceGenerator, latents: Tensor, steps: int, seed: int = 0) -> list[float]:
    """Train the mapping network of a generator, in place, until mapping(z), z ~ N(0, I), is distributed as `latents`
    (N, D).

    The loss is the sliced Wasserstein distance (Bonneel et al., "Sliced and Radon Wasserstein Barycenters of Measures",
    JMIV 2015) between batches: mean square difference of sorted projections on random directions and on the axes of the
    coefficients. It is computed on w and on the linear model's coefficients, each weighted by its effect on the maps.

    :returns: the distance at every step.
    """
    with torch.no_grad():
        size = generator.components.flatten(1).square().mean(1).sqrt()
        importance = size / size.mean().clamp(min=1e-9)  # (K,)
        deviation = latents.std(0).square().sum().sqrt()

    def features(w: Tensor) -> Tensor:
        coefficients = generator.mixture(w) * importance
        return torch.cat([coefficients, w * (LATENT_SHARE * len(importance) ** 0.5 / deviation)], 1)

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

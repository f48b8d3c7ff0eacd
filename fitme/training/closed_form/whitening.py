"""Whitening of the latents: uncorrelated components of similar variance, so that a step in W+ has a similar effect in
every direction.

After training, the eigenvalues of w's covariance differ by four orders of magnitude: some directions hardly ever occur,
and an inversion that takes equal steps in all directions leaves the data there first. A change of basis that every
style layer inverts costs nothing and changes no map: for w' = T w, styles become A T^-1.
"""

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import EqualLinear

SAMPLES = 8192
"""Random latents from which w's covariance is estimated."""
LEAST_VARIANCE = 0.04
"""Least variance of a direction, in mean variances: rarer directions are not scaled up to unit variance."""


@torch.no_grad()
def whiten_latents(generator: ReflectanceGenerator) -> None:
    """Change the basis of W, in place, such that w's covariance is as near to the identity as `LEAST_VARIANCE` allows.
    Maps of z do not change; latents of the old basis become invalid."""
    noise = torch.randn(SAMPLES, generator.latent_size, generator=torch.Generator().manual_seed(0))
    latents = generator.mapping(noise)
    transform, inverse = whitening(latents)
    for module in style_layers(generator):
        module.weight.copy_(module.weight @ inverse)
    generator.mapping.transform_latents(transform)
    generator.measure_mean_w()


def whitening(latents: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric matrix (D, D) that whitens latents (N, D), and its inverse, float32 (ZCA, Kessy et al., "Optimal
    Whitening and Decorrelation", The American Statistician 2018)."""
    values, vectors = torch.linalg.eigh(torch.cov(latents.double().T))
    deviation = values.clamp(min=LEAST_VARIANCE * float(values.mean())).sqrt()
    return ((vectors / deviation) @ vectors.T).float(), ((vectors * deviation) @ vectors.T).float()


def style_layers(generator: ReflectanceGenerator) -> list[EqualLinear]:
    """Every layer whose input is a row of W+."""
    return [
        module
        for name, module in generator.named_modules()
        if isinstance(module, EqualLinear) and not name.startswith("mapping.")
    ]

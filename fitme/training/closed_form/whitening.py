"""Latents of uncorrelated components of like size, so that a step in W+ has a like effect in every direction.

Training leaves w with a covariance whose eigenvalues differ by four orders of magnitude: some directions hardly ever
occur, and an inversion that takes equal steps in all of them leaves the data there first. A change of basis that every
style takes back costs nothing and changes no map: for w' = T w, styles become A T^-1.
"""

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import EqualLinear

SAMPLES = 8192
"""Random latents that tell w's covariance."""
LEAST_VARIANCE = 0.04
"""Of w, beside the mean over directions: rarer directions are not blown up to unit variance."""


@torch.no_grad()
def whiten_latents(generator: ReflectanceGenerator) -> None:
    """Change the basis of W, in place, such that w's covariance is as near to the identity as `LEAST_VARIANCE` allows.
    What z and transformed latents give stays the same; latents found before do not fit any more."""
    noise = torch.randn(SAMPLES, generator.latent_size, generator=torch.Generator().manual_seed(0))
    latents = generator.mapping(noise)
    transform, inverse = whitening(latents)
    for module in style_layers(generator):
        module.weight.copy_(module.weight @ inverse)
    generator.mapping.transform_latents(transform)
    generator.measure_mean_w()


def whitening(latents: Tensor) -> tuple[Tensor, Tensor]:
    """The symmetric matrix (D, D) that whitens latents (N, D), and its inverse, float32 (ZCA, Kessy et al., "Optimal
    Whitening and Decorrelation", The American Statistician 2018)."""
    values, vectors = torch.linalg.eigh(torch.cov(latents.double().T))
    spread = values.clamp(min=LEAST_VARIANCE * float(values.mean())).sqrt()
    return ((vectors / spread) @ vectors.T).float(), ((vectors * spread) @ vectors.T).float()


def style_layers(generator: ReflectanceGenerator) -> list[EqualLinear]:
    """Every layer that reads a row of W+."""
    return [
        module
        for name, module in generator.named_modules()
        if isinstance(module, EqualLinear) and not name.startswith("mapping.")
    ]

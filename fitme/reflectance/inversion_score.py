"""How well the generator's W+ explains given maps: inversion from the mean latent, then tuning of the weights."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.color import linear_to_srgb, srgb_to_linear
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps

LATENT_RATE, TUNING_RATE = 0.05, 2e-3
NORMAL_WEIGHT = 0.5
COARSE_SHARE = 0.4
"""Share of the steps that run at the trunk's resolution first."""


@dataclass(frozen=True)
class InversionScore:
    """PSNR in dB on sRGB-encoded diffuse albedo, whole layout."""

    start: float
    """Of the mean latent."""
    inverted: float
    tuned: float


def invert(generator: ReflectanceGenerator, target: ReflectanceMaps, steps: int) -> Tensor:
    """The W+ latent (1, L, D) that Adam finds for maps (batch of one) from the mean latent, coarse to fine."""
    latent = generator.broadcast(generator.mean_w[None]).detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([latent], LATENT_RATE)
    coarse, full = generator.config.trunk_resolution, generator.config.resolution
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = LATENT_RATE * (1.0 - 0.8 * step / steps)
        resolution = coarse if step < COARSE_SHARE * steps else full
        loss = _difference(generator.synthesize(latent, resolution), shrink(target, full // resolution))
        (latent.grad,) = torch.autograd.grad(loss, latent)
        optimizer.step()
    return latent.detach()


def tune(generator: ReflectanceGenerator, w_plus: Tensor, target: ReflectanceMaps, steps: int) -> ReflectanceGenerator:
    """A copy of the generator whose synthesis weights explain maps better at a fixed latent (pivotal tuning)."""
    tuned = copy.deepcopy(generator)
    weights = [p.requires_grad_() for name, p in tuned.named_parameters() if not name.startswith("mapping")]
    optimizer = torch.optim.Adam(weights, TUNING_RATE)
    for _ in range(steps):
        optimizer.zero_grad(set_to_none=True)
        _difference(tuned.synthesize(w_plus), target).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return tuned.requires_grad_(False)


def score_inversion(
    generator: ReflectanceGenerator, target: ReflectanceMaps, *, steps: int = 150, tuning_steps: int = 50
) -> InversionScore:
    """Invert and tune for one head (batch of one)."""
    w_plus = invert(generator, target, steps)
    tuned = tune(generator, w_plus, target, tuning_steps)
    with torch.no_grad():
        start = generator.synthesize(generator.broadcast(generator.mean_w[None]))
        stages = (start, generator.synthesize(w_plus), tuned.synthesize(w_plus))
    return InversionScore(*(psnr(stage.diffuse, target.diffuse) for stage in stages))


def psnr(a: Tensor, b: Tensor) -> float:
    """Decibels between linear albedos of one shape, compared sRGB-encoded."""
    error = (linear_to_srgb(a) - linear_to_srgb(b)).square().mean()
    return float(-10.0 * error.clamp(min=1e-12).log10())


def shrink(maps: ReflectanceMaps, factor: int) -> ReflectanceMaps:
    """Maps at a lower resolution: mean of each block; diffuse albedo is averaged sRGB-encoded, as training does."""
    if factor == 1:
        return maps
    diffuse = srgb_to_linear(_blocks(linear_to_srgb(maps.diffuse), factor))
    normals = torch.nn.functional.normalize(_blocks(maps.normals, factor), dim=-1)
    return ReflectanceMaps(diffuse, _blocks(maps.specular, factor), normals)


def _blocks(x: Tensor, factor: int) -> Tensor:
    return torch.nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)


def _difference(found: ReflectanceMaps, wanted: ReflectanceMaps) -> Tensor:
    color = (linear_to_srgb(found.diffuse) - linear_to_srgb(wanted.diffuse)).abs().mean()
    specular = (found.specular - wanted.specular).abs().mean()
    normals = (found.normals - wanted.normals).abs().mean()
    return color + 0.5 * specular + NORMAL_WEIGHT * normals

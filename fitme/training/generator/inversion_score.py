"""Score of the generator's inversion: optimisation of W+ from the mean latent to explain maps, then pivotal tuning."""

import contextlib
import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.color import linear_to_srgb, srgb_to_linear
from fitme.metrics.similarity import psnr, ssim
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps, unit_length
from fitme.reflectance.modality import Encoding, Modality
from fitme.reflectance.raw_outputs import decode

SPECULAR_WEIGHT, NORMAL_WEIGHT = 0.5, 0.5
"""Weights of the errors of specular albedo and normals relative to the diffuse albedo's."""
_SMALLEST_SQUARE = 1e-9
"""Least mean square under a root, which keeps the gradient finite."""


@dataclass(frozen=True)
class InversionRecipe:
    """Schedule of an optimisation by Adam."""

    stages: tuple[tuple[int, float], ...] = ((4, 0.55), (2, 0.3), (1, 0.15))
    """Coarse to fine: downsampling factor of the maps, share of the steps."""
    rate: float = 0.2
    """Learning rate at the start."""
    final_rate: float = 0.2
    """Learning rate at the end of the cosine as a share of `rate`."""
    bfloat16: bool = True
    """Whether the network's convolutions run in bfloat16; errors and latents stay in float32."""

    def resolutions(self, full: int, steps: int) -> list[int]:
        """Texels a side at each of `steps` steps."""
        sizes: list[int] = []
        passed = 0.0
        for factor, share in self.stages:
            passed += share
            sizes += [full // factor] * (round(passed * steps) - len(sizes))
        return sizes

    def rate_at(self, step: int, steps: int) -> float:
        """Learning rate of a step."""
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / steps))
        return self.rate * (self.final_rate + (1.0 - self.final_rate) * cosine)


INVERSION = InversionRecipe()
TUNING = InversionRecipe(stages=((1, 1.0),), rate=8e-3)


@dataclass(frozen=True)
class InversionScore:
    """Agreement of diffuse albedos at one stage of an inversion."""

    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class HeadScores:
    """Scores of the stages of one head's inversion."""

    start: InversionScore
    """Score of the mean latent."""
    inverted: InversionScore
    tuned: InversionScore | None
    """None where weights were not tuned."""


def invert(
    generator: ReflectanceGenerator,
    target: ReflectanceMaps,  # batch of B heads, inverted independently
    steps: int,
    mask: Tensor | None = None,  # (R, R) weights of the texels; equal by default
    recipe: InversionRecipe = INVERSION,
) -> Tensor:
    """W+ latents (B, L, D) of maps, found by Adam from the mean latent, coarse to fine."""
    start = generator.broadcast(generator.mean_w[None]).expand(len(target.diffuse), -1, -1)
    latent = start.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([latent], recipe.rate)
    wanted, weight, reached = target, _weight(mask, 1), 0
    for step, resolution in enumerate(recipe.resolutions(generator.config.resolution, steps)):
        if resolution != reached:
            factor = generator.config.resolution // resolution
            wanted, weight, reached = shrink(target, factor), _weight(mask, factor), resolution
        optimizer.param_groups[0]["lr"] = recipe.rate_at(step, steps)
        loss = _difference(_synthesize(generator, latent, resolution, recipe), wanted, weight)
        (latent.grad,) = torch.autograd.grad(loss, latent)
        optimizer.step()
    return latent.detach()


def tune(
    generator: ReflectanceGenerator,
    w_plus: Tensor,  # (1, L, D)
    target: ReflectanceMaps,  # batch of one
    steps: int,
    mask: Tensor | None = None,  # (R, R)
    recipe: InversionRecipe = TUNING,
) -> ReflectanceGenerator:
    """Copy of the generator with synthesis weights optimised for maps at a fixed latent (pivotal tuning, Roich et al.,
    ACM TOG 2022). The weights include the linear model's mean and the positional maps, a value per texel, so that
    complete clean maps can be reconstructed almost exactly."""
    tuned = copy.deepcopy(generator)
    weights = [p.requires_grad_() for name, p in tuned.named_parameters() if not name.startswith("mapping")]
    optimizer = torch.optim.Adam(weights, recipe.rate)
    for step, resolution in enumerate(recipe.resolutions(generator.config.resolution, steps)):
        factor = generator.config.resolution // resolution
        optimizer.param_groups[0]["lr"] = recipe.rate_at(step, steps)
        optimizer.zero_grad(set_to_none=True)
        found = _synthesize(tuned, w_plus, resolution, recipe)
        _difference(found, shrink(target, factor), _weight(mask, factor)).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return tuned.requires_grad_(False)


def score_inversion(
    generator: ReflectanceGenerator,
    target: ReflectanceMaps,  # batch of B
    *,
    steps: int = 200,
    tuning_steps: int = 100,
    mask: Tensor | None = None,  # (R, R)
) -> list[HeadScores]:
    """Scores of every head of a batch after inversion and, unless `tuning_steps` is 0, tuning; over the texels of
    `mask`."""
    w_plus = invert(generator, target, steps, mask)
    scores = []
    with torch.no_grad():
        start = generator.synthesize(generator.broadcast(generator.mean_w[None]))
    for index, latent in enumerate(torch.split(w_plus, 1)):
        head = target.one(index)
        with torch.no_grad():
            inverted = _score(generator.synthesize(latent), head, mask)
        tuned = None
        if tuning_steps > 0:
            network = tune(generator, latent, head, tuning_steps, mask)
            with torch.no_grad():
                tuned = _score(network.synthesize(latent), head, mask)
        scores.append(HeadScores(_score(start, head, mask), inverted, tuned))
    return scores


def shrink(maps: ReflectanceMaps, factor: int) -> ReflectanceMaps:
    """Maps at a lower resolution: mean of each block; diffuse albedo is averaged sRGB-encoded, as training does."""
    if factor == 1:
        return maps

    def shrunk(modality: Modality, values: Tensor) -> Tensor:
        if modality.encoding is Encoding.COLOR:
            return srgb_to_linear(_blocks(linear_to_srgb(values), factor))
        return unit_length(modality, _blocks(values, factor))

    return maps.mapped(shrunk)


def _synthesize(
    generator: ReflectanceGenerator, w_plus: Tensor, resolution: int, recipe: InversionRecipe
) -> ReflectanceMaps:
    precision = torch.autocast("cpu", torch.bfloat16) if recipe.bfloat16 else contextlib.nullcontext()
    with precision:
        *_, raw = generator.raw_pyramid(w_plus, resolution).values()
    return decode({name: values.float() for name, values in raw.items()})


def _score(found: ReflectanceMaps, wanted: ReflectanceMaps, mask: Tensor | None) -> InversionScore:
    decibels, similarity = (measure(found.diffuse, wanted.diffuse, mask) for measure in (psnr, ssim))
    return InversionScore(float(decibels), float(similarity))


def _blocks(x: Tensor, factor: int) -> Tensor:
    return torch.nn.functional.avg_pool2d(x.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)


def _weight(mask: Tensor | None, factor: int) -> Tensor:
    """Weights (1, R, R, 1) of mean one, or a scalar 1."""
    if mask is None:
        return torch.ones(())
    weight = _blocks(mask.float()[None, :, :, None], factor)
    return weight / weight.mean()


def _difference(found: ReflectanceMaps, wanted: ReflectanceMaps, weight: Tensor) -> Tensor:
    """Root mean squares of the errors, summed over modalities and heads, so that the gradients of heads are
    independent."""
    color = _root_mean_square((linear_to_srgb(found.diffuse) - linear_to_srgb(wanted.diffuse)), weight)
    specular = _root_mean_square(found.specular - wanted.specular, weight)
    normals = _root_mean_square(found.normals - wanted.normals, weight)
    return (color + SPECULAR_WEIGHT * specular + NORMAL_WEIGHT * normals).sum()


def _root_mean_square(error: Tensor, weight: Tensor) -> Tensor:
    """Root mean squares (B,) of errors (B, H, W, C)."""
    return (error.square() * weight).mean((1, 2, 3)).clamp(min=_SMALLEST_SQUARE).sqrt()

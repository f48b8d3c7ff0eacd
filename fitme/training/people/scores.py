"""Scores of a generator on people's albedo: how well W+ holds it where the photo shows it."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import downsample
from fitme.training.objectives.reconstruction import encoded_outputs
from fitme.training.people.mixing import PeopleBank

RATE, FINAL_RATE = 0.2, 0.2
"""Adam's learning rate at the start, and its share at the end of the cosine."""
COARSE_SHARE = 0.55
"""Share of the steps at a quarter of the resolution; half of the rest is at half of it."""
SEEN = 0.5
"""Share of the photo from which a texel counts as seen."""
SMALLEST_SQUARE = 1e-9
"""Lower bound of mean squares in PSNRs."""


@dataclass(frozen=True)
class PeopleScores:
    """PSNR of the sRGB-encoded diffuse albedo over seen texels, dB, one value for each person."""

    resolution: int
    psnr_db: tuple[float, ...]

    @property
    def mean_db(self) -> float:
        """Mean over people."""
        return sum(self.psnr_db) / len(self.psnr_db)


def invert_people(generator: ReflectanceGenerator, bank: PeopleBank, resolution: int, steps: int = 200) -> PeopleScores:
    """Invert the seen albedo of everybody in a bank into W+ from the mean latent, coarse to fine, on the bank's device,
    to which the generator is moved.

    :param resolution: texels a side of target and maps, at most the generator's and the bank's.
    """
    generator = generator.to(bank.device).requires_grad_(False)
    drawn = bank.people(torch.arange(bank.count, device=bank.device))
    factor = bank.resolution // resolution
    target, seen = downsample(drawn.maps[:, :3], factor), (downsample(drawn.share, factor) > SEEN).float()
    latent = generator.broadcast(generator.mean_w[None]).repeat(bank.count, 1, 1).requires_grad_()
    optimizer = torch.optim.Adam([latent], RATE)
    for step in range(steps):
        cosine = 0.5 * (1.0 + math.cos(math.pi * step / steps))
        optimizer.param_groups[0]["lr"] = RATE * (FINAL_RATE + (1.0 - FINAL_RATE) * cosine)
        done = step / steps
        shrink = 4 if done < COARSE_SHARE else 2 if done < (1.0 + COARSE_SHARE) / 2.0 else 1
        found = encoded_albedo(generator, latent, resolution // shrink)
        weight = downsample(seen, shrink)
        loss = mean_square(found, downsample(target, shrink), weight).clamp(min=SMALLEST_SQUARE).sqrt().sum()
        (latent.grad,) = torch.autograd.grad(loss, latent)
        optimizer.step()
    with torch.no_grad():
        square = mean_square(encoded_albedo(generator, latent, resolution), target, seen)
    return PeopleScores(resolution, tuple((-10.0 * square.clamp(min=SMALLEST_SQUARE).log10()).tolist()))


def encoded_albedo(generator: ReflectanceGenerator, w_plus: Tensor, resolution: int) -> Tensor:
    """(B, 3, r, r) sRGB-encoded albedo."""
    *_, raw = generator.raw_pyramid(w_plus, resolution).values()
    return encoded_outputs({"diffuse": raw["diffuse"]})


def mean_square(found: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """(B,) weighted mean square error."""
    error = ((found - wanted).square().mean(1, keepdim=True) * weight).sum((1, 2, 3))
    return error / weight.sum((1, 2, 3)).clamp(min=1.0)

"""Local contrast of the generator's maps, fitted in closed form.

A network trained on differences fades strands, stubble and mottling whose places it cannot predict. Their strength is
far easier to predict from w than their places. A ridge regression, region by region, of the logarithm of the missing
standard deviation on w gives the gains; its leading components become the generator's `LocalContrast` layers.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import CONTRAST_BOUND, CONTRAST_CELL, downsample, octaves

RIDGE_SHARE = 0.15
"""Ridge of the regression in mean variances of w, per map."""
VARIANCE_SHARE = 0.1
"""Share of a region's mean variance that is added to both variances: regions without structure get no gain."""
LEAST_VARIANCE = 1e-7
"""Least added variance, squared raw outputs."""
LEAST_COVERED = 1e-3
"""Least covered share of a region whose variance counts."""


@dataclass(frozen=True, eq=False)
class ContrastModel:
    """Linear model of the logarithms of gains: mean + sum over p of (slope_p . w + offset_p) maps_p."""

    mean: Tensor
    """(1, h, h)."""
    maps: Tensor
    """(P, h, h)."""
    slope: Tensor
    """(P, D)."""
    offset: Tensor
    """(P,)."""


@torch.no_grad()
def fit_contrast(
    generator: ReflectanceGenerator,
    samples: Iterable[tuple[Tensor, dict[str, Tensor]]],  # w (B, D), raw maps (B, channels, R, R) by modality
    covered: Tensor,  # (1, 1, R, R) texels that count, 0 or 1
) -> dict[str, list[ContrastModel]]:
    """Gains by modality, coarse to fine, that give the generator's outputs the local contrast of the samples. The
    generator's own gains must have been cleared."""
    # Local variances of every octave that a layer scales, of the samples and of the generator's outputs.
    latents: list[Tensor] = []
    variances: dict[tuple[str, int], list[Tensor]] = {}
    coarsest = generator.config.trunk_resolution
    for w, wanted in samples:
        latents.append(w)
        *_, found = generator.raw_pyramid(generator.broadcast(w)).values()
        for modality in generator.modalities:
            pair = [octaves(maps[modality.name], coarsest) for maps in (wanted, found)]
            for size in (size for size in pair[0] if size > coarsest):
                mask = downsample(covered, covered.shape[-1] // size)
                parts = torch.stack([local_variance(bands[size], mask) for bands in pair], 1)  # (B, 2, h, h)
                variances.setdefault((modality.name, size), []).append(parts)
    stacked = torch.cat(latents)  # (N, D)
    return {
        name: [
            _regress(stacked, torch.cat(variances[name, layer.mean.shape[-1] * CONTRAST_CELL]), len(layer.maps))
            for layer in branch.contrast_layers()
        ]
        for name, branch in generator.named_branches()
    }


@torch.no_grad()
def set_contrast(generator: ReflectanceGenerator, models: dict[str, list[ContrastModel]]) -> None:
    """Set the generator's gains."""
    for name, branch in generator.named_branches():
        for layer, model in zip(branch.contrast_layers(), models[name], strict=True):
            layer.mean.copy_(model.mean)
            layer.maps.copy_(model.maps)
            layer.style.weight.copy_(model.slope / layer.style.gain)
            layer.style.bias.copy_(model.offset / layer.style.rate)


@torch.no_grad()
def clear_contrast(generator: ReflectanceGenerator) -> None:
    """Set all gains to 1."""
    for _, branch in generator.named_branches():
        for layer in branch.contrast_layers():
            layer.mean.zero_()
            layer.maps.zero_()


def local_variance(band: Tensor, covered: Tensor) -> Tensor:
    """Mean square (B, H / 8, W / 8) of a band (B, C, H, W) over its channels and over the covered texels (1, 1, H, W)
    of cells of `CONTRAST_CELL` texels a side; 0 where nothing is covered."""
    share = downsample(covered, CONTRAST_CELL)
    power = downsample(band.square() * covered, CONTRAST_CELL) / share.clamp(min=LEAST_COVERED)
    return (power * (share > LEAST_COVERED)).mean(1)


def _regress(w: Tensor, variances: Tensor, count: int) -> ContrastModel:
    """Leading maps of a linear model over w (N, D) of half the logarithm of the ratio of variances (N, 2, h, h), of the
    samples over the generator's."""
    wanted, found = variances.double().flatten(2).unbind(1)  # (N, cells)
    floor = (VARIANCE_SHARE * wanted.mean(0)).clamp(min=LEAST_VARIANCE)
    missing = 0.5 * ((wanted + floor) / (found + floor)).log()
    centre = w.mean(0).double()
    centred = w.double() - centre  # (N, D)
    moment = centred.T @ centred / len(w)
    ridge = RIDGE_SHARE * moment.diagonal().mean() * torch.eye(len(moment), dtype=torch.float64)
    slopes = torch.linalg.solve(moment + ridge, centred.T @ (missing - missing.mean(0)) / len(w))  # (D, cells)
    # Singular vectors under w's covariance, so that directions that hardly vary take no map.
    root = torch.linalg.cholesky(moment + ridge).T  # (D, D)
    _, strength, directions = torch.linalg.svd(root @ slopes, full_matrices=False)
    rank = min(count, len(strength))
    maps, slope = slopes.new_zeros(count, slopes.shape[1]), slopes.new_zeros(count, len(slopes))
    maps[:rank] = directions[:rank] * strength[:rank, None]
    slope[:rank] = (slopes @ directions[:rank].T / strength[:rank].clamp(min=1e-12)).T  # (P, D)
    predicted = missing.mean(0) + (centred @ slope.T) @ maps  # (N, cells)
    # A mean of logarithms is below the logarithm of the mean (Jensen): a gain common to all heads makes up for it.
    power = found * (2.0 * predicted.clamp(-CONTRAST_BOUND, CONTRAST_BOUND)).exp()
    surplus = 0.5 * ((wanted.mean(0) + floor) / (power.mean(0) + floor)).log()
    mean = missing.mean(0) + surplus
    side = variances.shape[-1]
    return ContrastModel(
        mean.reshape(1, side, side).float(), maps.reshape(-1, side, side).float(), slope.float(),
        -(slope @ centre).float(),
    )  # fmt: skip

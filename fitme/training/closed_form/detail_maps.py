"""Detail maps of the generator, fitted in closed form: the part of its residual that is linear in w.

Mottling, pores and strands are sums of fixed fields with random signs. Gradient descent on an L1 loss finds their
median, zero, long before it finds the fields; a ridge regression of the residual on w finds them in one pass. Its
leading components become the generator's `DetailMaps`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import octaves

RIDGE_SHARE = 0.02
"""Ridge of the regression in variances (1) of the mapping network's inputs, per map."""
LEAST_VARIANCE = 1e-4
"""Variance, in mean variances of w, that is added to every direction so that the regression can be solved."""


@dataclass(frozen=True, eq=False)
class DetailModel:
    """Details of one modality at one resolution: sum over q of (slope_q . (w - centre)) weight_q maps_q."""

    maps: Tensor
    """(Q, r, r), unit mean square."""
    weight: Tensor
    """(channels, Q)."""
    slope: Tensor
    """(Q, D)."""
    centre: Tensor
    """(D,)."""


@dataclass(frozen=True, eq=False)
class Residual:
    """Residual of a generator as an affine function of w."""

    means: dict[str, Tensor]
    """Mean residual (channels, R, R) by modality."""
    details: dict[str, dict[int, DetailModel]]
    """Linear part by modality and resolution."""


@torch.no_grad()
def fit_details(
    generator: ReflectanceGenerator,
    samples: Iterable[tuple[Tensor, dict[str, Tensor]]],  # w (B, D), raw maps (B, channels, R, R) by modality
    counts: Sequence[int],
) -> Residual:
    """Residual of the samples over the generator's outputs: its mean, and at each resolution, coarse to fine, the
    number of leading maps in `counts`."""
    # One pass sums the moments of w and the products of w with the residual's octaves (normal equations).
    products: dict[tuple[str, int], Tensor] = {}
    moment, total, sample_count = torch.zeros(()), torch.zeros(()), 0
    sums: dict[str, Tensor] = {m.name: torch.zeros(()) for m in generator.modalities}
    centre = generator.mean_w
    for w, wanted in samples:
        *_, found = generator.raw_pyramid(generator.broadcast(w)).values()
        centred = (w - centre).float()  # (B, D)
        moment, total = moment + centred.T @ centred, total + centred.sum(0)
        sample_count += len(w)
        for modality in generator.modalities:
            residual = (wanted[modality.name] - found[modality.name]).float()
            sums[modality.name] = sums[modality.name] + residual.sum(0)
            for size, band in octaves(residual, generator.config.trunk_resolution).items():
                flat, key = band.flatten(1), (modality.name, size)
                if key not in products:
                    products[key] = torch.zeros(len(moment), flat.shape[1])  # (D, channels r r)
                products[key].addmm_(centred.T, flat)
    # Centre both sides, so that the mean takes no part in the regression.
    means = {name: value / sample_count for name, value in sums.items()}
    moment = moment - torch.outer(total, total) / sample_count
    for name, mean in means.items():
        for size, band in octaves(mean[None], generator.config.trunk_resolution).items():
            products[name, size] -= torch.outer(total, band.flatten())
    direct = generator.mapping.direct
    inputs = direct.weight * direct.gain  # (D, inputs) of unit variance each
    moment = moment + LEAST_VARIANCE * moment.diagonal().mean() * torch.eye(len(moment))
    # The ridge is that of a regression on the mapping network's inputs, whatever their scale in w.
    ridge = RIDGE_SHARE * sample_count * inputs @ inputs.T
    models: dict[str, dict[int, DetailModel]] = {m.name: {} for m in generator.modalities}
    root = torch.linalg.cholesky((moment / sample_count).double()).T.float()  # (D, D)
    for (name, size), product in products.items():
        slopes = torch.linalg.solve((moment + ridge).double(), product.double()).float()  # (D, channels r r)
        count = counts[(size // generator.config.trunk_resolution).bit_length() - 1]
        models[name][size] = _leading(slopes.reshape(len(moment), -1, size * size), root, count, centre)
    return Residual(means, models)


@torch.no_grad()
def set_details(generator: ReflectanceGenerator, residual: Residual) -> None:
    """Add the mean residual to the generator's mean, and set its `DetailMaps`."""
    for name, branch in generator.named_branches():
        branch.base.add_(residual.means[name])
        for layer in branch.detail_layers():
            model = residual.details[name][layer.positions.shape[-1]]
            style = layer.mix.style
            layer.positions.copy_(model.maps)
            layer.mix.weight.copy_(model.weight / layer.mix.gain)
            style.weight.copy_(model.slope / style.gain)
            style.bias.copy_(-(model.slope @ model.centre) / style.rate)


@torch.no_grad()
def clear_details(generator: ReflectanceGenerator) -> None:
    """Set all details to zero."""
    for _, branch in generator.named_branches():
        for layer in branch.detail_layers():
            layer.positions.zero_()


def _leading(slopes: Tensor, root: Tensor, count: int, centre: Tensor) -> DetailModel:
    """Leading maps of a linear model (D, channels, r r) under w of covariance root^T root."""
    weighted = torch.einsum("de,ecn->dcn", root, slopes)  # (D, channels, r r)
    flat = weighted.flatten(0, 1)
    vectors = torch.linalg.eigh((flat @ flat.T).double()).eigenvectors[:, -count:].flip(1).float()
    maps = vectors.T @ flat  # (Q, r r)
    maps = maps / maps.square().mean(1, keepdim=True).sqrt().clamp(min=1e-8)
    coefficients = torch.einsum("dcn,qn->qdc", slopes, maps) / maps.shape[1]  # (Q, D, channels)
    # Channels share one style for a map: the best rank-one product of a vector over w and one over channels.
    weight = torch.linalg.svd(torch.einsum("de,qec->qdc", root, coefficients), full_matrices=False).Vh[:, 0]
    slope = torch.einsum("qdc,qc->qd", coefficients, weight)
    side = round(maps.shape[1] ** 0.5)
    return DetailModel(maps.reshape(count, side, side), weight.T.contiguous(), slope, centre)

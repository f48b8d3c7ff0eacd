"""The finest structures of the maps in closed form: what the generator leaves out, as far as it is linear in w.

Mottling, pores and strands are sums of fixed fields with random signs. Descending a loss finds their median, which is
nothing, long before it finds the fields; a ridge regression of what is left on w finds them at once. Its leading
components become the generator's `DetailMaps`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import octaves

RIDGE_SHARE = 0.02
"""Ridge of the regression beside the unit variance of the mapping network's inputs, per map."""
LEAST_VARIANCE = 1e-4
"""Of w in directions that no input moves, beside its mean variance, so that the regression can be solved."""


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
class Remainder:
    """What a generator leaves out, as far as it is affine in w."""

    means: dict[str, Tensor]
    """(channels, R, R) by modality."""
    details: dict[str, dict[int, DetailModel]]
    """By modality and resolution."""


@torch.no_grad()
def fit_details(
    generator: ReflectanceGenerator,
    samples: Iterable[tuple[Tensor, dict[str, Tensor]]],  # w (B, D), raw maps (B, channels, R, R) by modality
    counts: Sequence[int],
) -> Remainder:
    """What the generator's outputs lack: the mean, and at each resolution, coarse to fine, as many maps as `counts`
    says."""
    products: dict[tuple[str, int], Tensor] = {}
    moment, total, seen = torch.zeros(()), torch.zeros(()), 0
    sums: dict[str, Tensor] = {m.name: torch.zeros(()) for m in generator.modalities}
    centre = generator.mean_w
    for w, wanted in samples:
        *_, found = generator.raw_pyramid(generator.broadcast(w)).values()
        centred = (w - centre).float()  # (B, D)
        moment, total = moment + centred.T @ centred, total + centred.sum(0)
        seen += len(w)
        for modality in generator.modalities:
            left = (wanted[modality.name] - found[modality.name]).float()
            sums[modality.name] = sums[modality.name] + left.sum(0)
            for size, band in octaves(left, generator.config.trunk_resolution).items():
                flat, key = band.flatten(1), (modality.name, size)
                if key not in products:
                    products[key] = torch.zeros(len(moment), flat.shape[1])  # (D, channels r r)
                products[key].addmm_(centred.T, flat)
    means = {name: value / seen for name, value in sums.items()}
    moment = moment - torch.outer(total, total) / seen
    for name, mean in means.items():
        for size, band in octaves(mean[None], generator.config.trunk_resolution).items():
            products[name, size] -= torch.outer(total, band.flatten())
    direct = generator.mapping.direct
    inputs = direct.weight * direct.gain  # (D, inputs) of unit variance each
    moment = moment + LEAST_VARIANCE * moment.diagonal().mean() * torch.eye(len(moment))
    # As if the regression were on the mapping network's inputs, whatever their size in w.
    ridge = RIDGE_SHARE * seen * inputs @ inputs.T
    models: dict[str, dict[int, DetailModel]] = {m.name: {} for m in generator.modalities}
    root = torch.linalg.cholesky((moment / seen).double()).T.float()  # (D, D)
    for (name, size), product in products.items():
        slopes = torch.linalg.solve((moment + ridge).double(), product.double()).float()  # (D, channels r r)
        count = counts[(size // generator.config.trunk_resolution).bit_length() - 1]
        models[name][size] = _leading(slopes.reshape(len(moment), -1, size * size), root, count, centre)
    return Remainder(means, models)


@torch.no_grad()
def set_details(generator: ReflectanceGenerator, remainder: Remainder) -> None:
    """Add the mean to the generator's, and put the details into its `DetailMaps`, in the place of what was there."""
    for name, branch in generator.named_branches():
        branch.base.add_(remainder.means[name])
        for layer in branch.detail_layers():
            model = remainder.details[name][layer.positions.shape[-1]]
            style = layer.mix.style
            layer.positions.copy_(model.maps)
            layer.mix.weight.copy_(model.weight / layer.mix.gain)
            style.weight.copy_(model.slope / style.gain)
            style.bias.copy_(-(model.slope @ model.centre) / style.rate)


@torch.no_grad()
def clear_details(generator: ReflectanceGenerator) -> None:
    """Take the details out again."""
    for _, branch in generator.named_branches():
        for layer in branch.detail_layers():
            layer.positions.zero_()


def _leading(slopes: Tensor, root: Tensor, count: int, centre: Tensor) -> DetailModel:
    """The leading maps of a linear model (D, channels, r r) under w of covariance root^T root."""
    spread = torch.einsum("de,ecn->dcn", root, slopes)  # (D, channels, r r)
    flat = spread.flatten(0, 1)
    vectors = torch.linalg.eigh((flat @ flat.T).double()).eigenvectors[:, -count:].flip(1).float()
    maps = vectors.T @ flat  # (Q, r r)
    maps = maps / maps.square().mean(1, keepdim=True).sqrt().clamp(min=1e-8)
    coefficients = torch.einsum("dcn,qn->qdc", slopes, maps) / maps.shape[1]  # (Q, D, channels)
    # Channels share one style for a map: the best product of a vector over w and one over channels.
    weight = torch.linalg.svd(torch.einsum("de,qec->qdc", root, coefficients), full_matrices=False).Vh[:, 0]
    slope = torch.einsum("qdc,qc->qd", coefficients, weight)
    side = round(maps.shape[1] ** 0.5)
    return DetailModel(maps.reshape(count, side, side), weight.T.contiguous(), slope, centre)

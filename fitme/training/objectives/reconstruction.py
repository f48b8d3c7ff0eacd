"""Reconstruction losses: L1 of values, of differences between neighbouring texels, and of local contrast, on the
generator's outputs in the encoding of the data set."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.color import linear_to_srgb
from fitme.reflectance.layers import CONTRAST_CELL, downsample, upsample
from fitme.reflectance.modality import MODALITIES, Encoding, Modality
from fitme.reflectance.raw_outputs import NORMAL_SLOPE_SCALE, split_channels

CONTRAST_OCTAVES = 2
"""Number of octaves, from the finest on, in the contrast loss."""
SMALLEST_VARIANCE = 1e-6
"""Variance that is added to a cell's, so that its root is differentiable at zero."""


@dataclass(frozen=True)
class ReconstructionWeights:
    """Weights of the loss's terms."""

    diffuse: float = 1.0
    """Of sRGB-encoded diffuse albedo."""
    specular: float = 0.5
    """Of specular albedo."""
    normals: float = 2.0
    """Of slopes, which are small."""
    others: float = 1.0
    """Of each further modality."""
    gradient: float = 1.0
    """Of differences between neighbouring texels, times the modality's weight."""
    coarse: float = 0.5
    """Of every resolution below the finest."""
    contrast: float = 0.0
    """Of the difference of local contrast, times the modality's weight; see `contrast_loss`."""

    def of(self, modality: Modality) -> float:
        """Weight of a modality's own values, summed over its channels."""
        own = {"diffuse": self.diffuse, "specular": self.specular, "normals": self.normals}
        return own.get(modality.name, self.others)


def encoded_outputs(raw: dict[str, Tensor]) -> Tensor:
    """Maps (B, 6, R, R), in the encoding of the data set, of the generator's raw outputs by modality."""
    return torch.cat([_comparable(MODALITIES[name], values) for name, values in raw.items()], 1)


def _comparable(modality: Modality, raw: Tensor) -> Tensor:
    if modality.encoding is Encoding.TANGENT_NORMAL:
        return raw * NORMAL_SLOPE_SCALE
    linear = torch.sigmoid(raw)
    return linear_to_srgb(linear) if modality.encoding is Encoding.COLOR else linear


def by_modality(maps: Tensor) -> dict[str, Tensor]:
    """Maps (B, 6, R, R) split by modality for the discriminator, scaled to similar ranges."""
    return {
        name: values * 10.0 if MODALITIES[name].encoding is Encoding.TANGENT_NORMAL else values * 4.0 - 2.0
        for name, values in split_channels(maps, MODALITIES.generated).items()
    }


def reconstruction_losses(
    pyramid: dict[int, Tensor],  # (B, 6, r, r) by resolution r
    maps: Tensor,  # (B, 6, R, R)
    weight: Tensor,  # (1, 1, R, R) of texels
    weights: ReconstructionWeights,
) -> dict[str, Tensor]:
    """Losses by name: L1 of values and of differences between neighbours at every resolution, and the contrast loss."""
    finest = max(pyramid)
    losses = {}
    for size, output in pyramid.items():
        factor = maps.shape[-1] // size
        share = 1.0 if size == finest else weights.coarse
        error = _difference(output, downsample(maps, factor), downsample(weight, factor), weights)
        losses[f"maps_{size}"] = share * error
    if weights.contrast > 0.0:
        factor = maps.shape[-1] // finest
        error = contrast_loss(pyramid[finest], downsample(maps, factor), downsample(weight, factor), weights)
        losses["contrast"] = weights.contrast * error
    return losses


def contrast_loss(
    output: Tensor,  # (B, 6, R, R)
    target: Tensor,  # (B, 6, R, R)
    weight: Tensor,  # (1, 1, R, R) of texels
    weights: ReconstructionWeights,
) -> Tensor:
    """L1 of the standard deviation in cells of `CONTRAST_CELL` texels a side of the two finest octaves.

    A loss on values alone fades strands and stubble whose places cannot be predicted; this term keeps their strength.
    """
    scales = _scales(output, weights)
    total = output.new_zeros(())
    for _ in range(CONTRAST_OCTAVES):
        below = [downsample(x, 2) for x in (output, target)]
        found, wanted = (
            (downsample((x - upsample(low)).square(), CONTRAST_CELL) + SMALLEST_VARIANCE).sqrt()
            for x, low in zip((output, target), below, strict=True)
        )
        total = total + ((found - wanted).abs() * scales * downsample(weight, CONTRAST_CELL)).sum(1).mean()
        output, target, weight = *below, downsample(weight, 2)
    return total


def _difference(output: Tensor, target: Tensor, weight: Tensor, weights: ReconstructionWeights) -> Tensor:
    """Weighted L1 of values and of differences between neighbours."""
    error = (output - target) * _scales(output, weights)
    values = (error.abs() * weight).sum(1).mean()
    across = ((error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]).sum(1).mean()
    down = ((error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]).sum(1).mean()
    return values + weights.gradient * (across + down)


def _scales(like: Tensor, weights: ReconstructionWeights) -> Tensor:
    """Weights (6, 1, 1) of the channels."""
    scales = [weights.of(m) / m.raw_channels for m in MODALITIES.generated for _ in range(m.raw_channels)]
    return like.new_tensor(scales)[:, None, None]

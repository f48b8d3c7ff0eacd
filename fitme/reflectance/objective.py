"""What training compares: the generator's raw outputs as the data set has maps, and the reconstruction loss."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.color import linear_to_srgb
from fitme.reflectance.generator import NORMAL_SLOPE_SCALE
from fitme.reflectance.layers import downsample


@dataclass(frozen=True)
class ReconstructionWeights:
    """Weights of the L1 terms."""

    diffuse: float = 1.0
    """Of sRGB-encoded diffuse albedo."""
    specular: float = 0.5
    normals: float = 2.0
    """Of slopes, which are small."""
    gradient: float = 1.0
    """Of differences between neighbouring texels, beside each map's own weight."""
    coarse: float = 0.5
    """Of every resolution below the finest."""


def comparable(raw: dict[str, Tensor]) -> Tensor:
    """The generator's raw outputs as the data set has maps: (B, 6, R, R)."""
    diffuse = linear_to_srgb(torch.sigmoid(raw["diffuse"]))
    return torch.cat([diffuse, torch.sigmoid(raw["specular"]), raw["normals"] * NORMAL_SLOPE_SCALE], 1)


def by_modality(maps: Tensor) -> dict[str, Tensor]:
    """Maps (B, 6, R, R) for the discriminator, scaled alike."""
    return {"diffuse": maps[:, :3] * 4.0 - 2.0, "specular": maps[:, 3:4] * 4.0 - 2.0, "normals": maps[:, 4:] * 10.0}


def reconstruction_losses(
    pyramid: dict[int, Tensor],  # (B, 6, r, r) by resolution r
    maps: Tensor,  # (B, 6, R, R)
    weight: Tensor,  # (1, 1, R, R) of texels
    weights: ReconstructionWeights,
) -> dict[str, Tensor]:
    """L1 of values and of differences between neighbours at every resolution, by name."""
    finest = max(pyramid)
    losses = {}
    for size, output in pyramid.items():
        factor = maps.shape[-1] // size
        share = 1.0 if size == finest else weights.coarse
        error = _difference(output, downsample(maps, factor), downsample(weight, factor), weights)
        losses[f"maps_{size}"] = share * error
    return losses


def _difference(output: Tensor, target: Tensor, weight: Tensor, weights: ReconstructionWeights) -> Tensor:
    scales = output.new_tensor([weights.diffuse / 3.0] * 3 + [weights.specular] + [weights.normals / 2.0] * 2)
    error = (output - target) * scales[:, None, None]
    values = (error.abs() * weight).sum(1).mean()
    across = ((error[..., 1:] - error[..., :-1]).abs() * weight[..., 1:]).sum(1).mean()
    down = ((error[..., 1:, :] - error[..., :-1, :]).abs() * weight[..., 1:, :]).sum(1).mean()
    return values + weights.gradient * (across + down)

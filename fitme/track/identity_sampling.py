"""Differentiable counterpart of `warp` of `fitme.track.identity_crop`; apart, so that faces are found without torch."""

from typing import Final

import torch
import torch.nn.functional as functional
from torch import Tensor

SUPERSAMPLED_BELOW: Final = 0.75
"""Scale below which the differentiable crop averages 2x2 samples a pixel."""


def sample_aligned(images: Tensor, matrices: Tensor, size: int) -> Tensor:
    """Differentiable `warp` of a batch.

    :param images: (B, H, W, 3), any value range.
    :param matrices: (B, 2, 3) similarities from the images' pixels to the crop's, on the CPU wherever the images are.
    :return: (B, size, size, 3) in the value range of `images`; 0 outside of them.
    """
    height, width = images.shape[1:3]
    matrices = matrices.to(images.dtype)
    linear = matrices[:, :, :2]
    # Read and inverted before they are copied: either would wait for the images' device.
    scale, inverse = linear[:, :, 0].norm(dim=-1).min(), torch.linalg.inv(linear).to(images.device)
    shift = matrices[:, None, :, 2].to(images.device)
    factor = 2 if float(scale) < SUPERSAMPLED_BELOW else 1
    ticks = (torch.arange(size * factor, dtype=images.dtype, device=images.device) + 0.5) / factor
    target = torch.stack(torch.meshgrid(ticks, ticks, indexing="xy"), -1).reshape(-1, 2)  # (S, 2) x, y
    # `grid_sample` takes positions in the image, in [-1, 1] from edge to edge.
    source = (target - shift) @ inverse.transpose(-1, -2)  # (B, S, 2) pixels
    normalised = source * torch.tensor([2.0 / width, 2.0 / height], dtype=images.dtype, device=images.device) - 1.0
    grid = normalised.reshape(-1, size * factor, size * factor, 2)
    sampled = functional.grid_sample(images.permute(0, 3, 1, 2), grid, mode="bilinear", align_corners=False)
    return (functional.avg_pool2d(sampled, 2) if factor == 2 else sampled).permute(0, 2, 3, 1)

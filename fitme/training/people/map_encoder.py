"""Encoder of whole maps to w, which training uses in place of known generative factors; no avatar needs it."""

from itertools import pairwise

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fitme.reflectance.layers import activate
from fitme.training.objectives.reconstruction import by_modality

POSITION_CHANNELS = 2


class MapEncoder(nn.Module):
    """Encoded maps (B, 6, R, R) to w (B, D)."""

    def __init__(self, resolution: int, channels: tuple[int, ...], latent_size: int, map_channels: int) -> None:
        """:param resolution: texels a side to which maps are averaged first.
        :param channels: at each halving.
        """
        super().__init__()
        self.resolution = resolution
        widths = (map_channels + POSITION_CHANNELS, *channels)
        self.halvings = nn.ModuleList(nn.Conv2d(a, b, 3, 2, 1) for a, b in pairwise(widths))
        self.residuals = nn.ModuleList(nn.Conv2d(width, width, 3, 1, 1) for width in channels)
        side = resolution >> len(channels)
        self.flat = nn.Linear(channels[-1] * side * side, 2 * latent_size)
        self.last = nn.Linear(2 * latent_size, latent_size)
        centres = (torch.arange(resolution) + 0.5) / resolution * 2.0 - 1.0
        position = torch.stack(torch.meshgrid(centres, centres, indexing="xy"))[None]
        self.register_buffer("position", position, persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """w (B, D) of encoded maps (B, 6, R, R), R a multiple of the network's resolution."""
        if maps.shape[-1] > self.resolution:
            maps = functional.avg_pool2d(maps, maps.shape[-1] // self.resolution)
        position = self.get_buffer("position").expand(len(maps), -1, -1, -1)
        x = torch.cat([*by_modality(maps).values(), position], 1)
        for halving, residual in zip(self.halvings, self.residuals, strict=True):
            x = activate(halving(x))
            x = x + activate(residual(x))
        w: Tensor = self.last(activate(self.flat(x.flatten(1))))
        return w

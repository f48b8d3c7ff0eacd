"""Branched discriminator: whether diffuse albedo, specular albedo and normals are real *together*.

As in FitMe (Lattas et al., CVPR 2023, section 3.1) each modality has its own branch; the branches join before the
score, so that maps which are plausible one by one but inconsistent with each other are detected. Blocks are StyleGAN2's
residual blocks (Karras et al., CVPR 2020, section 4.1) without their first convolution.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fitme.errors import ConfigError
from fitme.reflectance.layers import EqualConv, EqualLinear, activate, downsample
from fitme.reflectance.modality import MODALITIES

POSITION_CHANNELS = 2
"""Channels of the texels' u and v, so that a crop is scored for its place in the layout."""
RESIDUAL_GAIN = math.sqrt(0.5)
"""Factor that keeps the variance of a sum of two."""


@dataclass(frozen=True)
class DiscriminatorConfig:
    """Sizes of the discriminator."""

    resolution: int = 64
    """Texels a side of the inputs: whole maps, or crops of larger ones."""
    branch_channels: tuple[int, ...] = (16, 32, 48)
    """Channels of each modality's branch per resolution, halving from `resolution` on; the branches join after the
    last."""
    joint_channels: tuple[int, ...] = (96, 128)
    """Channels after joining, halving further."""

    def __post_init__(self) -> None:
        halvings = len(self.branch_channels) + len(self.joint_channels)
        if self.final_resolution < 1:
            raise ConfigError(f"a discriminator that halves {halvings} times does not fit resolution {self.resolution}")

    @property
    def final_resolution(self) -> int:
        """Texels a side before the score."""
        return self.resolution >> (len(self.branch_channels) + len(self.joint_channels))


class _Down(nn.Module):
    """Residual block that halves the resolution."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = EqualConv(inputs, outputs, 3)
        self.skip = EqualConv(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        down = downsample(activate(self.conv(x)))
        both: Tensor = down + self.skip(downsample(x))
        return both * RESIDUAL_GAIN


class BranchedDiscriminator(nn.Module):
    """Maps of all modalities to one score, positive for real."""

    def __init__(self, config: DiscriminatorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or DiscriminatorConfig()
        widths = config.branch_channels
        self.branches = nn.ModuleDict(
            {
                modality.name: nn.Sequential(
                    EqualConv(modality.raw_channels + POSITION_CHANNELS, widths[0], 1),
                    *(_Down(widths[max(k - 1, 0)], width) for k, width in enumerate(widths)),
                )
                for modality in MODALITIES.generated
            }
        )
        joint = (len(MODALITIES.generated) * widths[-1], *config.joint_channels)
        self.joint = nn.Sequential(*(_Down(joint[k], joint[k + 1]) for k in range(len(joint) - 1)))
        features = joint[-1] * config.final_resolution**2
        self.hidden = EqualLinear(features, joint[-1])
        self.score = EqualLinear(joint[-1], 1)

    def forward(
        self,
        maps: dict[str, Tensor],  # by modality (B, channels, R, R), in any fixed encoding
        position: Tensor,  # (B|1, 2, R, R) u and v of each texel
    ) -> Tensor:
        """Scores (B,)."""
        names = [m.name for m in MODALITIES.generated]
        if set(maps) != set(names):
            raise ConfigError(f"the discriminator judges {names} together, got {sorted(maps)}")
        branches = [
            self.branches[m.name](torch.cat([maps[m.name], position.expand(len(maps[m.name]), -1, -1, -1)], 1))
            for m in MODALITIES.generated
        ]
        x = self.joint(torch.cat(branches, 1))
        score: Tensor = self.score(activate(self.hidden(x.flatten(1))))
        return score[:, 0]

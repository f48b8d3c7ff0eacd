"""The reflectance generator: one latent to diffuse albedo, specular albedo and normals of a head in UV.

The architecture is that of FitMe (Lattas et al., CVPR 2023, section 3.1) on StyleGAN2 (Karras et al., CVPR 2020): a
mapping network, a trunk of modulated convolutions that all modalities share, then one branch per modality, outputs
summed over resolutions by skip connections. Two things differ, both because every map here lies in one fixed UV
layout: features and outputs of every stage mix in learned *positional maps* (where StyleGAN2 has noise), and outputs
start from a learned linear model of all modalities (mean maps and `linear_components` others, mixed by a row of W+)
instead of zero, so that convolutions add what is not linear. Both let a style fade a fixed structure in and out, which
makes W+ easy to invert and training possible on a CPU.
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from fitme.errors import ConfigError
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.reflectance.layers import (
    ACTIVATION_GAIN,
    LEAKY_SLOPE,
    EqualLinear,
    LocalContrast,
    ModulatedConv,
    PositionalMix,
    downsample,
    upsample,
)
from fitme.reflectance.mapping import MappingNetwork
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import Modality
from fitme.reflectance.raw_outputs import decode, split_channels

POSITION_SCALE = 0.3
"""Standard deviation of positional maps before training."""
RESIDUAL_SCALE = 0.03
"""Scale of a stage's contribution to the outputs before training."""


class SynthesisStage(nn.Module):
    """One resolution: (upsample,) two modulated convolutions, positional maps mixed in between."""

    def __init__(
        self, inputs: int, outputs: int, resolution: int, positions: int, latent_size: int, *, grow: bool
    ) -> None:
        super().__init__()
        self.grow = grow
        self.positions = nn.Parameter(torch.randn(positions, resolution, resolution) * POSITION_SCALE)
        # The first convolution runs before upsampling: a quarter of the cost for an equal receptive field.
        self.first = ModulatedConv(inputs, outputs, 3, latent_size, gain=ACTIVATION_GAIN)
        self.second = ModulatedConv(outputs, outputs, 3, latent_size, gain=ACTIVATION_GAIN)
        self.mix = PositionalMix(positions, outputs, latent_size, gain=ACTIVATION_GAIN)

    def forward(self, x: Tensor, w: Tensor) -> Tensor:
        """Features (B, inputs, H, W) and latents (B, 2, D) to (B, outputs, H', W')."""
        # The layers' gain commutes with the leaky ReLU and saves a pass over the features.
        x = functional.leaky_relu(self.first(x, w[:, 0]), LEAKY_SLOPE)
        if self.grow:
            x = upsample(x)
        return functional.leaky_relu(self.second(x, w[:, 1]) + self.mix(self.positions, w[:, 1]), LEAKY_SLOPE)


class OutputLayer(nn.Module):
    """Raw output maps of one modality from a stage's features and from its positional maps."""

    def __init__(self, inputs: int, channels: int, positions: int, latent_size: int) -> None:
        super().__init__()
        self.features = ModulatedConv(inputs, channels, 1, latent_size, demodulate=False)
        self.mix = PositionalMix(positions, channels, latent_size)
        with torch.no_grad():
            self.features.weight.mul_(RESIDUAL_SCALE)
            self.mix.weight.mul_(RESIDUAL_SCALE)

    def forward(self, x: Tensor, positions: Tensor, w: Tensor) -> Tensor:
        """Features (B, inputs, H, W), positional maps (P, H, W), latents (B, D) to (B, channels, H, W)."""
        output: Tensor = self.features(x, w) + self.mix(positions, w)
        return output


class DetailMaps(nn.Module):
    """Maps that a style adds to the outputs; zero before `fitme.training.closed_form.detail_maps` sets them."""

    def __init__(self, maps: int, channels: int, resolution: int, latent_size: int) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.zeros(maps, resolution, resolution))
        self.mix = PositionalMix(maps, channels, latent_size)

    def forward(self, w: Tensor) -> Tensor:
        """(B, D) to (B, channels, H, W)."""
        output: Tensor = self.mix(self.positions, w)
        return output


LINEAR_ROWS = 1
"""Rows of W+ that the linear model reads; they come first."""
LAYERS_PER_STAGE = 3
"""Rows of W+ that a stage reads: two convolutions and the outputs that follow."""


class Branch(nn.Module):
    """Part of the network for one modality: output layers along the trunk, then its own stages."""

    def __init__(self, modality: Modality, channels: tuple[int, ...], config: GeneratorConfig) -> None:
        super().__init__()
        self.trunk_outputs = nn.ModuleList(
            OutputLayer(inputs, modality.raw_channels, config.trunk_positions, config.latent_size)
            for inputs in config.trunk_channels
        )
        widths, positions = (config.trunk_channels[-1], *channels), config.positions_by_level
        self.stages = nn.ModuleList(
            SynthesisStage(
                a, b, config.trunk_resolution << (level + 1), positions[level], config.latent_size, grow=True
            )
            for level, (a, b) in enumerate(pairwise(widths))
        )
        self.outputs = nn.ModuleList(
            OutputLayer(width, modality.raw_channels, count, config.latent_size)
            for width, count in zip(channels, positions, strict=True)
        )
        self.details = nn.ModuleList(
            DetailMaps(count, modality.raw_channels, config.trunk_resolution << level, config.latent_size)
            for level, count in enumerate(config.detail_maps)
        )
        self.contrasts = nn.ModuleList(
            LocalContrast(config.contrast_maps, config.trunk_resolution << (level + 1), config.latent_size)
            for level in range(len(channels))
        )
        self.base = nn.Parameter(torch.zeros(1, modality.raw_channels, config.resolution, config.resolution))

    def detail_layers(self) -> list[DetailMaps]:
        """Layers of detail maps, from the trunk's resolution up."""
        return [cast("DetailMaps", layer) for layer in self.details]

    def contrast_layers(self) -> list[LocalContrast]:
        """Layers of local contrast, from twice the trunk's resolution up."""
        return [cast("LocalContrast", layer) for layer in self.contrasts]


class ReflectanceGenerator(nn.Module):
    """Network from z to w (`mapping`) and from W+ to reflectance maps (`synthesize`)."""

    mean_w: Tensor
    """(D,) mean of w over z, tracked in training."""

    def __init__(self, config: GeneratorConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or GeneratorConfig()
        self.mapping = MappingNetwork(
            config.noise_size, config.feature_count, config.latent_size, config.mapping_layers
        )
        channels = config.trunk_channels
        start = config.start_resolution
        self.constant = nn.Parameter(torch.randn(1, channels[0], start, start))
        widths = (channels[0], *channels)
        self.trunk = nn.ModuleList(
            SynthesisStage(
                widths[level],
                widths[level + 1],
                start << level,
                config.trunk_positions,
                config.latent_size,
                grow=level > 0,
            )
            for level in range(len(channels))
        )
        self.branches = nn.ModuleDict({m.name: Branch(m, config.branches[m.name], config) for m in config.modalities})
        side, raw_channels = config.linear_resolution, sum(m.raw_channels for m in config.modalities)
        self.components = nn.Parameter(torch.zeros(config.linear_components, raw_channels, side, side))
        self.mixture = EqualLinear(config.latent_size, config.linear_components)
        self.register_buffer("mean_w", torch.zeros(config.latent_size))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities of the maps that `synthesize` returns."""
        return self.config.modalities

    @property
    def num_layers(self) -> int:
        """L: rows of a W+ latent: the linear model's, the trunk's, then each branch's in the order of `MODALITIES`."""
        branches = sum(len(c) for c in self.config.branches.values())
        return LINEAR_ROWS + LAYERS_PER_STAGE * (len(self.config.trunk_channels) + branches)

    @property
    def latent_size(self) -> int:
        """Z: components of the z that `mapping` takes."""
        return self.config.noise_size

    def broadcast(self, w: Tensor) -> Tensor:
        """W+ (B, L, D) whose rows all equal w (B, D)."""
        return w[:, None].expand(-1, self.num_layers, -1)

    def synthesize(
        self,
        w_plus: Tensor,  # (B, L, D)
        resolution: int | None = None,
    ) -> ReflectanceMaps:
        """Maps of W+ latents.

        :param resolution: texels a side, a stage's, the full one by default. A lower one is much cheaper: the sum of
            the skip outputs up to it, without finer detail.
        :raises ConfigError: if no stage has the resolution.
        """
        *_, raw = self.raw_pyramid(w_plus, resolution).values()
        return decode(raw)

    def raw_pyramid(self, w_plus: Tensor, resolution: int | None = None) -> dict[int, dict[str, Tensor]]:
        """Raw outputs (B, channels, R, R) by modality, for every R from the trunk's resolution (or `resolution`, where
        that is lower) to `resolution`, coarse to fine; parameters and errors as of `synthesize`."""
        config = self.config
        target = config.resolution if resolution is None else resolution
        stages = [config.start_resolution << level for level in range(20)]
        if target not in stages or target > config.resolution:
            raise ConfigError(
                f"the generator has no outputs at {target} texels; powers of two from {config.start_resolution} to"
                f" {config.resolution} exist"
            )
        # The trunk, whose features and skip outputs all modalities share.
        x = self.constant.expand(len(w_plus), -1, -1, -1)
        sums: dict[str, Tensor | None] = {m.name: None for m in config.modalities}
        row = LINEAR_ROWS
        for level, stage in enumerate(self.trunk):
            if config.start_resolution << level > target:
                break
            x = stage(x, w_plus[:, row : row + 2])
            for name, branch in self.named_branches():
                output = branch.trunk_outputs[level](x, stage.positions, w_plus[:, row + 2])
                if config.start_resolution << level == config.trunk_resolution:
                    output = output + branch.details[0](w_plus[:, row + 2])
                sums[name] = _accumulate(sums[name], output)
            row += LAYERS_PER_STAGE
        # Rows of W+ stay those of the full network when the trunk ends early.
        row = LINEAR_ROWS + LAYERS_PER_STAGE * len(self.trunk)
        # The linear model of all modalities, to whose octaves the branches add.
        mixed = torch.einsum("bk,kchw->bchw", self.mixture(w_plus[:, 0]), self.components)
        linear = split_channels(mixed, config.modalities)
        coarsest = min(target, config.trunk_resolution)
        pyramid: dict[int, dict[str, Tensor]] = {size: {} for size in stages if coarsest <= size <= target}
        # Each branch goes on from the trunk's features and from its own sum of skip outputs.
        for name, branch in self.named_branches():
            features, total = x, sums[name]
            assert total is not None
            pyramid[coarsest][name] = total = total + self._linear(branch.base, linear[name], coarsest)
            for level, (stage, output_layer) in enumerate(zip(branch.stages, branch.outputs, strict=True)):
                size = config.trunk_resolution << (level + 1)
                if size <= target:
                    features = stage(features, w_plus[:, row : row + 2])
                    style = w_plus[:, row + 2]
                    output = output_layer(features, stage.positions, style) + branch.details[level + 1](style)
                    band = output + self._linear_band(branch.base, linear[name], size)
                    pyramid[size][name] = total = upsample(total) + branch.contrasts[level](style) * band
                row += LAYERS_PER_STAGE
        return pyramid

    def _linear(self, base: Tensor, mixed: Tensor, size: int) -> Tensor:
        """The linear model's part of a modality at a resolution, (B, channels, size, size)."""
        while mixed.shape[-1] < size:
            mixed = upsample(mixed)
        return downsample(mixed, mixed.shape[-1] // size) + downsample(base, self.config.resolution // size)

    def _linear_band(self, base: Tensor, mixed: Tensor, size: int) -> Tensor:
        """Octave of the linear model's part of a modality at a resolution, (B|1, channels, size, size)."""
        band = _octave(downsample(base, self.config.resolution // size))
        side = mixed.shape[-1]
        return band if side < size else band + _octave(downsample(mixed, side // size))

    def named_branches(self) -> Iterator[tuple[str, Branch]]:
        """Name and branch of every modality, in the order of `MODALITIES`."""
        return ((name, cast("Branch", branch)) for name, branch in self.branches.items())

    @torch.no_grad()
    def set_linear_model(
        self,
        mean: dict[str, Tensor],  # (1, channels, R, R) raw outputs by modality
        components: Tensor,  # (K, channels of all modalities, r, r) raw outputs
    ) -> None:
        """Set mean and components of the linear model."""
        for name, branch in self.named_branches():
            branch.base.copy_(mean[name])
        self.components.copy_(components)

    @torch.no_grad()
    def measure_mean_w(self, samples: int = 4096) -> None:
        """Set `mean_w` to the mean of w over random z."""
        noise = torch.randn(samples, self.config.noise_size, generator=torch.Generator().manual_seed(0))
        self.mean_w.copy_(self.mapping(noise).mean(0))


def _octave(maps: Tensor) -> Tensor:
    """Residual of maps after upsampling from half their resolution."""
    return maps - upsample(downsample(maps))


def _accumulate(total: Tensor | None, output: Tensor) -> Tensor:
    """Skip output plus the sum of coarser ones, upsampled where its resolution is lower."""
    if total is None:
        return output
    return output + (upsample(total) if output.shape[-1] > total.shape[-1] else total)

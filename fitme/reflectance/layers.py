"""Building blocks of the style-based networks (Karras et al., "Analyzing and Improving the Image Quality of StyleGAN",
CVPR 2020): equalised learning rate, modulated convolution with demodulation, bilinear resampling.

Features are (B, C, H, W) float32 inside the networks.
"""

import math

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

LEAKY_SLOPE = 0.2
ACTIVATION_GAIN = math.sqrt(2.0)
"""Gain of leaky-rectified features, which keeps the variance of their input."""
CONTRAST_CELL = 8
"""Texels a side of the cells of `LocalContrast`."""
CONTRAST_BOUND = 1.0
"""Bound of the logarithm of a gain."""
_EPSILON = 1e-8


def activate(x: Tensor) -> Tensor:
    """Leaky ReLU, scaled to keep the variance; any shape."""
    return functional.leaky_relu(x, LEAKY_SLOPE) * ACTIVATION_GAIN


def upsample(x: Tensor) -> Tensor:
    """(B, C, H, W) to (B, C, 2H, 2W), bilinear."""
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


def downsample(x: Tensor, factor: int = 2) -> Tensor:
    """(B, C, H, W) to (B, C, H / factor, W / factor), mean of each block."""
    return x if factor == 1 else functional.avg_pool2d(x, factor)


def octaves(maps: Tensor, coarsest: int) -> dict[int, Tensor]:
    """Laplacian pyramid of maps (B, C, H, W), by resolution down to `coarsest`: residuals of upsampling from the next
    coarser level, and the coarsest maps themselves."""
    bands = {}
    while maps.shape[-1] > coarsest:
        below = downsample(maps)
        bands[maps.shape[-1]] = maps - upsample(below)
        maps = below
    bands[coarsest] = maps
    return bands


class EqualLinear(nn.Module):
    """Fully connected layer whose weights are scaled at run time (equalised learning rate, Karras et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, *, bias: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.gain = rate / math.sqrt(inputs)
        """Factor of `weight` at run time."""
        self.rate = rate
        """Factor of `bias` at run time."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs) to (B, outputs)."""
        return functional.linear(x, self.weight * self.gain, self.bias * self.rate)


class EqualConv(nn.Module):
    """Plain convolution with equalised learning rate and 'same' padding."""

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._gain = 1.0 / math.sqrt(inputs * kernel * kernel)
        self._padding = kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) to (B, outputs, H, W)."""
        return functional.conv2d(x, self.weight * self._gain, self.bias, padding=self._padding)


class ModulatedConv(nn.Module):
    """Convolution whose input channels are scaled by a style, with outputs brought back to unit variance.

    A batch of one scales the weights, which are few; a larger batch scales features instead, an equal function
    (Karras et al. 2020, section 2.2) with one ungrouped convolution.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, latent_size: int, *, demodulate: bool = True, gain: float = 1.0
    ) -> None:
        super().__init__()
        self.style = EqualLinear(latent_size, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self._gain = 1.0 / math.sqrt(inputs * kernel * kernel)
        self._output_gain = gain
        self._padding = kernel // 2
        self._demodulate = demodulate

    def forward(
        self,
        x: Tensor,  # (B, inputs, H, W)
        w: Tensor,  # (B, latent_size)
    ) -> Tensor:
        """(B, outputs, H, W), bias added, not activated."""
        style = self.style(w)  # (B, inputs)
        if len(w) == 1:
            # Constants go with the small factors: a pass over the weights takes as long as a small convolution.
            weight = self.weight * (style * self._gain)[0, :, None, None]
            scale = torch.full((), self._output_gain)
            if self._demodulate:
                scale = (weight.square().sum((1, 2, 3), keepdim=True) + _EPSILON).rsqrt() * self._output_gain
            weight, bias = weight * scale, self.bias * self._output_gain
            if self._padding == 0:
                # A kernel of one texel is a product of matrices, which the library does several times as fast.
                mixed = torch.addmm(bias[:, None], weight.flatten(1), x[0].flatten(1))
                return mixed.reshape(1, -1, *x.shape[2:])
            return functional.conv2d(x, weight, bias, padding=self._padding)
        weight = self.weight * self._gain
        y = functional.conv2d(x * style[:, :, None, None], weight, padding=self._padding)
        bias = self.bias[:, None, None] * self._output_gain
        if not self._demodulate:
            return torch.add(bias, y, alpha=self._output_gain)
        energy = style.square() @ weight.square().sum((2, 3)).transpose(0, 1)  # (B, outputs)
        return torch.addcmul(bias, y, (energy + _EPSILON).rsqrt()[:, :, None, None], value=self._output_gain)


class PositionalMix(nn.Module):
    """Positional maps of the fixed layout, mixed into channels with weights that a style scales: a matrix product,
    cheap beside a convolution."""

    def __init__(self, maps: int, outputs: int, latent_size: int, *, gain: float = 1.0) -> None:
        super().__init__()
        self.style = EqualLinear(latent_size, maps)
        self.weight = nn.Parameter(torch.randn(outputs, maps))
        self.gain = gain / math.sqrt(maps)
        """Factor of `weight` at run time."""

    def forward(
        self,
        maps: Tensor,  # (P, H, W)
        w: Tensor,  # (B, latent_size)
    ) -> Tensor:
        """(B, outputs, H, W)."""
        mix = self.weight * self.gain * self.style(w)[:, None]  # (B, outputs, P)
        return torch.einsum("bop,phw->bohw", mix, maps)


class LocalContrast(nn.Module):
    """Gains of fine structure by cells, from a style; 1 before `fitme.training.closed_form.contrast_maps` sets them."""

    def __init__(self, maps: int, resolution: int, latent_size: int) -> None:
        super().__init__()
        side = resolution // CONTRAST_CELL
        self.mean = nn.Parameter(torch.zeros(1, side, side))
        self.maps = nn.Parameter(torch.zeros(maps, side, side))
        self.style = EqualLinear(latent_size, maps)

    def forward(self, w: Tensor) -> Tensor:
        """Gains (B, 1, H, W) of w (B, D), within a factor of e^`CONTRAST_BOUND`."""
        logarithm = self.mean + torch.einsum("bp,phw->bhw", self.style(w), self.maps)[:, None]
        gains = (CONTRAST_BOUND * torch.tanh(logarithm / CONTRAST_BOUND)).exp()
        return functional.interpolate(gains, scale_factor=CONTRAST_CELL, mode="bilinear", align_corners=False)

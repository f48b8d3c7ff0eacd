"""Encoder from maps at low resolution to the generator's latents: what makes training on few maps and little time
possible."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fitme.reflectance.dataset import CHANNELS
from fitme.reflectance.generator import ReflectanceGenerator, encode_raw
from fitme.reflectance.layers import LEAKY_SLOPE, EqualConv, EqualLinear, activate, downsample
from fitme.reflectance.linear_basis import LinearBasis

ENCODER_RESOLUTION = 64
"""Texels a side of the maps that the encoder's convolutions see."""
CONVOLUTION_SHARE = 0.3
"""Weight of the convolutions beside the linear coefficients at the beginning."""
OFFSET_RATE = 0.05
"""Scale of the W+ offsets, so that they begin small."""
LOG_VARIANCE_LIMIT = 6.0


@dataclass(frozen=True)
class Encoding:
    """The posterior of z, and how W+ departs from w."""

    mean: Tensor
    """(B, Z)."""
    log_variance: Tensor
    """(B, Z)."""
    offsets: Tensor
    """(B, L, D)."""

    def sample(self, noise: Tensor) -> Tensor:
        """z (B, Z) for standard normal noise (B, Z)."""
        return self.mean + noise * (0.5 * self.log_variance).exp()

    def divergence(self) -> Tensor:
        """Kullback-Leibler divergence from N(0, I), nats, mean over the batch."""
        kl = self.mean.square() + self.log_variance.exp() - 1.0 - self.log_variance
        return 0.5 * kl.sum(1).mean()


class MapEncoder(nn.Module):
    """Maps, as the dataset encodes them, to an `Encoding`: by convolutions at low resolution, and by their
    coefficients in the linear model."""

    projection: Tensor
    mean: Tensor

    def __init__(
        self, generator: ReflectanceGenerator, basis: LinearBasis, channels: tuple[int, ...] = (32, 64, 96, 128)
    ) -> None:
        super().__init__()
        self._noise_size = generator.config.noise_size
        self._shape = (generator.num_layers, generator.config.latent_size)
        widths = (CHANNELS, *channels)
        self.layers = nn.ModuleList(EqualConv(widths[k], widths[k + 1], 3) for k in range(len(channels)))
        side = ENCODER_RESOLUTION >> len(channels)
        self.hidden = EqualLinear(channels[-1] * side * side, 256)
        count = basis.projection.shape[1]
        self.linear = nn.Sequential(EqualLinear(count, 256), nn.LeakyReLU(LEAKY_SLOPE), EqualLinear(256, 256))
        self.posterior = EqualLinear(256, 2 * self._noise_size)
        self.register_buffer("projection", basis.projection, persistent=False)
        self.register_buffer("mean", basis.mean, persistent=False)
        self.offsets = EqualLinear(256, self._shape[0] * self._shape[1])

    def forward(self, maps: Tensor) -> Encoding:
        """Latents of maps (B, 6, R, R), R being that of the linear model or a multiple."""
        small = downsample(maps, maps.shape[-1] // ENCODER_RESOLUTION)
        x = torch.cat([small[:, :4] * 4.0 - 2.0, small[:, 4:] * 10.0], 1)
        for layer in self.layers:
            x = downsample(activate(layer(x)))
        return self.encode(self.coefficients(maps), CONVOLUTION_SHARE * self.hidden(x.flatten(1)))

    def coefficients(self, maps: Tensor) -> Tensor:
        """Coefficients (B, K) of maps (B, 6, R, R) in the linear model."""
        fitting = downsample(maps, maps.shape[-1] // self.mean.shape[-1])
        raw = torch.cat(list(encode_raw(fitting).values()), 1)
        return (raw - self.mean).flatten(1) @ self.projection

    def encode(self, coefficients: Tensor, features: Tensor | None = None) -> Encoding:
        """Latents of coefficients (B, K), and of what the convolutions saw (B, 256)."""
        x = self.linear(coefficients)
        x = activate(x if features is None else x + features)
        mean, log_variance = self.posterior(x).chunk(2, 1)
        limited = LOG_VARIANCE_LIMIT * torch.tanh((log_variance - 2.0) / LOG_VARIANCE_LIMIT)
        offsets = OFFSET_RATE * self.offsets(x).unflatten(1, self._shape)
        return Encoding(mean, limited, offsets)

"""Encoder from maps at low resolution to the generator's latents: what makes training on few maps and little time
possible."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fitme.reflectance.dataset import CHANNELS
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.layers import EqualConv, EqualLinear, activate, downsample

ENCODER_RESOLUTION = 64
"""Texels a side of the maps that the encoder sees."""
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
    """(B, 6, 64, 64) maps, as the dataset encodes them, to an `Encoding`."""

    def __init__(self, generator: ReflectanceGenerator, channels: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self._noise_size = generator.config.noise_size
        self._shape = (generator.num_layers, generator.config.latent_size)
        widths = (CHANNELS, *channels)
        self.layers = nn.ModuleList(EqualConv(widths[k], widths[k + 1], 3) for k in range(len(channels)))
        side = ENCODER_RESOLUTION >> len(channels)
        self.hidden = EqualLinear(channels[-1] * side * side, 256)
        self.posterior = EqualLinear(256, 2 * self._noise_size)
        self.offsets = EqualLinear(256, self._shape[0] * self._shape[1])

    def forward(self, maps: Tensor) -> Encoding:
        """Latents of maps (B, 6, 64, 64)."""
        x = torch.cat([maps[:, :4] * 4.0 - 2.0, maps[:, 4:] * 10.0], 1)
        for layer in self.layers:
            x = downsample(activate(layer(x)))
        x = activate(self.hidden(x.flatten(1)))
        mean, log_variance = self.posterior(x).chunk(2, 1)
        limited = LOG_VARIANCE_LIMIT * torch.tanh((log_variance - 2.0) / LOG_VARIANCE_LIMIT)
        offsets = OFFSET_RATE * self.offsets(x).unflatten(1, self._shape)
        return Encoding(mean, limited, offsets)

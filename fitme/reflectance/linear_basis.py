"""Principal components of reflectance maps: what the generator's linear path starts from."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fitme.color import linear_to_srgb
from fitme.reflectance.dataset import MapDataset
from fitme.reflectance.generator import NORMAL_SLOPE_SCALE, encode_raw
from fitme.reflectance.layers import downsample

_BATCH = 20
_SLOPE_IMPORTANCE = 3.0
"""Weight of slopes, which are small, beside sRGB-encoded values."""


@dataclass(frozen=True)
class LinearBasis:
    """Raw maps as mean + sum of coefficients times components, coefficients of unit variance over the data."""

    mean: Tensor
    """(6, r, r) raw outputs, as `generator.encode_raw` orders them."""
    components: Tensor
    """(K, 6, r, r)."""
    projection: Tensor
    """(6 r r, K) takes flattened raw maps less the mean to coefficients."""


def principal_components(dataset: MapDataset, texel_weight: Tensor, count: int, resolution: int) -> LinearBasis:
    """The `count` leading components of the data and their mirror images at `resolution`, by the method of snapshots.

    Raw values are weighted by how much they change the picture (the slope of sRGB-encoded value over raw value at the
    mean) and by the texel's weight (1, 1, R, R).
    """
    raw = _raw_maps(dataset, resolution)  # (N, 6, r, r)
    mean = raw.mean(0)
    centred = raw - mean
    scale = _sensitivity(mean) * downsample(texel_weight, texel_weight.shape[-1] // resolution)[0].sqrt()  # (6, r, r)
    flat = (centred * scale).flatten(1)  # (N, 6rr)
    values, vectors = torch.linalg.eigh((flat @ flat.T).double())
    values, vectors = values[-count:].flip(0).clamp(min=1e-9), vectors[:, -count:].flip(1)
    samples = len(raw)
    # Coefficients are sqrt(N) times the eigenvectors, so that they have unit variance.
    coefficients = (vectors * samples**0.5).float()  # (N, K)
    components = (coefficients.T @ centred.flatten(1) / samples).unflatten(1, mean.shape)
    weighted = (components * scale).flatten(1)  # (K, 6rr)
    projection = (weighted * scale.flatten()).T / weighted.square().sum(1)
    return LinearBasis(mean, components, projection)


def _raw_maps(dataset: MapDataset, resolution: int) -> Tensor:
    """All maps and their mirror images (2N, 6, r, r)."""
    parts = []
    for first in range(0, len(dataset.maps), _BATCH):
        indices = np.arange(first, min(first + _BATCH, len(dataset.maps)))
        for mirrored in (False, True):
            maps = downsample(dataset.batch(indices, np.full(len(indices), mirrored)), dataset.resolution // resolution)
            parts.append(torch.cat(list(encode_raw(maps).values()), 1))
    return torch.cat(parts)


def _sensitivity(mean: Tensor) -> Tensor:
    """(6, r, r) change of the encoded value per change of the raw value."""
    step = 0.05
    diffuse = (linear_to_srgb(torch.sigmoid(mean[:3] + step)) - linear_to_srgb(torch.sigmoid(mean[:3] - step))) / (
        2 * step
    )
    value = torch.sigmoid(mean[3:4])
    slopes = torch.full_like(mean[4:], NORMAL_SLOPE_SCALE * _SLOPE_IMPORTANCE)
    return torch.cat([diffuse, value * (1.0 - value), slopes])

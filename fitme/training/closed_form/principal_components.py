"""Principal components of reflectance maps: initial values of the generator's linear path and of its positional
maps."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Int64Array
from fitme.color import linear_to_srgb
from fitme.reflectance.layers import downsample, upsample
from fitme.reflectance.modality import MODALITIES, Encoding, Modality
from fitme.reflectance.raw_outputs import NORMAL_SLOPE_SCALE, encode_raw, split_channels
from fitme.training.data.dataset import MapDataset

_BATCH = 20
_SLOPE_IMPORTANCE = 3.0
"""Weight of slopes, which are small, relative to sRGB-encoded values."""
SMALLEST_SHARE = 1e-6
"""Least energy of a component by which coefficients are divided, as a share of the largest component's."""
SCORE_COUNT = 250
"""Largest number of components of each kind in `map_scores`."""
BROAD_TEXELS = 16
"""Texels a side of the resolution whose content is not fine structure."""
FINE_IMPORTANCE = 2.0
"""Weight of fine structure relative to whole maps in `map_scores`."""
DETAIL_MAPS = 400
"""Largest number of maps for the components of fine detail."""
START_MAPS = 3000
"""Largest number of maps for all other components: they are kept in memory, a megabyte each."""


@dataclass(frozen=True)
class LinearBasis:
    """Raw maps as mean + sum of coefficients times components, coefficients of unit variance over the data."""

    mean: Tensor
    """(6, r, r) raw outputs, as `raw_outputs.encode_raw` orders them."""
    components: Tensor
    """(K, 6, r, r)."""
    projection: Tensor
    """(6 r r, K) matrix from flattened raw maps less the mean to coefficients."""

    def coefficients(self, maps: Tensor) -> Tensor:
        """Coefficients (B, K) of maps (B, 6, R, R) of the data set, R being r or a multiple."""
        raw = _encode(maps, self.mean.shape[-1])
        return (raw - self.mean).flatten(1) @ self.projection


def start_rows(count: int, most: int = START_MAPS) -> Int64Array:
    """Indices of at most `most` of `count` maps, evenly spaced."""
    return np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)


def principal_components(dataset: MapDataset, texel_weight: Tensor, count: int, resolution: int) -> LinearBasis:
    """Leading `count` components of the data at `resolution`, by the method of snapshots (Sirovich 1987).

    Raw values are weighted by their effect on the encoded maps (slope of the sRGB-encoded over the raw value at the
    mean) and by the texel's weight (1, 1, R, R).
    """
    mean, centred, scale = _centred(dataset, texel_weight, resolution)
    vectors, samples = _leading(centred * scale, count), len(centred)
    # Coefficients are sqrt(N) times the eigenvectors, so that they have unit variance.
    coefficients = vectors * samples**0.5  # (N, K)
    components = (coefficients.T @ centred.flatten(1) / samples).unflatten(1, mean.shape)
    weighted = (components * scale).flatten(1)  # (K, 6rr)
    size = weighted.square().sum(1)
    # With few maps, components beyond the rank are zero, and so are their coefficients.
    projection = (weighted * scale.flatten()).T / size.clamp(min=SMALLEST_SHARE * float(size.max()))
    return LinearBasis(mean, components, projection)


def detail_components(
    dataset: MapDataset, texel_weight: Tensor, basis: LinearBasis, count: int, resolution: int
) -> dict[str, Tensor]:
    """Leading components of the residual of `basis` at `resolution` that no lower resolution holds, by modality: maps
    (count, r, r) of one channel and unit mean square, which the channels mix.
    """
    parts = []
    for maps in _batches(dataset, DETAIL_MAPS):
        raw = _encode(maps, resolution)
        rebuilt = basis.mean + torch.einsum("bk,kchw->bchw", basis.coefficients(maps), basis.components)
        while rebuilt.shape[-1] < resolution:
            rebuilt = upsample(rebuilt)
        residual = raw - downsample(rebuilt, rebuilt.shape[-1] // resolution)
        parts.append(residual - upsample(downsample(residual, 2)))
    detail = torch.cat(parts)  # (N, 6, r, r)
    weight = downsample(texel_weight, texel_weight.shape[-1] // resolution)[0].sqrt()  # (1, r, r)
    found = {}
    for name, channels in split_channels(detail, MODALITIES.generated).items():
        fields = channels.flatten(0, 1)[:, None]  # (N channels, 1, r, r)
        vectors = _leading(fields * weight, count)
        maps = (vectors.T @ fields.flatten(1)).reshape(count, *fields.shape[2:])
        found[name] = maps / maps.square().mean((1, 2), keepdim=True).sqrt().clamp(min=1e-6)
    return found


def map_scores(dataset: MapDataset, texel_weight: Tensor, resolution: int) -> Tensor:
    """Coefficients (N, K) of the maps of `start_rows` in their leading components at `resolution`, then in the leading
    components of their structures finer than 1 / `BROAD_TEXELS`; the squares of the two sets sum to 1 and
    `FINE_IMPORTANCE`."""
    _, centred, scale = _centred(dataset, texel_weight, resolution)
    raw = centred * scale
    broad = downsample(raw, resolution // BROAD_TEXELS)
    while broad.shape[-1] < resolution:
        broad = upsample(broad)
    parts = []
    for maps, importance in ((raw, 1.0), (raw - broad, FINE_IMPORTANCE)):
        flat = maps.flatten(1)
        values, vectors = torch.linalg.eigh((flat @ flat.T).double())
        kept = (vectors * values.clamp(min=0.0).sqrt())[:, -SCORE_COUNT:]
        parts.append(kept * (importance / values.sum()).sqrt())
    return torch.cat(parts, 1).float()


def _centred(dataset: MapDataset, texel_weight: Tensor, resolution: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (6, r, r) of the raw maps of `start_rows`, the centred maps (N, 6, r, r), and the weights of their values
    (6, r, r)."""
    raw = torch.cat([_encode(maps, resolution) for maps in _batches(dataset, START_MAPS)])  # (N, 6, r, r)
    mean = raw.mean(0)
    scale = _sensitivity(mean) * downsample(texel_weight, texel_weight.shape[-1] // resolution)[0].sqrt()  # (6, r, r)
    return mean, raw - mean, scale


def _leading(samples: Tensor, count: int) -> Tensor:
    """Leading `count` unit eigenvectors (N, count) of the Gram matrix of samples (N, ...)."""
    flat = samples.flatten(1)
    vectors: Tensor = torch.linalg.eigh((flat @ flat.T).double()).eigenvectors
    return vectors[:, -count:].flip(1).float()


def _batches(dataset: MapDataset, most: int) -> Iterator[Tensor]:
    """At most `most` maps, evenly spaced, in batches (B, 6, R, R)."""
    rows = start_rows(len(dataset.maps), most)
    parts = np.array_split(rows, -(-len(rows) // _BATCH))
    return (dataset.batch(indices, np.zeros(len(indices), bool)) for indices in parts)


def _encode(maps: Tensor, resolution: int) -> Tensor:
    """Raw outputs (B, 6, r, r) of maps at a lower resolution."""
    return torch.cat(list(encode_raw(downsample(maps, maps.shape[-1] // resolution)).values()), 1)


def _sensitivity(mean: Tensor) -> Tensor:
    """Change (6, r, r) of the encoded value per change of the raw value."""
    parts = split_channels(mean[None], MODALITIES.generated)
    return torch.cat([_slope(MODALITIES[name], raw[0]) for name, raw in parts.items()])


def _slope(modality: Modality, raw: Tensor) -> Tensor:
    """Change of the encoded value per change of a raw value (channels, r, r)."""
    if modality.encoding is Encoding.TANGENT_NORMAL:
        return torch.full_like(raw, NORMAL_SLOPE_SCALE * _SLOPE_IMPORTANCE)
    if modality.encoding is Encoding.COLOR:
        step = 0.05
        return (linear_to_srgb(torch.sigmoid(raw + step)) - linear_to_srgb(torch.sigmoid(raw - step))) / (2 * step)
    value = torch.sigmoid(raw)
    return value * (1.0 - value)

"""Sets of maps that the reflectance benchmark compares: held-out synthetic heads, and a generator's samples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.bench.reflectance.consistency import downsampled
from fitme.bench.reflectance.efficientnet import INPUT_PX, imagenet_network
from fitme.color import srgb_to_linear
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.model_file import load_default_model
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.contact_sheets import HeadRenderer, front_light, sample_latents
from fitme.training.data.dataset import MapDataset
from fitme.training.data.encoding import encoded_maps

BATCH = 8
GAP_VALUE = 0.5
"""sRGB value that replaces maps between the islands of the layout, where their content is undefined."""


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Network features and thumbnails of N heads."""

    texture_features: Tensor
    """(N, 1280) features of the diffuse albedo as an sRGB image."""
    portrait_features: Tensor
    """(N, 1280) features of a render of the mean head with the maps, under the front light."""
    thumbnails: Tensor
    """(N, 6, 128, 128) downsampled maps, for `consistency`."""

    def part(self, first: int, last: int) -> "FeatureSet":
        """Subset of the heads with indices in [first, last)."""
        chosen = slice(first, last)
        return FeatureSet(self.texture_features[chosen], self.portrait_features[chosen], self.thumbnails[chosen])


def held_out_batches(held_out: MapDataset) -> Iterator[Tensor]:
    """All held-out maps (B, 6, R, R), `BATCH` at a time, in order."""
    for first in range(0, len(held_out.maps), BATCH):
        yield held_out_maps(held_out, first, min(first + BATCH, len(held_out.maps)))


def held_out_maps(held_out: MapDataset, first: int, last: int) -> Tensor:
    """Held-out maps (B, 6, R, R) with indices in [first, last)."""
    indices = np.arange(first, last)
    return held_out.batch(indices, np.zeros(len(indices), bool))


@torch.no_grad()
def sample_batches(generator: ReflectanceGenerator, count: int, seed: int) -> Iterator[Tensor]:
    """Random samples (B, 6, R, R) in a dataset's encoding, `BATCH` at a time."""
    for w in torch.split(sample_latents(generator, count, seed), BATCH):
        yield encoded_maps(generator.synthesize(generator.broadcast(w)))


@torch.no_grad()
def extract_features(batches: Iterable[Tensor]) -> FeatureSet:
    """Features and thumbnails of batches of maps (B, 6, R, R)."""
    network, portrait_renderer, light = imagenet_network(), _portrait_renderer(), front_light()
    textures, portraits, thumbnails = [], [], []
    for maps in batches:
        covered = torch.from_numpy(default_texel_geometry(maps.shape[-1]).covered)
        textures.append(network.features(torch.where(covered, maps[:, :3], torch.tensor(GAP_VALUE))))
        reflectance = as_reflectance(maps)
        renders = np.stack([portrait_renderer.render(reflectance.one(index), light) for index in range(len(maps))])
        portraits.append(network.features(torch.from_numpy(renders).permute(0, 3, 1, 2) / 255.0))
        thumbnails.append(downsampled(maps))
    return FeatureSet(torch.cat(textures), torch.cat(portraits), torch.cat(thumbnails))


def as_reflectance(maps: Tensor) -> ReflectanceMaps:
    """Reflectance maps, linear and with unit normals, of a dataset's encoded maps (B, 6, R, R)."""
    channels_last = maps.permute(0, 2, 3, 1)
    upright = torch.cat([channels_last[..., 4:], torch.ones_like(channels_last[..., :1])], -1)
    return ReflectanceMaps(
        srgb_to_linear(channels_last[..., :3]), channels_last[..., 3:4], functional.normalize(upright, dim=-1)
    )


@cache
def _portrait_renderer() -> HeadRenderer:
    return HeadRenderer(load_default_model(), (INPUT_PX, INPUT_PX))

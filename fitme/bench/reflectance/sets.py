"""The sets of maps that the reflectance benchmark compares: made heads never trained on, and a generator's samples."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.bench.reflectance.consistency import small
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
"""sRGB value between the islands of the layout, where maps may hold anything."""


@dataclass(frozen=True, eq=False)
class SeenSet:
    """What networks see of N heads."""

    texture_features: Tensor
    """(N, 1280) of the diffuse albedo as an sRGB picture."""
    portrait_features: Tensor
    """(N, 1280) of the mean head with the maps, under the front light."""
    small: Tensor
    """(N, 6, 128, 128) the maps, for `consistency`."""

    def part(self, first: int, last: int) -> "SeenSet":
        """Heads from `first` to before `last`."""
        chosen = slice(first, last)
        return SeenSet(self.texture_features[chosen], self.portrait_features[chosen], self.small[chosen])


def held_out_batches(held_out: MapDataset) -> Iterator[Tensor]:
    """All maps (B, 6, R, R), `BATCH` at a time, in order."""
    for first in range(0, len(held_out.maps), BATCH):
        yield held_out_maps(held_out, first, min(first + BATCH, len(held_out.maps)))


def held_out_maps(held_out: MapDataset, first: int, last: int) -> Tensor:
    """Maps (B, 6, R, R) from `first` to before `last`."""
    indices = np.arange(first, last)
    return held_out.batch(indices, np.zeros(len(indices), bool))


@torch.no_grad()
def sample_batches(generator: ReflectanceGenerator, count: int, seed: int) -> Iterator[Tensor]:
    """Random samples (B, 6, R, R) as a dataset has maps, `BATCH` at a time."""
    for w in torch.split(sample_latents(generator, count, seed), BATCH):
        yield encoded_maps(generator.synthesize(generator.broadcast(w)))


@torch.no_grad()
def see(batches: Iterable[Tensor]) -> SeenSet:
    """What networks see of maps (B, 6, R, R)."""
    network, photographer, light = imagenet_network(), _photographer(), front_light()
    textures, portraits, smalls = [], [], []
    for maps in batches:
        covered = torch.from_numpy(default_texel_geometry(maps.shape[-1]).covered)
        textures.append(network.features(torch.where(covered, maps[:, :3], torch.tensor(GAP_VALUE))))
        reflectance = as_reflectance(maps)
        pictures = np.stack([photographer.render(reflectance.one(index), light) for index in range(len(maps))])
        portraits.append(network.features(torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255.0))
        smalls.append(small(maps))
    return SeenSet(torch.cat(textures), torch.cat(portraits), torch.cat(smalls))


def as_reflectance(maps: Tensor) -> ReflectanceMaps:
    """Maps (B, 6, R, R) of a dataset as the value that everything else takes."""
    last = maps.permute(0, 2, 3, 1)
    upright = torch.cat([last[..., 4:], torch.ones_like(last[..., :1])], -1)
    return ReflectanceMaps(srgb_to_linear(last[..., :3]), last[..., 3:4], functional.normalize(upright, dim=-1))


@cache
def _photographer() -> HeadRenderer:
    return HeadRenderer(load_default_model(), (INPUT_PX, INPUT_PX))

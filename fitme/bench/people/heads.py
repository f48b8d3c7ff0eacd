"""Heads that the benchmark of people compares, all drawn on the mean head: photographed people, painted ones, and
samples of a generator."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array, Float64Array
from fitme.bench.reflectance.efficientnet import INPUT_PX, imagenet_network
from fitme.bench.reflectance.patches import SkinPatch
from fitme.bench.reflectance.power_spectra import SYNTHETIC_WINDOWS, head_patches
from fitme.bench.reflectance.sets import as_reflectance
from fitme.fit.texture.baking import enlarge
from fitme.fit.texture.skin.detail import add_detail
from fitme.fit.texture.unprojection import texel_table
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.skin_detail import packaged_skin_detail
from fitme.shape.model_file import load_default_model
from fitme.skin.painter import synthesize_skin
from fitme.skin.skin_tone_classes import skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.track.factory import dlib_embedder
from fitme.training.contact_sheets import HeadRenderer, front_light, sample_latents
from fitme.training.people.mixing import PeopleBank

RESOLUTION = 512
"""Texels a side of a fit's maps, at which heads are compared."""


@dataclass(frozen=True, eq=False)
class HeadSet:
    """What N heads are compared by."""

    features: Tensor
    """(N, 1280) features of EfficientNet-lite0 of renders from the front."""
    embeddings: Float32Array
    """(N, 128) identity embeddings of these renders."""
    patches: dict[str, list[list[SkinPatch]]]
    """Windows of the skin of each head, by the part of the face."""
    ita_deg: Float64Array
    """(N,) individual typology angle of the skin."""


def people_heads(bank: PeopleBank) -> Iterator[ReflectanceMaps]:
    """Maps (1, R, R, C) of everybody in a bank."""
    for index in range(bank.count):
        yield as_reflectance(bank.people(torch.tensor([index])).maps)


def painted_heads(count: int, first_seed: int) -> Iterator[ReflectanceMaps]:
    """Maps (1, R, R, C) of painted skins of consecutive seeds, at `RESOLUTION`."""
    for seed in range(first_seed, first_seed + count):
        skin = synthesize_skin(seed, RESOLUTION)
        diffuse, specular, normals = (
            torch.from_numpy(values)[None].float() for values in (skin.diffuse, skin.specular, skin.normals)
        )
        yield ReflectanceMaps(diffuse, specular, normals)


@torch.no_grad()
def sampled_heads(
    generator: ReflectanceGenerator, count: int, seed: int, *, detail: bool = False
) -> Iterator[ReflectanceMaps]:
    """Maps (1, R, R, C) of random samples.

    :param detail: with the fine detail that a fit adds to skin which no image shows, at `RESOLUTION`.
    """
    for w in sample_latents(generator, count, seed):
        maps = generator.synthesize(generator.broadcast(w[None]))
        yield with_detail(maps) if detail else maps


def with_detail(maps: ReflectanceMaps) -> ReflectanceMaps:
    """Maps (1, R, R, C) at `RESOLUTION` with the fine detail of skin that no image shows."""
    table = texel_table(load_default_model(), RESOLUTION)
    enlarged = enlarge(maps, RESOLUTION)
    unseen = np.zeros((len(table.rows), 1), np.float32)
    albedo = add_detail(table, table.from_map(enlarged.diffuse[0].numpy()), unseen, unseen, packaged_skin_detail())
    return replace(enlarged, diffuse=torch.from_numpy(table.to_filled_map(albedo))[None])


@torch.no_grad()
def head_set(heads: Iterable[ReflectanceMaps]) -> HeadSet:
    """Features, embeddings and skin of heads."""
    renderer, light = HeadRenderer(load_default_model(), (INPUT_PX, INPUT_PX)), front_light()
    network, embedder, landmarks = imagenet_network(), dlib_embedder(), renderer.landmarks(0.0)
    features, embeddings, ita_deg = [], [], []
    patches: dict[str, list[list[SkinPatch]]] = {part: [] for part in SYNTHETIC_WINDOWS}
    for maps in heads:
        render = renderer.render(maps, light, 0.0)
        features.append(network.features(torch.from_numpy(render)[None].permute(0, 3, 1, 2) / 255.0))
        embeddings.append(embedder.embed(render, landmarks))
        diffuse, specular, normals = (values[0].numpy() for values in (maps.diffuse, maps.specular, maps.normals))
        for part, found in head_patches(diffuse, specular, normals).items():
            patches[part].append(found)
        ita_deg.append(skin_ita_deg(diffuse, default_texel_geometry(len(diffuse))))
    return HeadSet(torch.cat(features), np.stack(embeddings), patches, np.array(ita_deg))

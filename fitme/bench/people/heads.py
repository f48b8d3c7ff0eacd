"""Heads that the benchmark of people compares, all drawn on the mean head: photographed people, painted ones, and
samples of a generator."""

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array, Float64Array, UInt8Array
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
from fitme.shape.regions import Region
from fitme.skin.painter import synthesize_skin
from fitme.skin.skin_tone_classes import skin_ita_deg
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.track.factory import dlib_embedder
from fitme.training.contact_sheets import HeadRenderer, front_light, sample_latents
from fitme.training.people.mixing import PeopleBank

HAIRLINE_M = 0.055
"""Height of the hairline of the mean head above its eyes."""
GREY_ALBEDO, GREY_SPECULAR = (0.25, 0.2, 0.18), 0.2
"""Linear albedo, and specular albedo, of what is left out of a comparison of skin."""
RESOLUTION = 512
"""Texels a side of a fit's maps, at which heads are compared."""


@dataclass(frozen=True, eq=False)
class HeadSet:
    """What N heads are compared by."""

    features: Tensor
    """(N, 1280) features of EfficientNet-lite0 of renders from the front."""
    skin_features: Tensor
    """(N, 1280) the same of renders whose hair, eyes, ears and neck are one grey, alike in all sets."""
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


def skin_alone(maps: ReflectanceMaps) -> ReflectanceMaps:
    """Maps (1, R, R, C) with a face's skin, brows and lips alone, all else one grey. Fits draw hair as a layer of its
    own, so that a generator's painted scalp is nobody's."""
    share = _face_share(maps.diffuse.shape[1])
    grey = torch.tensor(GREY_ALBEDO).expand_as(maps.diffuse)
    diffuse = torch.lerp(grey, maps.diffuse, share)
    return replace(
        maps, diffuse=diffuse, specular=torch.lerp(torch.full_like(share, GREY_SPECULAR), maps.specular, share)
    )


@functools.cache
def _face_share(resolution: int) -> Tensor:
    """(1, R, R, 1) 1 on the skin of the mean head's face below the hairline, 0 elsewhere."""
    model, table = load_default_model(), texel_table(load_default_model(), resolution)
    place = table.interpolate(model.mean).numpy()
    face = table.within((Region.SKIN, Region.LIPS)) & (place[:, 1] < HAIRLINE_M) & (place[:, 2] > 0.0)
    return torch.from_numpy(table.to_filled_map(face[:, None].astype(np.float32)))[None]


@torch.no_grad()
def head_set(heads: Iterable[ReflectanceMaps]) -> HeadSet:
    """Features, embeddings and skin of heads."""
    renderer, light = HeadRenderer(load_default_model(), (INPUT_PX, INPUT_PX)), front_light()
    network, embedder, landmarks = imagenet_network(), dlib_embedder(), renderer.landmarks(0.0)
    features, skin_features, embeddings, ita_deg = [], [], [], []

    def features_of(render: UInt8Array) -> Tensor:
        return network.features(torch.from_numpy(render)[None].permute(0, 3, 1, 2) / 255.0)

    patches: dict[str, list[list[SkinPatch]]] = {part: [] for part in SYNTHETIC_WINDOWS}
    for maps in heads:
        render = renderer.render(maps, light, 0.0)
        features.append(features_of(render))
        skin_features.append(features_of(renderer.render(skin_alone(maps), light, 0.0)))
        embeddings.append(embedder.embed(render, landmarks))
        diffuse, specular, normals = (values[0].numpy() for values in (maps.diffuse, maps.specular, maps.normals))
        for part, found in head_patches(diffuse, specular, normals).items():
            patches[part].append(found)
        ita_deg.append(skin_ita_deg(diffuse, default_texel_geometry(len(diffuse))))
    return HeadSet(torch.cat(features), torch.cat(skin_features), np.stack(embeddings), patches, np.array(ita_deg))

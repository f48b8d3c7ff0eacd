"""The avatar's maps: the generator's, with what the keyframes showed more sharply laid over as a residual."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as functional

from fitme.arrays import Float32Array
from fitme.fit.texture.albedo_completion import SeenSkin, toned
from fitme.fit.texture.fusion import FusedTexture
from fitme.fit.texture.mouth_interior import BEHIND_LIPS
from fitme.fit.texture.skin_mask import OFFSET
from fitme.fit.texture.texel_blur import TINY, low_pass
from fitme.fit.texture.unprojection import TexelTable
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.maps import ReflectanceMaps, unit_length
from fitme.shape.regions import Region

FULL_CONFIDENCE = 0.6
"""Confidence from which what was seen stands alone."""
ALIKE = (Region.SKIN, Region.LIPS, Region.LASHES, Region.SCALP, Region.NECK)
"""Regions in which the one side of a head tells of the other."""
ALIKE_FROM = 0.5
"""Share that must have been seen of the one: what is seen obliquely is not worth repeating."""
DULLED = (Region.SKIN, Region.NECK)
"""Regions that hair may lie over, and mirrors less than their skin."""
DULLING_SIGMA = 0.006
"""Standard deviation of the low-pass filter that tells hair from what is smaller, as a share of the map's side: a mole
shines as the skin around it."""


def bake(table: TexelTable, texture: FusedTexture, generated: ReflectanceMaps, inverted: bool) -> ReflectanceMaps:
    """Maps at the table's resolution.

    Diffuse: what was seen where that is trusted; elsewhere the generator's once it was `inverted` to this face, in the
    tone of what was seen beside it. Before, the fused texture with its prior. Specular: the generator's, less where
    hair lies over skin. Normals: the generator's.
    """
    enlarged = enlarge(generated, table.resolution)
    diffuse = texture.albedo
    if inverted:
        share = np.minimum(texture.confidence[:, None] / np.float32(FULL_CONFIDENCE), 1.0)
        seen = SeenSkin(texture.observed, share, texture.skin_probability)
        expected = toned(table, table.from_map(enlarged.diffuse[0].numpy()), seen)
        expected = toned(table, _symmetric(table, expected, seen), seen)
        diffuse = (expected + share * (texture.observed - expected)).astype(np.float32)
    specular = table.from_map(enlarged.specular[0].numpy()) * _dulling(table, diffuse, texture.expected)
    baked, shine = (torch.from_numpy(table.to_filled_map(values))[None] for values in (diffuse, specular))
    return replace(enlarged, diffuse=baked, specular=shine)


def with_bare_mouth(table: TexelTable, maps: ReflectanceMaps, generated: ReflectanceMaps) -> ReflectanceMaps:
    """Baked maps with the generator's mouth: what a picture shows behind the lips holds for its own expression only."""
    behind = table.within(BEHIND_LIPS)[:, None]
    layers = enlarge(generated, table.resolution).diffuse, maps.diffuse
    expected, baked = (table.from_map(layer[0].numpy()) for layer in layers)
    diffuse = table.to_filled_map(np.where(behind, expected, baked))
    return replace(maps, diffuse=torch.from_numpy(diffuse)[None])


def _symmetric(table: TexelTable, expected: Float32Array, seen: SeenSkin) -> Float32Array:
    """Expected albedo (N, 3) where the other side of the head was seen: the mean of both sides, each as far as seen.

    People are alike on both sides, in hair that ends at a temple and in the shape of a beard more than any generator
    knows.
    """
    mirrored = table.mirrored(seen.share)
    other = np.where(table.within(ALIKE)[:, None], np.clip((mirrored - ALIKE_FROM) / (1.0 - ALIKE_FROM), 0.0, 1.0), 0.0)
    both = np.maximum(seen.share + other, TINY)
    mean = (seen.share * _log(seen.albedo) + other * _log(table.mirrored(seen.albedo))) / both
    known = np.maximum(seen.share, other)
    return np.asarray(np.exp(known * mean + (1.0 - known) * _log(expected)) - OFFSET, np.float32)


def _log(albedo: Float32Array) -> Float32Array:
    return np.asarray(np.log(albedo + OFFSET), np.float32)


def _dulling(table: TexelTable, diffuse: Float32Array, skin: Float32Array) -> Float32Array:
    """(N, 1) factor in [0, 1] of the specular albedo where a diffuse albedo (N, 3) is darker than `skin` (N, 3).

    Of what was seen, the share that skin mirrors was taken off: with the shine of skin, dark hair would be grey.
    """
    covered = table.within(DULLED)[:, None]
    darker = np.log((diffuse + OFFSET) / (skin + OFFSET)).mean(1, keepdims=True)
    darker = low_pass(table, darker, covered.astype(np.float32), DULLING_SIGMA)
    return np.where(covered, np.exp(np.minimum(darker, 0.0)), 1.0).astype(np.float32)


def enlarge(maps: ReflectanceMaps, resolution: int) -> ReflectanceMaps:
    """Bilinear enlargement; normals stay of unit length."""

    def resized(values: torch.Tensor) -> torch.Tensor:
        channels_first = values.permute(0, 3, 1, 2)
        larger = functional.interpolate(channels_first, size=(resolution, resolution), mode="bilinear")
        return larger.permute(0, 2, 3, 1).contiguous()

    return maps.mapped(lambda modality, values: unit_length(modality, resized(values)))


def map_arrays(maps: ReflectanceMaps) -> MapArrays:
    """Maps as arrays for a `FitState`."""
    return MapArrays.from_names({name: values[0].numpy().astype(np.float32) for name, values in maps.by_name().items()})


def maps_of(arrays: MapArrays) -> ReflectanceMaps:
    """Inverse of `map_arrays`."""
    return ReflectanceMaps.from_names(
        {name: torch.from_numpy(np.asarray(a, np.float32).copy())[None] for name, a in arrays.by_name().items()}
    )

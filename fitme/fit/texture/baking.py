"""Baking of the avatar's maps: those of the generator, with the observed albedo over them where it is confident."""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as functional

from fitme.arrays import Float32Array
from fitme.fit.texture.albedo_completion import ObservedAlbedo, complete_albedo
from fitme.fit.texture.fusion import FusedTexture
from fitme.fit.texture.mouth_interior import BEHIND_LIPS
from fitme.fit.texture.mouth_tones import ShownMouth, with_mouth, with_teeth
from fitme.fit.texture.skin.completion import (
    bare_scalp,
    collar_fade,
    join_at_back,
    smooth_unseen,
    with_lids,
    without_forehead_lines,
)
from fitme.fit.texture.skin.detail import add_detail
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.skin.relief import with_relief
from fitme.fit.texture.texel_blur import TINY, low_pass
from fitme.fit.texture.unprojection import TexelTable
from fitme.ramp import linear_ramp
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.maps import ReflectanceMaps, unit_length
from fitme.reflectance.skin_detail import SkinDetail
from fitme.shape.regions import Region

FULL_CONFIDENCE = 0.6
"""Confidence from which the observed albedo alone is used."""
SYMMETRIC_REGIONS = (Region.SKIN, Region.LIPS, Region.LASHES, Region.SCALP, Region.NECK, Region.EARS)
"""Regions whose unobserved side is completed from the observed one."""
COMPLETING_WEIGHTS = 0.02, 0.12
"""Weights of the best view between which a texel begins to tell the tone of ears and neck."""
MIRRORED_WEIGHTS = 0.1, 0.3
"""Weights of the best view between which the observed side begins to be mirrored: oblique views show shadows and
neighbouring surfaces, whose ends would show as lines on the other side."""
HAIR_COVERED_REGIONS = (Region.SKIN, Region.NECK)
"""Regions that hair may cover, whose specular albedo is lower than that of skin."""
HAIR_SIGMA = 0.006
"""Standard deviation of the Gaussian that separates hair from smaller marks, as a share of the map's side: a mole has
the specular albedo of the skin around it."""


def bake(
    table: TexelTable,
    texture: FusedTexture,
    generated: ReflectanceMaps,
    inverted: bool,
    blink: Float32Array | None = None,
    bald: bool = False,
    detail: SkinDetail | None = None,
) -> ReflectanceMaps:
    """Maps (1, R, R, C) at the table's resolution.

    Diffuse: before the generator is `inverted`, the fused albedo with its prior; then the observed albedo by confidence
    over the generated one, completed from observed texels, with fine detail where there are none. Specular: the
    generated one, lower where hair covers skin. Normals: the generated ones without lines across the forehead, with
    the relief of the albedo's detail. All other modalities: the generated ones.

    :param blink: (V, 3) displacement of the head's vertices by closed eyes, metres; unseen parts of lids get the tone
        of the skin around the eyes, and stay the generator's if None.
    :param bald: the scalp is bare where no image showed it.
    :param detail: statistics of the pores and grain that skin gets where no image showed it; these and the relief of
        all skin are left out if None.
    """
    enlarged = enlarge(generated, table.resolution)
    diffuse = texture.albedo
    share = np.minimum(texture.confidence[:, None] / np.float32(FULL_CONFIDENCE), 1.0) * collar_fade(table)
    if inverted:
        seen_well = linear_ramp(texture.best[:, None], COMPLETING_WEIGHTS)
        observed = ObservedAlbedo(texture.observed, share, texture.skin_probability, seen_well)
        expected = complete_albedo(table, table.from_map(enlarged.diffuse[0].numpy()), observed)
        # Mirrored albedo may differ in level from its new neighbours: complete once more.
        expected = complete_albedo(table, _symmetric(table, expected, observed, texture.best), observed)
        expected = smooth_unseen(table, expected, share)
        diffuse = (expected + share * (texture.observed - expected)).astype(np.float32)
        if blink is not None:
            # What open eyes show of their lids stays: it is what most images show.
            lids = with_lids(table, diffuse, share * texture.skin_probability, blink)
            diffuse = (diffuse + (1.0 - share) * (lids - diffuse)).astype(np.float32)
        diffuse = join_at_back(table, diffuse, share)
    if bald:
        diffuse = bare_scalp(table, diffuse, share, texture.skin_probability)
    if inverted and detail is not None:
        diffuse = add_detail(table, diffuse, share, share * texture.skin_probability, detail)
    # What lies behind the lips in one image may be a lip: teeth are taken from all images at last.
    diffuse = with_teeth(table, diffuse, None)
    specular = table.from_map(enlarged.specular[0].numpy()) * _hair_factor(table, diffuse, texture.expected)
    baked, dimmed = (torch.from_numpy(table.to_filled_map(values))[None] for values in (diffuse, specular))
    normals = without_forehead_lines(enlarged.normals.numpy())
    if inverted and detail is not None:
        normals = with_relief(table, normals, diffuse)
    return replace(enlarged, diffuse=baked, specular=dimmed, normals=torch.from_numpy(normals))


def with_generated_mouth(
    table: TexelTable, maps: ReflectanceMaps, generated: ReflectanceMaps, mouth: ShownMouth | None
) -> ReflectanceMaps:
    """Baked maps with the person's teeth and the generated mouth interior in the person's tone: an observed one holds
    for the expression of its image only.

    :param mouth: as images show it; None before they do.
    """
    behind = table.within(BEHIND_LIPS)[:, None]
    layers = enlarge(generated, table.resolution).diffuse, maps.diffuse
    expected, baked = (table.from_map(layer[0].numpy()) for layer in layers)
    found = with_mouth(table, expected, mouth)
    diffuse = table.to_filled_map(np.where(behind, found, baked))
    return replace(maps, diffuse=torch.from_numpy(diffuse)[None])


def _symmetric(table: TexelTable, expected: Float32Array, observed: ObservedAlbedo, best: Float32Array) -> Float32Array:
    """(N, 3) expected albedo with, where the mirrored texel was seen well, the logarithmic mean of both sides by their
    observed shares.

    Hairlines and beards of one person are more symmetric than the generator's.

    :param best: (N,) weight of the view that shows a texel best.
    """
    seen_well = linear_ramp(table.mirrored(best[:, None]), MIRRORED_WEIGHTS)
    other = np.where(table.within(SYMMETRIC_REGIONS)[:, None], table.mirrored(observed.share) * seen_well, 0.0)
    both = np.maximum(observed.share + other, TINY)
    mean = (observed.share * _log(observed.albedo) + other * _log(table.mirrored(observed.albedo))) / both
    known = np.maximum(observed.share, other)
    return np.asarray(np.exp(known * mean + (1.0 - known) * _log(expected)) - OFFSET, np.float32)


def _log(albedo: Float32Array) -> Float32Array:
    return np.asarray(np.log(albedo + OFFSET), np.float32)


def _hair_factor(table: TexelTable, diffuse: Float32Array, skin: Float32Array) -> Float32Array:
    """(N, 1) factor in [0, 1] of the specular albedo where a diffuse albedo (N, 3) is darker than `skin` (N, 3).

    De-lighting subtracted skin's specular term from hair: with the specular albedo of skin, dark hair would be grey.
    """
    covered = table.within(HAIR_COVERED_REGIONS)[:, None]
    darker = np.log((diffuse + OFFSET) / (skin + OFFSET)).mean(1, keepdims=True)
    darker = low_pass(table, darker, covered.astype(np.float32), HAIR_SIGMA)
    return np.where(covered, np.exp(np.minimum(darker, 0.0)), 1.0).astype(np.float32)


def enlarge(maps: ReflectanceMaps, resolution: int) -> ReflectanceMaps:
    """Maps (B, R, R, C) by bilinear interpolation; normals stay of unit length."""

    def resized(values: torch.Tensor) -> torch.Tensor:
        channels_first = values.permute(0, 3, 1, 2)
        larger = functional.interpolate(channels_first, size=(resolution, resolution), mode="bilinear")
        return larger.permute(0, 2, 3, 1).contiguous()

    return maps.mapped(lambda modality, values: unit_length(modality, resized(values)))


def map_arrays(maps: ReflectanceMaps) -> MapArrays:
    """Arrays (R, R, C) of a batch of one, for a `FitState`."""
    return MapArrays.from_names({name: values[0].numpy().astype(np.float32) for name, values in maps.by_name().items()})


def maps_of(arrays: MapArrays) -> ReflectanceMaps:
    """Inverse of `map_arrays`."""
    return ReflectanceMaps.from_names(
        {name: torch.from_numpy(np.asarray(a, np.float32).copy())[None] for name, a in arrays.by_name().items()}
    )

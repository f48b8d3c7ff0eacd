"""The avatar's maps: the generator's, with what the keyframes showed more sharply laid over as a residual."""

import numpy as np
import torch
import torch.nn.functional as functional

from fitme.fit.fusion import FusedTexture
from fitme.fit.state import MapArrays
from fitme.fit.toning import SeenSkin, toned
from fitme.fit.unprojection import TexelTable
from fitme.reflectance.maps import ReflectanceMaps

FULL_CONFIDENCE = 0.6
"""Confidence from which what was seen stands alone."""
GREY_ALBEDO = 0.45
"""Linear albedo of the head before its skin is known."""
GREY_SPECULAR = 0.3
GREY_RESOLUTION = 16
"""Side of the grey head's maps; they are constant."""


def grey_maps() -> ReflectanceMaps:
    """Maps of a plaster head."""
    return ReflectanceMaps.constant((GREY_ALBEDO,) * 3, GREY_SPECULAR, GREY_RESOLUTION)


def bake(table: TexelTable, texture: FusedTexture, generated: ReflectanceMaps, inverted: bool) -> ReflectanceMaps:
    """Maps at the table's resolution.

    Diffuse: what was seen where that is trusted; elsewhere the generator's once it was `inverted` to this face, in the
    tone of what was seen beside it. Before, the fused texture with its prior. Specular and normals: the generator's.
    """
    enlarged = enlarge(generated, table.resolution)
    if not inverted:
        fused = torch.from_numpy(table.to_filled_map(texture.albedo))[None]
        return ReflectanceMaps(fused, enlarged.specular, enlarged.normals)
    share = np.minimum(texture.confidence[:, None] / np.float32(FULL_CONFIDENCE), 1.0)
    seen = SeenSkin(texture.seen, share, texture.likeness)
    expected = toned(table, table.from_map(enlarged.diffuse[0].numpy()), seen)
    diffuse = table.to_filled_map((expected + share * (texture.seen - expected)).astype(np.float32))
    return ReflectanceMaps(torch.from_numpy(diffuse)[None], enlarged.specular, enlarged.normals)


def enlarge(maps: ReflectanceMaps, resolution: int) -> ReflectanceMaps:
    """Bilinear enlargement; normals stay of unit length."""

    def resized(values: torch.Tensor) -> torch.Tensor:
        channels_first = values.permute(0, 3, 1, 2)
        larger = functional.interpolate(channels_first, size=(resolution, resolution), mode="bilinear")
        return larger.permute(0, 2, 3, 1).contiguous()

    normals = functional.normalize(resized(maps.normals), dim=-1)
    return ReflectanceMaps(resized(maps.diffuse), resized(maps.specular), normals)


def map_arrays(maps: ReflectanceMaps) -> MapArrays:
    """Maps as arrays for a `FitState`."""
    return MapArrays(*(values[0].numpy().astype(np.float32) for values in (maps.diffuse, maps.specular, maps.normals)))


def maps_of(arrays: MapArrays) -> ReflectanceMaps:
    """Inverse of `map_arrays`."""
    tensors = (torch.from_numpy(np.asarray(a, np.float32).copy())[None] for a in vars(arrays).values())
    diffuse, specular, normals = tensors
    return ReflectanceMaps(diffuse, specular, normals)

"""Key lights of views: samples to search for one, and where its shadows fall."""

from collections.abc import Sequence

import numpy as np

from fitme.arrays import Float32Array, IndexArray
from fitme.color import LUMINANCE
from fitme.fit.estimate import Illumination, KeyLight
from fitme.fit.lighting.key_light import (
    CastLight,
    KeyLightSettings,
    SearchSamples,
    agreed_direction,
    explained_share,
    find_direction,
    similar,
)
from fitme.fit.texture.delighting import observed_surface
from fitme.fit.texture.divided_light import SMALLEST_WEIGHT
from fitme.fit.texture.unprojection import TexelObservation, TexelTable
from fitme.render.reflection import SH_COUNT

FEWEST_FOR_LONE = 3
"""Keyframes from which a key light that only one of them has must explain more."""


def search_samples(
    table: TexelTable,
    view: TexelObservation,
    specular: Float32Array,  # (N, 1)
    index: IndexArray,  # (S,)
    albedo: Float32Array,  # (S, 3)
    weight: Float32Array,  # (S,)
) -> SearchSamples | None:
    """Samples of a view on which directions are compared; None where the view has no geometry.

    :param specular: specular albedo of the N texels.
    :param index: texels of skin, whose linear albedo and weight are `albedo` and `weight`.
    """
    if view.geometry is None:
        return None
    shown = np.flatnonzero(weight > SMALLEST_WEIGHT)
    texels = index[shown]
    surface = observed_surface(table, view, specular, texels)
    luminance = albedo[shown] @ LUMINANCE
    return SearchSamples(
        view.geometry,
        texels,
        luminance[:, None] * surface.diffuse + surface.specular,
        luminance,
        specular[texels, 0],
        table.occlusion[texels, 0],
        view.toward_viewer[texels],
        view.color[texels] @ LUMINANCE,
        weight[shown],
    )


def cast_light(view: TexelObservation, weight: Float32Array, direction: Float32Array | None) -> CastLight | None:
    """Where a key light of a direction (3,) falls on the texels that a view shows, by their weights (N,); None without
    a direction or where the view has no geometry."""
    if direction is None or view.geometry is None:
        return None
    share = np.zeros(len(weight), np.float32)
    shown = np.flatnonzero(weight > SMALLEST_WEIGHT)
    share[shown] = view.geometry.soft_share(direction, shown)
    return CastLight(direction, share)


def key_directions(
    samples: Sequence[SearchSamples | None], starts: Sequence[Float32Array | None], settings: KeyLightSettings
) -> list[Float32Array | None]:
    """(3,) direction towards the key light of each view; None where it needs none or has no samples.

    :param starts: (3,) directions found earlier.
    """
    found: list[Float32Array | None] = []
    for searched, start in zip(samples, starts, strict=True):
        # What other frames show is tried first: keyframes of one capture have similar light.
        likely = [direction for direction in (start, *found) if direction is not None]
        found.append(None if searched is None else find_direction(searched, settings, tuple(likely)))
    agreed = agreed_direction(found)
    kept = list(found)
    for number, (direction, searched) in enumerate(zip(found, samples, strict=True)):
        if searched is None:
            continue
        if direction is None and agreed is not None:
            if explained_share(searched, agreed, settings) > settings.agreed_gain:
                kept[number] = agreed
        elif direction is not None and len(found) >= FEWEST_FOR_LONE:
            others = [other for other in (*found[:number], *found[number + 1 :]) if other is not None]
            lone = not any(similar(direction, other) for other in others)
            if lone and explained_share(searched, direction, settings) < settings.lone_gain:
                kept[number] = None
    return kept


def illumination_of(light: Float32Array, cast: CastLight | None) -> Illumination:
    """Illumination of coefficients (9 or 10, 3), which end with the colour of the key light if there is one."""
    return Illumination(light[:SH_COUNT], None if cast is None else KeyLight(cast.direction, light[SH_COUNT]))

"""Division of images by the light on a surface, compiled: shading at texels, and albedo from colour and shading."""

import numpy as np

from fitme.arrays import BoolArray, Float32Array, IndexArray
from fitme.fit.lighting.spherical_harmonics import LEAST_CHANNEL, MINIMAL_SHADING, light_tint
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.cpu.reflection_formulas import mirrored, schlick_rise, sh_polynomials
from fitme.render.reflection import GRAZING_REFLECTANCE, NORMAL_REFLECTANCE, SH_NORMS

MAXIMAL_ALBEDO = 0.98
"""Upper bound of albedos of skin, teeth and eyes."""
SMALLEST_WEIGHT = 1e-6
"""Lower bound of summed weights and colours in denominators."""
IN_SHADE = 0.5
"""Share of the median shading below which hues are down-weighted: light on skin in the shade has been reflected by
other skin before, and is redder than the estimated light."""
_CHANNELS = 3


def light_at(
    normals: Float32Array,  # (N, 3)
    toward_viewer: Float32Array,  # (N, 3)
    specular: Float32Array,  # (N, 1)
    occlusion: Float32Array,  # (N, 1)
    index: IndexArray,  # (M,)
    light: Float32Array,  # (9, 3)
) -> tuple[Float32Array, Float32Array]:
    """Diffuse shading (M, 3) and specular term (M, 3) at the samples `index` of a surface under spherical harmonics:
    `LitSurface.shading` and `LitSurface.specular_term` of `lit_surface`, without its matrices."""
    shading, glint = (np.empty((len(index), _CHANNELS), np.float32) for _ in range(2))
    scaled = np.asarray(SH_NORMS, np.float32)[:, None] * light
    tint = light_tint(light[0].astype(np.float64)).astype(np.float32)
    _light_at(normals, toward_viewer, specular, occlusion, index, scaled, tint, shading, glint)
    return shading, glint


def delit_albedo(
    color: Float32Array,  # (S, 3) linear
    shading: Float32Array,  # (S, 3)
    specular_term: Float32Array,  # (S, 3)
    expected: Float32Array,  # (S, 3) linear
    behind_lips: BoolArray | None = None,  # (S,)
) -> Float32Array:
    """(S, 3) linear albedo under which a surface with a diffuse shading and a specular term has the observed colours.

    The specular term is removed as its expected share of the colour, not as its amount: where a head shades itself,
    both terms are dimmed alike, and subtracting the whole specular term would leave dark red skin.
    """
    behind = np.zeros(len(color), np.bool_) if behind_lips is None else behind_lips
    albedo = np.empty((len(color), _CHANNELS), np.float32)
    _divide(color, shading, specular_term, expected, behind, shade_level(shading), albedo)
    return albedo


def lit_share(shading: Float32Array) -> Float32Array:
    """(S,) in [0, 1] of shadings (S, 3): 1 from `IN_SHADE` of their median on, falling to 0 in the dark."""
    return np.asarray(np.minimum(shading.mean(-1) / shade_level(shading), 1.0), np.float32)


def shade_level(shading: Float32Array) -> float:
    """Level of shadings (S, 3) below which a surface lies in the shade: `IN_SHADE` of their median."""
    level = (shading[:, 0] + shading[:, 1] + shading[:, 2]) / np.float32(_CHANNELS)
    median = float(np.median(level)) if len(level) else 0.0
    return max(IN_SHADE * median, SMALLEST_WEIGHT)


@relaxed_kernel
def _light_at(
    normals: Float32Array,
    toward_viewer: Float32Array,
    specular: Float32Array,
    occlusion: Float32Array,
    index: IndexArray,
    light: Float32Array,
    tint: Float32Array,
    shading: Float32Array,
    glint: Float32Array,
) -> None:
    """Write into the last two arrays; `light` (9, 3) includes the norms of the harmonics."""
    zero, three = np.float32(0.0), np.float32(_CHANNELS)
    normal, grazing = np.float32(NORMAL_REFLECTANCE), np.float32(GRAZING_REFLECTANCE)
    least_channel, least = np.float32(LEAST_CHANNEL), np.float32(MINIMAL_SHADING)
    for sample in range(len(index)):
        at = index[sample]
        n = (normals[at, 0], normals[at, 1], normals[at, 2])
        viewer = (toward_viewer[at, 0], toward_viewer[at, 1], toward_viewer[at, 2])
        facing = n[0] * viewer[0] + n[1] * viewer[1] + n[2] * viewer[2]
        rise, aside = schlick_rise(facing)
        open_share = occlusion[at, 0]
        reflected = (normal + (grazing - normal) * rise * aside) * specular[at, 0] * open_share
        diffuse_basis, mirror_basis = sh_polynomials(n), sh_polynomials(mirrored(n, viewer, facing))
        mean = zero
        for channel in range(_CHANNELS):
            diffuse, mirror = light[0, channel], light[0, channel]
            for order in range(8):
                diffuse += diffuse_basis[order] * light[order + 1, channel]
                mirror += mirror_basis[order] * light[order + 1, channel]
            diffuse *= open_share
            mean += diffuse / three
            shading[sample, channel] = diffuse
            glint[sample, channel] = max(mirror * reflected, zero)
        lowest = max(least_channel * mean, least)
        for channel in range(_CHANNELS):
            shading[sample, channel] = max(shading[sample, channel], lowest * tint[channel])


@relaxed_kernel
def _divide(
    color: Float32Array,
    shading: Float32Array,
    specular_term: Float32Array,
    expected: Float32Array,
    behind_lips: BoolArray,
    shade: float,
    albedo: Float32Array,
) -> None:
    """Write the albedo; `shade` is `shade_level`."""
    zero, one, three = np.float32(0.0), np.float32(1.0), np.float32(_CHANNELS)
    smallest, maximal, shadow = np.float32(SMALLEST_WEIGHT), np.float32(MAXIMAL_ALBEDO), np.float32(shade)
    for sample in range(color.shape[0]):
        grey, level = zero, zero
        for channel in range(_CHANNELS):
            lit = shading[sample, channel]
            predicted = expected[sample, channel] * lit + specular_term[sample, channel]
            ratio = max(color[sample, channel] / max(predicted, smallest), zero)
            albedo[sample, channel] = ratio
            grey += ratio / three
            level += lit / three
        # In the shade only the level follows the observation; the hue stays the expected one, but in the mouth, where
        # it is a guess.
        hue_share = one if behind_lips[sample] else min(level / shadow, one)
        largest = zero
        for channel in range(_CHANNELS):
            value = expected[sample, channel] * (grey + hue_share * (albedo[sample, channel] - grey))
            albedo[sample, channel] = value
            largest = max(largest, value)
        # Scaled as a whole instead of clipped by channel, so that a tongue lit more than estimated stays red.
        excess = max(largest / maximal, one)
        for channel in range(_CHANNELS):
            albedo[sample, channel] /= excess

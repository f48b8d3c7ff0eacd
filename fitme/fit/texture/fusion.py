"""One albedo from many views: de-lit texels of all keyframes, fused without blurring what the sharpest of them shows.

Low frequencies are averaged, so that no seam shows where views take over from each other; high frequencies come mostly
from the view that sees a texel best. Lights are found on samples of the skin; only then is every texel de-lit, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from fitme.arrays import Float32Array, Float64Array, IndexArray
from fitme.fit.lighting.albedo_scale import AlbedoScaleSettings, LightObservation, expected_skin_albedo
from fitme.fit.lighting.sclera import SCLERA_LIGHT, ScleraObservation, observe_light
from fitme.fit.lighting.spherical_harmonics import (
    LIGHT_REGIONS,
    LightSettings,
    LitSurface,
    estimate_illumination,
    lit_surface,
)
from fitme.fit.texture.delighting import SMALLEST_WEIGHT, BandSums, ViewAlbedo
from fitme.fit.texture.disagreement import disagreement
from fitme.fit.texture.skin_mask import bare_neck, seen_neck, skin_probabilities
from fitme.fit.texture.unprojection import TexelObservation, TexelTable
from fitme.shape.regions import Region

BARE_SKIN = (Region.SKIN, Region.LIPS, Region.EARS, Region.NECK)
"""What has the tone of the face; hair, eyes and teeth have their own."""
MAXIMAL_ALBEDO = 0.98
"""No skin, tooth or eye reflects more."""
SMALLEST_ALBEDO = 1e-3
"""Albedos are kept above this when something is divided by them."""
IN_SHADE = 0.5
"""Share of the median shading below which hues are believed less: what lights skin in the shade has met other skin
before, and is redder than the light."""
SCLERA_STRIDE = 4
"""One sample in so many tells where light comes from: eyes need it roughly."""


@dataclass(frozen=True)
class FusionSettings:
    """How views are weighted against each other."""

    rounds: int = 3
    """Alternations between light and albedo."""
    detail_power: float = 4.0
    """Power of a view's weight in the high band: higher trusts the best view more."""
    band_sigma: float = 0.012
    """Standard deviation of the low-pass filter between the bands, as a share of the map's side."""
    confident_weight: float = 0.15
    """Summed weight at which a texel is believed by half."""
    light_samples: int = 12000
    """Texels of skin on which lights are found."""
    albedo_scale: AlbedoScaleSettings = field(default_factory=AlbedoScaleSettings)


@dataclass(frozen=True)
class FusedTexture:
    """What the keyframes say of the diffuse albedo."""

    albedo: Float32Array
    """(N, 3) linear, of the table's texels; the prior where nothing was seen."""
    seen: Float32Array
    """(N, 3) linear, what the keyframes say by themselves, however little they show of a texel, 0 where nothing; the
    prior's skin where something lies over the neck."""
    skin: Float32Array
    """(N, 3) linear, the prior in the tone that was found."""
    skin_probability: Float32Array
    """(N, 1) in [0, 1], how much what was seen is like that skin, bare."""
    confidence: Float32Array
    """(N,) 0 where nothing was seen, towards 1 where it was seen well."""
    lights: tuple[Float32Array, ...]
    """(9, 3) of each view."""
    errors: tuple[float, ...]
    """Root mean square over the skin, in linear light, between each view and what albedo and light predict of it."""
    disagreements: tuple[float, ...] = ()
    """Of each view with all others; see `fitme.fit.keyframes.outliers`. NaN where nothing else shows what a view
    shows."""
    view_albedo: tuple[ViewAlbedo, ...] = ()
    """What each view says."""


@dataclass(frozen=True)
class Resting:
    """Keyframes that are fused as they were found earlier."""

    sums: BandSums
    sharpest: float
    """Greatest sharpness among them."""


@dataclass(frozen=True)
class _Samples:
    """One view at the texels of skin on which lights are found, S of them."""

    surface: LitSurface
    color: Float32Array
    """(S, 3)."""
    weight: Float32Array
    """(S,)."""

    def view_albedo(self, light: Float32Array, expected: Float32Array) -> Float32Array:
        return _view_albedos(self.color, self.surface, light, expected)


def fuse(
    table: TexelTable,
    views: Sequence[TexelObservation],
    sharpness: Sequence[float],
    prior: Float32Array,  # (N, 3)
    specular: Float32Array,  # (N, 1)
    settings: FusionSettings,
    light_settings: LightSettings,
    resting: Resting | None = None,
    scleras: Sequence[Float32Array | None] | None = None,
) -> FusedTexture:
    """Alternate between the views' lights and the albedo that they share.

    Ears count as unseen: no landmark holds them in place, and what lies behind them would be painted on. What lies over
    the neck is taken for the skin that is expected there.

    `prior` is an albedo for what was not seen, of any tone: it is scaled to the tone that is found. `specular` is the
    specular albedo. `sharpness` of each view weighs it against the others. What `resting` keyframes have said joins in,
    and their tone is kept. `scleras` are the colours of the white of the eyes in each view,
    `fitme.fit.lighting.sclera`.
    """
    count = len(table.rows)
    rest = resting or Resting(BandSums.empty(count), 0.0)
    sharpest = max([*sharpness, rest.sharpest])
    weights = [view_weight(table, view, factor) for view, factor in zip(views, sharpness, strict=True)]
    total = (rest.sums.weight + sum(weights)) / sharpest
    skin = table.within(LIGHT_REGIONS)
    sampled = np.flatnonzero(skin & (total > settings.confident_weight))
    sampled = sampled[:: max(1, len(sampled) // settings.light_samples)]
    samples = [
        _Samples(_surface(table, view, specular, sampled), view.color[sampled], weight[sampled])
        for view, weight in zip(views, weights, strict=True)
    ]
    known = rest.sums.albedo() if resting is not None else None
    whites = [None] * len(views) if scleras is None else scleras
    tinted = _tint(table, prior, specular, sampled, samples, whites, rest, known, settings)
    albedo = expected = tinted[sampled]
    if known is not None:
        sure = _confidence(rest.sums.weight[sampled] / sharpest, settings)
        albedo = np.asarray(sure * known[sampled] + (1.0 - sure) * albedo, np.float32)
    lights = _lights(samples, albedo, expected, rest, known, sampled, total, settings, light_settings)

    view_albedo = tuple(
        delight(table, view, weight, specular, light, tinted)
        for view, weight, light in zip(views, weights, lights, strict=True)
    )
    sums = rest.sums.copy()
    for part in view_albedo:
        sums.add(table, part, settings.detail_power, settings.band_sigma)
    confidence = _confidence(total, settings)
    seen = np.clip(sums.albedo(), 0.0, MAXIMAL_ALBEDO)
    skin_probability = skin_probabilities(table, seen, tinted, confidence)
    seen = tinted + bare_neck(table, skin_probability, confidence) * (seen - tinted)
    confidence *= seen_neck(table, confidence)
    # Where little was seen the prior stays, as much of it as the alternations above would leave.
    unseen = (1.0 - confidence) ** (settings.rounds + 1)
    fused = np.clip((1.0 - unseen) * seen + unseen * tinted, 0.0, MAXIMAL_ALBEDO).astype(np.float32)
    predicted = [
        fused[sampled] * s.surface.shading(light) + s.surface.specular_term(light)
        for s, light in zip(samples, lights, strict=True)
    ]
    errors = tuple(_error(s, colors) for s, colors in zip(samples, predicted, strict=True))
    return FusedTexture(
        fused, seen, tinted, skin_probability, confidence[:, 0], tuple(lights), errors,
        _disagreements(samples, lights, expected, rest, known, sampled, sharpest, settings), view_albedo,
    )  # fmt: skip


def delight(
    table: TexelTable,
    view: TexelObservation,
    weight: Float32Array,  # (N,)
    specular: Float32Array,  # (N, 1)
    light: Float32Array,  # (9, 3)
    expected: Float32Array,  # (N, 3)
) -> ViewAlbedo:
    """What a view says of the albedo under a light, where that is `expected` to be roughly as given."""
    index = np.flatnonzero(weight > SMALLEST_WEIGHT)
    albedo = _view_albedos(view.color[index], _surface(table, view, specular, index), light, expected[index])
    return ViewAlbedo(index.astype(np.int32), albedo.astype(np.float16), weight[index].astype(np.float16))


def _lights(
    samples: Sequence[_Samples],
    albedo: Float32Array,  # (S, 3) to start from
    expected: Float32Array,  # (S, 3)
    rest: Resting,
    known: Float32Array | None,
    sampled: IndexArray,
    total: Float64Array,
    settings: FusionSettings,
    light_settings: LightSettings,
) -> list[Float32Array]:
    """(9, 3) of each view, by alternation with the albedo of the samples."""
    lights: list[Float32Array] = []
    sure = _confidence(total[sampled], settings)
    settled = np.zeros_like(albedo) if known is None else rest.sums.weight[sampled, None] * known[sampled]
    weight_sum = np.maximum(rest.sums.weight[sampled] + sum(s.weight for s in samples), SMALLEST_WEIGHT)[:, None]
    for _ in range(settings.rounds if samples else 0):
        mean_light = np.mean(lights, 0).astype(np.float32) if lights else None
        lights = [_light(view, albedo, light_settings, mean_light) for view in samples]
        view_albedo = sum(
            (s.weight[:, None] * s.view_albedo(light, expected) for s, light in zip(samples, lights, strict=True)),
            settled,
        )
        albedo = (sure * view_albedo / weight_sum + (1.0 - sure) * albedo).astype(np.float32)
    return lights


def _light(
    view: _Samples, albedo: Float32Array, light_settings: LightSettings, prior: Float32Array | None
) -> Float32Array:
    seen = np.flatnonzero(view.weight > 0.0)
    return estimate_illumination(
        view.surface.subset(seen), view.color[seen], albedo[seen], view.weight[seen], light_settings, prior
    )


def _tint(
    table: TexelTable,
    prior: Float32Array,
    specular: Float32Array,
    sampled: IndexArray,
    samples: Sequence[_Samples],
    whites: Sequence[Float32Array | None],  # (3,) each
    rest: Resting,
    known: Float32Array | None,
    settings: FusionSettings,
) -> Float32Array:
    """The prior, its skin scaled per channel to the most likely tone, or to the tone known."""
    if not len(sampled):
        return prior
    if known is not None:
        tone = np.median(known[sampled][rest.sums.weight[sampled] > SMALLEST_WEIGHT], 0)
    else:
        weight = np.maximum(sum(s.weight for s in samples), SMALLEST_WEIGHT)[:, None]
        face_color = np.median(sum(s.weight[:, None] * s.color for s in samples) / weight, 0)
        evidence = _by_sclera(samples, whites, face_color, prior[sampled], settings)
        tone = expected_skin_albedo(face_color, settings.albedo_scale, float(np.median(specular[sampled])), evidence)
    reference = np.median(prior[sampled], 0)
    tinted = prior.copy()
    bare = table.within(BARE_SKIN)
    tinted[bare] = np.clip(prior[bare] * (tone / np.maximum(reference, SMALLEST_ALBEDO)), 0.0, MAXIMAL_ALBEDO)
    return tinted


def _by_sclera(
    samples: Sequence[_Samples],
    whites: Sequence[Float32Array | None],  # (3,) each
    face_color: Float32Array,  # (3,)
    prior: Float32Array,  # (S, 3)
    settings: FusionSettings,
) -> LightObservation | None:
    """What the white of the eyes says of the light in which the skin shows `face_color`. Where that light comes from is
    found on skin of any likely tone: it makes hardly a difference."""
    tone = expected_skin_albedo(face_color, settings.albedo_scale)
    albedo = prior * (tone / np.maximum(np.median(prior, 0), SMALLEST_ALBEDO))
    seen = []
    for view, white in zip(samples, whites, strict=True):
        index = np.flatnonzero(view.weight > settings.confident_weight * view.weight.max())[::SCLERA_STRIDE]
        if white is None or not len(index):
            continue
        surface, color = view.surface.subset(index), view.color[index]
        light = estimate_illumination(surface, color, albedo[index], view.weight[index], SCLERA_LIGHT).mean(1)
        shading = float(np.median(surface.diffuse @ light))
        if shading > 0.0:
            seen.append(ScleraObservation(white, np.median(color, 0), light / shading))
    return observe_light(seen, face_color)


def view_weight(table: TexelTable, view: TexelObservation, sharpness: float) -> Float32Array:
    """(N,) of a view among others."""
    weight = view.weight * np.float32(sharpness)
    weight[table.region == Region.EARS] = 0.0
    return weight


def _surface(table: TexelTable, view: TexelObservation, specular: Float32Array, index: IndexArray) -> LitSurface:
    return lit_surface(view.normals[index], view.toward_viewer[index], specular[index], table.occlusion[index])


def _view_albedos(
    color: Float32Array, surface: LitSurface, light: Float32Array, expected: Float32Array
) -> Float32Array:
    """Albedo that makes a surface look as seen (S, 3), given what it is expected to be.

    What was mirrored is taken off by its expected share of the colour, not by its amount: where a head shades itself,
    both terms lose alike, and taking off all of the sheen would leave dark red skin. In the shade, the hue is as
    expected rather than as seen.
    """
    shading = surface.shading(light)
    predicted = expected * shading + surface.specular_term(light)
    ratio = np.maximum(color / np.maximum(predicted, SMALLEST_WEIGHT), 0.0)
    grey = ratio.mean(-1, keepdims=True)
    albedo = expected * (grey + _lit(shading) * (ratio - grey))
    # Dimmed as a whole: a tongue that got more light than it should have stays red.
    excess = np.maximum(albedo.max(-1, keepdims=True) / MAXIMAL_ALBEDO, 1.0)
    return np.asarray(albedo / excess, np.float32)


def _lit(shading: Float32Array) -> Float32Array:
    """(S, 1) in [0, 1] of shadings (S, 3): 1 except in the shade, falling to 0 where it is dark."""
    level = shading.mean(-1, keepdims=True)
    median = float(np.median(level)) if len(level) else 0.0
    return np.asarray(np.minimum(level / max(IN_SHADE * median, SMALLEST_WEIGHT), 1.0), np.float32)


def _confidence(weight: Float64Array, settings: FusionSettings) -> Float32Array:
    """(N, 1) of summed weights (N,)."""
    return (weight / (weight + settings.confident_weight))[:, None].astype(np.float32)


def _error(view: _Samples, predicted: Float32Array) -> float:
    squared = ((predicted - view.color) ** 2).mean(-1)
    return float(np.sqrt((view.weight * squared).sum() / max(float(view.weight.sum()), SMALLEST_WEIGHT)))


def _disagreements(
    samples: Sequence[_Samples],
    lights: Sequence[Float32Array],
    expected: Float32Array,
    rest: Resting,
    known: Float32Array | None,
    sampled: IndexArray,
    sharpest: float,
    settings: FusionSettings,
) -> tuple[float, ...]:
    view_albedo = [s.view_albedo(light, expected) for s, light in zip(samples, lights, strict=True)]
    weight = rest.sums.weight[sampled] + sum(s.weight for s in samples)
    seen = np.zeros_like(view_albedo[0]) if known is None else rest.sums.weight[sampled, None] * known[sampled]
    seen = sum((s.weight[:, None] * values for s, values in zip(samples, view_albedo, strict=True)), seen)
    found = []
    for view, values, light in zip(samples, view_albedo, lights, strict=True):
        others = weight - view.weight
        albedo = (seen - view.weight[:, None] * values) / np.maximum(others, SMALLEST_WEIGHT)[:, None]
        predicted = albedo * view.surface.shading(light) + view.surface.specular_term(light)
        shared = np.where(others > settings.confident_weight * sharpest, view.weight, 0.0)
        found.append(disagreement(predicted, view.color, shared))
    return tuple(found)

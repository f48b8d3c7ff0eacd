"""One albedo from many views: de-lit texels of all keyframes, fused without blurring what the sharpest of them shows.

Low frequencies are averaged, so that no seam shows where views take over from each other; high frequencies come mostly
from the view that sees a texel best.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fitme.fit.lighting import LIGHT_REGIONS, LightSettings, LitSurface, albedo_scale, estimate_light, lit_surface
from fitme.fit.unprojection import TexelObservation, TexelTable
from fitme.shape.regions import Region

FloatArray = npt.NDArray[np.float32]

BARE_SKIN = (Region.SKIN, Region.LIPS, Region.EARS, Region.NECK)
"""What has the tone of the face; hair, eyes and teeth have their own."""
MAXIMAL_ALBEDO = 0.98
"""No skin, tooth or eye reflects more."""


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
    light_samples: int = 6000
    """Texels a keyframe gives to the light's least squares."""


@dataclass(frozen=True)
class FusedTexture:
    """What the keyframes say of the diffuse albedo."""

    albedo: FloatArray
    """(N, 3) linear, of the table's texels; the prior where nothing was seen."""
    confidence: FloatArray
    """(N,) 0 where nothing was seen, towards 1 where it was seen well."""
    lights: tuple[FloatArray, ...]
    """(9, 3) of each keyframe."""
    errors: tuple[float, ...]
    """Root mean square, in linear light, between each keyframe and what albedo and light predict of it."""


def fuse(
    table: TexelTable,
    views: Sequence[TexelObservation],
    sharpness: Sequence[float],
    prior: FloatArray,  # (N, 3)
    specular: FloatArray,  # (N, 1)
    settings: FusionSettings,
    light_settings: LightSettings,
) -> FusedTexture:
    """Alternate between the keyframes' lights and the albedo that they share.

    Ears count as unseen: no landmark holds them in place, and what lies behind them would be painted on.

    `prior` is an albedo for what was not seen, of any tone: it is scaled to the tone that is found. `specular` is the
    specular albedo. `sharpness` of each keyframe weighs it against the others.
    """
    quality = np.asarray(sharpness, np.float32) / max(sharpness)
    weights = np.stack([view.weight for view in views]) * quality[:, None]  # (K, N)
    weights[:, table.region == Region.EARS] = 0.0
    skin = np.isin(table.region, [int(region) for region in LIGHT_REGIONS])
    seen_skin = skin & (weights.sum(0) > settings.confident_weight)
    albedo = _tint(table, prior, views, weights, seen_skin, light_settings)
    confidence = (weights.sum(0) / (weights.sum(0) + settings.confident_weight)).astype(np.float32)
    surfaces = [lit_surface(view.normals, view.toward_viewer, specular, table.occlusion) for view in views]
    lights: list[FloatArray] = []
    for _ in range(settings.rounds):
        mean_light = np.mean(lights, 0).astype(np.float32) if lights else None
        lights = [
            _keyframe_light(view, surface, albedo, weight * skin, settings, light_settings, mean_light)
            for view, surface, weight in zip(views, surfaces, weights, strict=True)
        ]
        delit = np.stack(
            [
                (view.color - surface.sheen(light)) / surface.shading(light)
                for view, surface, light in zip(views, surfaces, lights, strict=True)
            ]
        )
        delit = np.clip(delit, 0.0, MAXIMAL_ALBEDO)
        mean = (weights[..., None] * delit).sum(0) / np.maximum(weights.sum(0), 1e-6)[:, None]
        albedo = confidence[:, None] * mean + (1.0 - confidence[:, None]) * albedo
    detailed = _two_bands(table, delit, weights, settings)
    fused = np.clip(confidence[:, None] * detailed + (1.0 - confidence[:, None]) * albedo, 0.0, MAXIMAL_ALBEDO)
    errors = tuple(
        _error(view, surface, fused, weight, light)
        for view, surface, weight, light in zip(views, surfaces, weights, lights, strict=True)
    )
    return FusedTexture(fused, confidence, tuple(lights), errors)


def _tint(
    table: TexelTable,
    prior: FloatArray,
    views: Sequence[TexelObservation],
    weights: FloatArray,
    skin: npt.NDArray[np.bool_],
    light_settings: LightSettings,
) -> FloatArray:
    """The prior, its skin scaled per channel to the most likely tone under white light."""
    if not skin.any():
        return prior
    color = np.stack([view.color for view in views])
    seen = (weights[..., None] * color).sum(0)[skin] / weights.sum(0)[skin, None]
    face_color = np.median(seen, 0)
    tone = face_color * (albedo_scale(face_color, light_settings) / max(float(face_color.mean()), 1e-3))
    reference = np.median(prior[skin], 0)
    tinted = prior.copy()
    bare = np.isin(table.region, [int(region) for region in BARE_SKIN])
    tinted[bare] = np.clip(prior[bare] * (tone / np.maximum(reference, 1e-3)), 0.0, MAXIMAL_ALBEDO)
    return tinted


def _keyframe_light(
    view: TexelObservation,
    surface: LitSurface,
    albedo: FloatArray,
    weight: FloatArray,
    settings: FusionSettings,
    light_settings: LightSettings,
    prior: FloatArray | None,
) -> FloatArray:
    seen = np.flatnonzero(weight > 0.0)
    stride = max(1, len(seen) // settings.light_samples)
    chosen = seen[::stride]
    return estimate_light(
        surface.subset(chosen), view.color[chosen], albedo[chosen], weight[chosen], light_settings, prior
    )


def _error(
    view: TexelObservation, surface: LitSurface, albedo: FloatArray, weight: FloatArray, light: FloatArray
) -> float:
    predicted = albedo * surface.shading(light) + surface.sheen(light)
    squared = ((predicted - view.color) ** 2).mean(-1)
    return float(np.sqrt((weight * squared).sum() / max(float(weight.sum()), 1e-6)))


def _two_bands(
    table: TexelTable,
    delit: FloatArray,  # (K, N, 3)
    weights: FloatArray,  # (K, N)
    settings: FusionSettings,
) -> FloatArray:
    """(N, 3) low band averaged by weight, plus high band averaged by a power of it."""
    detail_weights = weights**settings.detail_power
    low_sum = np.zeros((delit.shape[1], 3), np.float32)
    high_sum = np.zeros((delit.shape[1], 3), np.float32)
    for color, weight, detail_weight in zip(delit, weights, detail_weights, strict=True):
        low = _smooth(table, color, weight, settings.band_sigma)
        low_sum += weight[:, None] * low
        high_sum += detail_weight[:, None] * (color - low)
    low_sum /= np.maximum(weights.sum(0), 1e-9)[:, None]
    high_sum /= np.maximum(detail_weights.sum(0), 1e-9)[:, None]
    return low_sum + high_sum


def _smooth(table: TexelTable, values: FloatArray, weight: FloatArray, sigma: float) -> FloatArray:
    """Low-pass (N, C) by normalised convolution over the map, so that unseen texels do not bleed in."""
    sigma_texels = sigma * table.resolution
    blurred = np.asarray(cv2.GaussianBlur(table.to_map(values * weight[:, None]), (0, 0), sigma_texels), np.float32)
    norm = np.asarray(cv2.GaussianBlur(table.to_map(weight[:, None]), (0, 0), sigma_texels), np.float32)
    smoothed: FloatArray = table.from_map(blurred) / np.maximum(table.from_map(norm[..., None]), 1e-6)
    return smoothed

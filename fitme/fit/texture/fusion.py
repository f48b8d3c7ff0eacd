"""Fusion of all keyframes' de-lit texels into one albedo, as sharp as the sharpest of them.

Low frequencies are averaged, so that no seam shows where one view replaces another; high frequencies come mostly from
the view that shows a texel best (multi-band blending, Burt and Adelson, ACM Transactions on Graphics 1983). Lights are
estimated on samples of the skin; only then is every texel de-lit, once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.fit.estimate import Illumination, KeyLight
from fitme.fit.lighting.key_light import CastLight
from fitme.fit.lighting.spherical_harmonics import LIGHT_REGIONS, LightSettings
from fitme.fit.texture.cast_lights import cast_light, illumination_of, key_directions, search_samples
from fitme.fit.texture.delighting import BandSums, ViewAlbedo, delight, low_band, observed_surface, view_weight
from fitme.fit.texture.divided_light import MAXIMAL_ALBEDO, SMALLEST_WEIGHT
from fitme.fit.texture.settings import FusionSettings, confidence_of
from fitme.fit.texture.skin.mask import neck_boundary_fade, neck_skin_mask, skin_probabilities
from fitme.fit.texture.skin_samples import SMALLEST_ALBEDO, MarginalizedSamples, SkinSamples, ViewSamples
from fitme.fit.texture.unprojection import TexelObservation, TexelTable
from fitme.frame_pool import ONE_BY_ONE, FramePool
from fitme.shape.regions import Region

SCALED_REGIONS = (Region.SKIN, Region.LIPS, Region.EARS, Region.NECK)
"""Regions whose albedo scales with the face's; hair, eyes and teeth have their own."""


@dataclass(frozen=True)
class FusionView:
    """One keyframe to be fused."""

    observation: TexelObservation
    sharpness: float
    """Weight relative to other keyframes."""
    sclera: Float32Array | None = None
    """(3,) linear colour of the white of the eyes, see `fitme.fit.lighting.sclera`; None where it is unknown."""
    key_light: KeyLight | None = None
    """Key light found earlier, where the search for one begins."""


@dataclass(frozen=True)
class MarginalizedTexture:
    """Sums of marginalised keyframes, de-lit earlier."""

    sums: BandSums
    sharpest: float
    """Greatest sharpness of these keyframes."""


@dataclass(frozen=True)
class FusedTexture:
    """Diffuse albedo of the table's N texels from all keyframes."""

    albedo: Float32Array
    """(N, 3) linear; the expected skin where nothing was observed."""
    observed: Float32Array
    """(N, 3) linear, from the keyframes alone, however small their weight; 0 at unobserved texels, the expected
    skin where the neck is covered."""
    expected: Float32Array
    """(N, 3) linear, the prior scaled to the estimated level of the skin."""
    skin_probability: Float32Array
    """(N, 1) in [0, 1], similarity of the observed albedo to the expected skin."""
    confidence: Float32Array
    """(N,) in [0, 1), 0 where nothing was observed."""
    lights: tuple[Illumination, ...]
    """Light of each view."""
    errors: tuple[float, ...]
    """Root mean square over the skin, linear, between each view and its prediction from albedo and light."""
    best: Float32Array
    """(N,) weight of the view that shows a texel best, over the greatest sharpness: 1 where it is seen frontally."""
    disagreements: tuple[float, ...] = ()
    """`fitme.fit.texture.disagreement` of each view with all others; NaN where too few texels are shared."""
    view_albedos: tuple[ViewAlbedo, ...] = ()
    """De-lit albedo of each view."""


def best_weight(sums: BandSums, sharpest: float, settings: FusionSettings) -> Float64Array:
    """(N,) weight of the view that shows each texel best, over the greatest sharpness, approximately: a power mean of
    all views' weights by the weights themselves, which can be summed."""
    powers = sums.detail_weight / np.maximum(sums.weight, SMALLEST_WEIGHT)
    return np.asarray(powers ** (1.0 / (settings.detail_power - 1.0)) / sharpest, np.float64)


@dataclass(frozen=True)
class TextureFusion:
    """Fusion over one table of texels."""

    table: TexelTable
    prior: Float32Array
    """(N, 3) linear albedo for unobserved texels, of any level: its skin is scaled to the estimated one."""
    specular: Float32Array
    """(N, 1) specular albedo."""
    settings: FusionSettings
    light: LightSettings
    pool: FramePool = ONE_BY_ONE
    """Of views that are de-lit."""

    def fuse(self, views: Sequence[FusionView], marginalized: MarginalizedTexture | None = None) -> FusedTexture:
        """Texture of views and of `marginalized` keyframes, whose skin level is kept.

        Covered parts of the neck are replaced by expected skin.
        """
        table, settings = self.table, self.settings
        sums = BandSums.empty(len(table.rows)) if marginalized is None else marginalized.sums.copy()
        sharpest = max([*(view.sharpness for view in views), 0.0 if marginalized is None else marginalized.sharpest])
        weights = [view_weight(view.observation, view.sharpness) for view in views]
        total = (sums.weight + sum(weights)) / sharpest

        # Level and lights come from samples: albedo and light share a scale, which only skin's colour resolves.
        samples = self._samples(views, weights, total, sharpest, marginalized)
        expected = self._scaled_prior(samples)
        # Key lights whose shadows the harmonics leave in the residual; the edges of shadows count less from here on.
        casts = self._cast_lights(views, weights, samples, expected)
        if any(cast is not None for cast in casts):
            weights = [
                weight if cast is None else weight * cast.certainty for weight, cast in zip(weights, casts, strict=True)
            ]
            samples = self._samples(views, weights, total, sharpest, marginalized, casts)
        lights = samples.estimate_lights(expected[samples.index])

        # Every texel is de-lit once, under the final lights.
        view_albedos = tuple(
            self.pool.map(
                lambda view, weight, light, cast: delight(
                    table, view.observation, weight, self.specular, light, expected, cast
                ),
                views, weights, lights, casts,
            )
        )  # fmt: skip
        low_bands = self.pool.map(lambda view: low_band(table, view, settings.band_sigma), view_albedos)
        for view_albedo, low in zip(view_albedos, low_bands, strict=True):
            sums.add_bands(view_albedo, low, settings.detail_power)
        if any(cast is not None for cast in casts):
            total = sums.weight / sharpest
        observed = np.clip(sums.albedo(), 0.0, MAXIMAL_ALBEDO)

        # Collars and hair over the neck give way to expected skin, and so does the edge of the observed neck.
        confidence = confidence_of(total, settings)
        skin_probability = skin_probabilities(table, observed, expected, confidence)
        observed = expected + neck_skin_mask(table, skin_probability, confidence) * (observed - expected)
        confidence *= neck_boundary_fade(table, confidence)

        # Where confidence is low the prior stays, by the share that remains after all alternations.
        unobserved = (1.0 - confidence) ** (settings.rounds + 1)
        albedo = np.clip((1.0 - unobserved) * observed + unobserved * expected, 0.0, MAXIMAL_ALBEDO).astype(np.float32)
        return FusedTexture(
            albedo, observed, expected, skin_probability, confidence[:, 0],
            tuple(illumination_of(light, cast) for light, cast in zip(lights, casts, strict=True)),
            samples.errors(albedo[samples.index], lights), best_weight(sums, sharpest, settings).astype(np.float32),
            samples.disagreements(lights, expected[samples.index]), view_albedos,
        )  # fmt: skip

    def _samples(
        self,
        views: Sequence[FusionView],
        weights: Sequence[Float32Array],  # (N,) each
        total: Float64Array,  # (N,) over `sharpest`
        sharpest: float,
        marginalized: MarginalizedTexture | None,
        casts: Sequence[CastLight | None] | None = None,
    ) -> SkinSamples:
        """At most `light_samples` texels of skin, evenly strided among those that are observed well."""
        skin = self.table.within(LIGHT_REGIONS)
        index = np.flatnonzero(skin & (total > self.settings.confident_weight))
        index = index[:: max(1, len(index) // self.settings.light_samples)]

        def samples_of(view: FusionView, weight: Float32Array, cast: CastLight | None) -> ViewSamples:
            surface = observed_surface(self.table, view.observation, self.specular, index, cast)
            return ViewSamples(surface, view.observation.color[index], weight[index], view.sclera)

        view_samples = self.pool.map(samples_of, views, weights, casts or [None] * len(views))
        known = None
        if marginalized is not None:
            known = MarginalizedSamples(marginalized.sums.weight[index], marginalized.sums.albedo()[index])
        return SkinSamples(index, view_samples, known, total[index], sharpest, self.settings, self.light, self.pool)

    def _cast_lights(
        self,
        views: Sequence[FusionView],
        weights: Sequence[Float32Array],  # (N,) each
        samples: SkinSamples,
        expected: Float32Array,  # (N, 3)
    ) -> list[CastLight | None]:
        """Key light of each view at all texels, None where it needs none."""
        if not self.light.key.enabled or not len(samples.index):
            return [None] * len(views)
        albedo = samples.initial_albedo(expected[samples.index])
        searched = [
            search_samples(self.table, view.observation, self.specular, samples.index, albedo, sample.weight)
            for view, sample in zip(views, samples.views, strict=True)
        ]
        starts = [None if view.key_light is None else view.key_light.direction for view in views]
        directions = key_directions(searched, starts, self.light.key)
        return [
            cast_light(view.observation, weight, direction)
            for view, weight, direction in zip(views, weights, directions, strict=True)
        ]

    def _scaled_prior(self, samples: SkinSamples) -> Float32Array:
        """(N, 3) the prior, its skin scaled per channel to the estimated median of the face."""
        if not len(samples.index):
            return self.prior
        prior = self.prior[samples.index]
        tone = samples.skin_tone(prior, self.specular[samples.index])
        scaled = self.prior.copy()
        skin = self.table.within(SCALED_REGIONS)
        scale = tone / np.maximum(np.median(prior, 0), SMALLEST_ALBEDO)
        scaled[skin] = np.clip(self.prior[skin] * scale, 0.0, MAXIMAL_ALBEDO)
        return scaled

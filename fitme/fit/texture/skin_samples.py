"""Estimation of the keyframes' lights and of the skin's level on samples of the skin, before every texel is de-lit."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fitme.arrays import Float32Array, Float64Array, IndexArray
from fitme.channels import channel_mean
from fitme.fit.lighting.albedo_scale import LightObservation, expected_skin_albedo
from fitme.fit.lighting.sclera import SCLERA_LIGHT, ScleraObservation, observe_light
from fitme.fit.lighting.spherical_harmonics import LightSettings, LitSurface, estimate_illumination
from fitme.fit.texture.disagreement import disagreement
from fitme.fit.texture.divided_light import SMALLEST_WEIGHT, delit_albedo
from fitme.fit.texture.settings import FusionSettings, confidence_of
from fitme.frame_pool import FramePool

SMALLEST_ALBEDO = 1e-3
"""Lower bound of albedos in denominators."""
SCLERA_STRIDE = 4
"""One sample in so many estimates where the eyes' light comes from: a rough estimate does."""


@dataclass(frozen=True)
class ViewSamples:
    """One view at the S samples."""

    surface: LitSurface
    color: Float32Array
    """(S, 3) linear, light included."""
    weight: Float32Array
    """(S,) 0 where the view does not show the sample."""
    sclera: Float32Array | None
    """(3,) linear colour of the white of the eyes; None where it is unknown."""

    def albedo(self, light: Float32Array, expected: Float32Array) -> Float32Array:
        """(S, 3) de-lit albedo under a light (K, 3), near an `expected` one (S, 3)."""
        shading, specular_term = self.surface.shading(light), self.surface.specular_term(light)
        return delit_albedo(self.color, shading, specular_term, expected)

    def predicted(self, albedo: Float32Array, light: Float32Array) -> Float32Array:
        """(S, 3) linear colours of an albedo (S, 3) under a light (K, 3)."""
        return albedo * self.surface.shading(light) + self.surface.specular_term(light)


@dataclass(frozen=True)
class MarginalizedSamples:
    """Marginalised keyframes at the S samples."""

    weight: Float64Array
    """(S,) sum of their weights."""
    albedo: Float32Array
    """(S, 3) linear, their fused albedo."""


@dataclass(frozen=True)
class SkinSamples:
    """The S texels of skin on which lights are estimated, in all views."""

    index: IndexArray
    """(S,) texels of the table."""
    views: Sequence[ViewSamples]
    marginalized: MarginalizedSamples | None
    total: Float64Array
    """(S,) weight of all keyframes over `sharpest`."""
    sharpest: float
    """Greatest sharpness of all keyframes."""
    settings: FusionSettings
    light: LightSettings
    pool: FramePool

    @property
    def weight(self) -> Float64Array:
        """(S,) weight of all keyframes."""
        own = np.zeros(len(self.index)) if self.marginalized is None else self.marginalized.weight
        return np.asarray(own + sum(view.weight for view in self.views))

    def skin_tone(self, prior: Float32Array, specular: Float32Array) -> Float32Array:
        """(3,) likely linear albedo of the skin, median over the face, from a prior (S, 3) of any level.

        That of marginalised keyframes where there are any. `specular` (S, 1) is the specular albedo.
        """
        if self.marginalized is not None:
            return np.asarray(np.median(self.marginalized.albedo[self.marginalized.weight > SMALLEST_WEIGHT], 0))
        weight = np.maximum(sum(view.weight for view in self.views), SMALLEST_WEIGHT)[:, None]
        face_color = np.median(sum(view.weight[:, None] * view.color for view in self.views) / weight, 0)
        information = self._sclera_information(face_color, prior)
        return expected_skin_albedo(face_color, self.settings.albedo_scale, float(np.median(specular)), information)

    def initial_albedo(self, expected: Float32Array) -> Float32Array:
        """(S, 3) albedo at which alternation starts: that of marginalised keyframes, mixed by its confidence with
        the `expected` one (S, 3)."""
        known = self.marginalized
        if known is None:
            return expected
        confidence = confidence_of(known.weight / self.sharpest, self.settings)
        return np.asarray(confidence * known.albedo + (1.0 - confidence) * expected, np.float32)

    def estimate_lights(self, expected: Float32Array) -> list[Float32Array]:
        """Light of each view, (9, 3) or with a key light (10, 3), by alternation with the shared albedo; `expected`
        (S, 3) is its prior."""
        albedo = self.initial_albedo(expected)
        confidence = confidence_of(self.total, self.settings)
        weight_sum = np.maximum(self.weight, SMALLEST_WEIGHT)[:, None]
        lights: list[Float32Array] = []
        for _ in range(self.settings.rounds if self.views else 0):
            # Lights given the albedo, drawn to their mean: keyframes of one capture have similar light.
            means = _mean_lights(lights)
            priors = [means.get(view.surface.diffuse.shape[1]) for view in self.views]
            lights = self.pool.map(partial(self._light, albedo), self.views, priors)
            # The albedo given the lights, as far as the samples were observed.
            observed = self._weighted_albedo(self._view_albedos(lights, expected))
            albedo = (confidence * observed / weight_sum + (1.0 - confidence) * albedo).astype(np.float32)
        return lights

    def errors(self, albedo: Float32Array, lights: Sequence[Float32Array]) -> tuple[float, ...]:
        """Weighted root mean square error of each view's colours, linear, as predicted from albedo (S, 3) and lights
        (K, 3)."""
        return tuple(
            _error(view, view.predicted(albedo, light)) for view, light in zip(self.views, lights, strict=True)
        )

    def disagreements(self, lights: Sequence[Float32Array], expected: Float32Array) -> tuple[float, ...]:
        """Disagreement of each view with the albedo of all other keyframes; NaN where they share too few samples."""
        albedos = self._view_albedos(lights, expected)
        weight, total = self.weight, self._weighted_albedo(albedos)
        found = []
        for view, own, light in zip(self.views, albedos, lights, strict=True):
            # Leave one out: the sums over all keyframes less the view itself.
            others = weight - view.weight
            albedo = (total - view.weight[:, None] * own) / np.maximum(others, SMALLEST_WEIGHT)[:, None]
            shared = np.where(others > self.settings.confident_weight * self.sharpest, view.weight, 0.0)
            found.append(disagreement(view.predicted(albedo, light), view.color, shared))
        return tuple(found)

    def _view_albedos(self, lights: Sequence[Float32Array], expected: Float32Array) -> list[Float32Array]:
        return self.pool.map(lambda view, light: view.albedo(light, expected), self.views, lights)

    def _weighted_albedo(self, albedos: Sequence[Float32Array]) -> Float32Array | Float64Array:
        """(S, 3) sum over all keyframes of weight times albedo (S, 3); marginalised ones first."""
        known = self.marginalized
        start = np.zeros((len(self.index), 3), np.float32) if known is None else known.weight[:, None] * known.albedo
        return sum((view.weight[:, None] * own for view, own in zip(self.views, albedos, strict=True)), start)

    def _light(self, albedo: Float32Array, view: ViewSamples, prior: Float32Array | None) -> Float32Array:
        """(K, 3) light of a view whose samples have an albedo (S, 3)."""
        index = np.flatnonzero(view.weight > 0.0)
        surface, color, weight = view.surface.subset(index), view.color[index], view.weight[index]
        return estimate_illumination(surface, color, albedo[index], weight, self.light, prior)

    def _sclera_information(self, face_color: Float32Array, prior: Float32Array) -> LightObservation | None:
        """Information of the eyes' white about the light under which skin has the colour `face_color` (3,).

        The light's direction is estimated on skin (S, 3) of the level that is likely without the eyes: it hardly
        depends on the level.
        """
        tone = expected_skin_albedo(face_color, self.settings.albedo_scale)
        albedo = prior * (tone / np.maximum(np.median(prior, 0), SMALLEST_ALBEDO))
        observations = []
        for view in self.views:
            index = np.flatnonzero(view.weight > self.settings.confident_weight * view.weight.max())[::SCLERA_STRIDE]
            if view.sclera is None or not len(index):
                continue
            surface, color = view.surface.subset(index), view.color[index]
            light = estimate_illumination(surface, color, albedo[index], view.weight[index], SCLERA_LIGHT).mean(1)
            shading = float(np.median(surface.diffuse @ light))
            if shading > 0.0:
                observations.append(ScleraObservation(view.sclera, np.median(color, 0), light / shading))
        return observe_light(observations, face_color)


def _mean_lights(lights: Sequence[Float32Array]) -> dict[int, Float32Array]:
    """Mean light (K, 3) by K: of the views with a key light and of those without, whose harmonics differ by it."""
    sizes = {len(light) for light in lights}
    return {k: np.mean([light for light in lights if len(light) == k], 0).astype(np.float32) for k in sizes}


def _error(view: ViewSamples, predicted: Float32Array) -> float:
    squared = channel_mean((predicted - view.color) ** 2)
    return float(np.sqrt((view.weight * squared).sum() / max(float(view.weight.sum()), SMALLEST_WEIGHT)))

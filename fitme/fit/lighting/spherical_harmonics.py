"""Estimation of spherical-harmonics illumination in closed form: given albedo and normals, colour is linear in the
light's coefficients (Ramamoorthi and Hanrahan, SIGGRAPH 2001).

Light and albedo share a scale that images leave open: see `fitme.fit.lighting.albedo_scale`.
"""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta

from fitme.arrays import Float32Array, Float64Array, IndexArray
from fitme.channels import channel_mean
from fitme.fit.lighting.key_light import CastLight, KeyLightSettings, directional_transport
from fitme.fit.lighting.light_equations import light_equations
from fitme.render.reflection import SH_COUNT
from fitme.render.shading import ambient_reflectance, sh_basis
from fitme.shape.regions import Region

LIGHT_REGIONS = (Region.SKIN, Region.LIPS)
"""Surfaces on whose colours the light is estimated."""
AMBIENT_RIDGE = 1e-4
"""Ridge on the constant coefficient, relative to that on the others: just enough to keep the system regular."""
MINIMAL_SHADING = 0.08
"""Lower limit of the shading, in the light's own hue, where colours are divided by it."""
LEAST_CHANNEL = 0.5
"""Lower limit of each channel, as a share of the channels' mean in that hue: lights rarely differ by more."""

DARK = 1e-9
"""Added to divisors that may be 0."""


@dataclass(frozen=True)
class LightSettings:
    """Regularisation and robust weights of the light's least squares."""

    directional_ridge: Annotated[float, Meta(ge=0.0)] = 0.001
    """Ridge on the coefficients above order 0, relative to the summed squared albedo of the samples. A larger one
    leaves shading in the albedo: foreheads bright under a ceiling's lamp, jaws dark."""
    hue_ridge: Annotated[float, Meta(ge=0.0)] = 0.05
    """Ridge on the differences between channels, relative to the summed squared albedo: light is mostly of one hue, so
    that a local redness is the skin's."""
    key: KeyLightSettings = field(default_factory=KeyLightSettings)
    iterations: Annotated[int, Meta(ge=1)] = 4
    """Reweighting rounds against highlights, shadows and occluders."""
    robust_scale: Annotated[float, Meta(gt=0.0)] = 0.2
    """Residual in linear light beyond which a sample is down-weighted (Geman-McClure). With a smaller one, the
    brightest skin under a steep light would count as a highlight."""


@dataclass(frozen=True)
class LitSurface:
    """Light transport at N samples of a surface: its factors that do not depend on the light."""

    diffuse: Float32Array
    """(N, K) spherical harmonics at the normals, occluded: the factor on albedo and light. K is 9, or 10 with the
    shadowed cosine of a key light in the last column."""
    specular: Float32Array
    """(N, K) spherical harmonics in the mirror direction times reflectance, occluded: the factor on the light alone.
    The last column as in `diffuse`."""

    def subset(self, index: IndexArray) -> "LitSurface":
        """Only the samples of `index`."""
        return LitSurface(self.diffuse[index], self.specular[index])

    def with_key_light(
        self,
        normals: Float32Array,  # (N, 3)
        toward_viewer: Float32Array,  # (N, 3)
        specular: Float32Array,  # (N, 1)
        occlusion: Float32Array,  # (N, 1)
        cast: CastLight,
    ) -> "LitSurface":
        """The surface of `lit_surface` with a column for a directional light and its shadows."""
        diffuse, mirrored = directional_transport(normals, toward_viewer, specular, cast.direction)
        share = (cast.share * occlusion[:, 0])[:, None]
        return LitSurface(
            np.concatenate([self.diffuse, share * diffuse[:, None]], 1),
            np.concatenate([self.specular, share * mirrored[:, None]], 1),
        )

    def shading(self, light: Float32Array) -> Float32Array:
        """(N, 3) diffuse shading under a light (K, 3), kept above `MINIMAL_SHADING` and `LEAST_CHANNEL`."""
        values: Float32Array = self.diffuse @ light
        tint = light_tint(light[0].astype(np.float64)).astype(np.float32)
        least = np.maximum(LEAST_CHANNEL * channel_mean(values)[:, None], MINIMAL_SHADING)
        return np.maximum(values, least * tint)

    def specular_term(self, light: Float32Array) -> Float32Array:
        """(N, 3) specular term under a light (K, 3), >= 0."""
        values: Float32Array = self.specular @ light
        return np.maximum(values, 0.0)


def lit_surface(
    normals: Float32Array,  # (N, 3)
    toward_viewer: Float32Array,  # (N, 3)
    specular: Float32Array,  # (N, 1)
    occlusion: Float32Array,  # (N, 1)
) -> LitSurface:
    """Light transport of unit normals, unit directions to the viewer, specular albedo, and ambient occlusion, 1 open.

    The specular term is the ambient one of `fitme.render.shading.specular_shading`.
    """
    facing = (normals * toward_viewer).sum(-1, keepdims=True)
    mirror = 2.0 * facing * normals - toward_viewer
    reflectance = ambient_reflectance(torch.from_numpy(facing)).numpy()
    return LitSurface(
        occlusion * sh_basis(torch.from_numpy(normals)).numpy(),
        reflectance * specular * occlusion * sh_basis(torch.from_numpy(mirror)).numpy(),
    )


def estimate_illumination(
    surface: LitSurface,
    color: Float32Array,  # (N, 3)
    albedo: Float32Array,  # (N, 3)
    weight: Float32Array,  # (N,)
    settings: LightSettings,
    prior: Float32Array | None = None,  # (K, 3)
) -> Float32Array:
    """(K, 3) light of linear sRGB under which a surface of known linear albedo shows linear colours.

    Iteratively reweighted ridge regression in two steps: first light of one hue, whose orders above 0 are shrunk
    towards those of `prior`, zero by default; then each channel by itself, shrunk towards that light and the deviation
    of `prior` from one hue.
    """
    columns = surface.diffuse.shape[1]
    center = np.zeros((columns, 3)) if prior is None else prior.astype(np.float64)
    chromatic = center - center.mean(1, keepdims=True) * light_tint(center[0])
    expected, light, scale = center.T, center, np.inf
    for _ in range(settings.iterations):
        # Three systems of K unknowns, for the residual under the prior: where the prior is exact, rounding then moves
        # no undetermined coefficient. Geman-McClure weights are against highlights, shadows and occluders.
        normal_matrix, right_side, power = light_equations(
            surface.diffuse, surface.specular, color, albedo, weight, center, light, scale
        )
        power = power + DARK
        scale = settings.robust_scale**2
        # The hue of the light, by a solve of each channel.
        tint = light_tint((expected + _step(normal_matrix, right_side, settings.hue_ridge * power))[:, 0])
        monochrome = tint[:, None] * center.mean(1) + chromatic.T  # (3, K)
        # Light of that hue: K unknowns for all channels.
        one_hue = (tint[:, None, None] ** 2 * normal_matrix).sum(0)[None]  # (1, K, K)
        residual_side = (tint @ (right_side + _times(normal_matrix, expected - monochrome)))[None]  # (1, K)
        monochrome = monochrome + tint[:, None] * _step(
            one_hue, residual_side, settings.directional_ridge * (tint**2 @ power)[None]
        )
        # Each channel by itself, shrunk towards that light.
        residual_side = right_side + _times(normal_matrix, expected - monochrome)
        light = np.ascontiguousarray((monochrome + _step(normal_matrix, residual_side, settings.hue_ridge * power)).T)
    # A key light only adds.
    light[SH_COUNT:] = np.maximum(light[SH_COUNT:], 0.0)
    return light.astype(np.float32)


def light_tint(ambient: Float64Array) -> Float64Array:
    """(3,) hue of mean 1 of a light's constant coefficients (3,)."""
    positive = np.maximum(ambient, 0.0) + DARK
    return np.asarray(positive / positive.mean())


def _times(matrices: Float64Array, vectors: Float64Array) -> Float64Array:
    """(C, K) products of (C, K, K) with (C, K)."""
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _step(normal_matrix: Float64Array, right_side: Float64Array, ridge: Float64Array) -> Float64Array:
    """(C, K) solutions of C systems (C, K, K), (C, K), shrunk towards 0 by a ridge (C,) above order 0."""
    columns = normal_matrix.shape[-1]
    diagonal = np.tile(ridge[:, None], columns)  # (C, K)
    diagonal[:, 0] = AMBIENT_RIDGE * ridge
    ridged = normal_matrix + diagonal[..., None] * np.eye(columns)
    return np.asarray(np.linalg.solve(ridged, right_side[..., None])[..., 0])

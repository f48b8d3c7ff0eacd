"""Spherical-harmonics light in closed form: given albedo and normals, colour is linear in the light's coefficients.

Light and albedo share a scale that no picture can tell apart: see `fitme.fit.lighting.albedo_scale`.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array, IndexArray
from fitme.render.reflection import SH_COUNT
from fitme.render.shading import ambient_reflectance, sh_basis
from fitme.shape.regions import Region

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of linear sRGB primaries in luminance (IEC 61966-2-1)."""
LIGHT_REGIONS = (Region.SKIN, Region.LIPS)
"""Surfaces whose colour tells about the light."""
AMBIENT_RIDGE = 1e-4
"""Ridge on the constant coefficient, relative to that on the others: just enough to keep the system regular."""
MINIMAL_SHADING = 0.08
"""Shading is kept above this, in the light's own hue, when colours are divided by it."""
LEAST_CHANNEL = 0.5
"""And each channel above this share of what the mean of them all is in that hue: lights rarely differ by more."""

DARK = 1e-9
"""Added to what may be 0 and is divided by."""


@dataclass(frozen=True)
class LightSettings:
    """Numerics of the light's least squares."""

    directional_ridge: float = 0.001
    """Ridge on the coefficients above order 0, relative to the mean squared albedo of the evidence. More leaves shading
    in the albedo: foreheads bright under a ceiling's lamp, jaws dark."""
    hue_ridge: float = 0.05
    """The same on how channels differ: light has one hue on the whole, and skin that is redder in places is skin."""
    iterations: int = 4
    """Reweighting rounds against highlights, shadows and occluders."""
    robust_scale: float = 0.2
    """Residual in linear light beyond which a sample counts less. With less, the brightest skin under a steep light
    would count as a highlight."""


@dataclass(frozen=True)
class LitSurface:
    """Samples of a surface: all of the light transport that does not depend on the light."""

    diffuse: Float32Array
    """(N, 9) spherical harmonics at the normals: what multiplies albedo and light."""
    specular: Float32Array
    """(N, 9) spherical harmonics in the mirror direction times reflectance: what is added to it."""

    def subset(self, index: IndexArray) -> "LitSurface":
        """Only the samples of `index`."""
        return LitSurface(self.diffuse[index], self.specular[index])

    def shading(self, light: Float32Array) -> Float32Array:
        """(N, 3) diffuse shading under a light (9, 3), kept above `MINIMAL_SHADING` and `LEAST_CHANNEL`."""
        values: Float32Array = self.diffuse @ light
        tint = _tint(light[0].astype(np.float64)).astype(np.float32)
        least = np.maximum(LEAST_CHANNEL * values.mean(-1, keepdims=True), MINIMAL_SHADING)
        return np.maximum(values, least * tint)

    def sheen(self, light: Float32Array) -> Float32Array:
        """(N, 3) specular reflection under a light (9, 3)."""
        values: Float32Array = self.specular @ light
        return np.maximum(values, 0.0)


def lit_surface(
    normals: Float32Array,  # (N, 3)
    toward_viewer: Float32Array,  # (N, 3)
    specular: Float32Array,  # (N, 1)
    occlusion: Float32Array,  # (N, 1)
) -> LitSurface:
    """Light transport of unit normals, unit directions to the viewer, specular albedo, and share of light let through.

    The specular term is the ambient one of `fitme.render.shading.specular_shading`.
    """
    facing = (normals * toward_viewer).sum(-1, keepdims=True)
    mirror = 2.0 * facing * normals - toward_viewer
    reflectance = ambient_reflectance(torch.from_numpy(facing)).numpy()
    return LitSurface(
        occlusion * sh_basis(torch.from_numpy(normals)).numpy(),
        reflectance * specular * occlusion * sh_basis(torch.from_numpy(mirror)).numpy(),
    )


def estimate_light(
    surface: LitSurface,
    color: Float32Array,  # (N, 3)
    albedo: Float32Array,  # (N, 3)
    weight: Float32Array,  # (N,)
    settings: LightSettings,
    prior: Float32Array | None = None,  # (9, 3)
) -> Float32Array:
    """(9, 3) light that best explains the linear colours of a surface of known albedo.

    Iteratively reweighted ridge regression in two steps: light of one hue, its orders above 0 drawn to those of `prior`
    or to zero without one, then each channel by itself, drawn to that light as far as `prior` has one hue.
    """
    center = np.zeros((SH_COUNT, 3)) if prior is None else prior.astype(np.float64)
    colorful = center - center.mean(1, keepdims=True) * _tint(center[0])
    # Channels first: three systems of nine unknowns.
    design = albedo.T[..., None] * surface.diffuse + surface.specular  # (3, N, 9)
    # Solved for what the prior does not explain: where it explains all, rounding could move what nothing tells.
    expected = center.T
    unexplained = color - np.einsum("cnk,kc->nc", design, center.astype(np.float32))
    robust = np.ones(len(color), np.float32)
    light = center
    for _ in range(settings.iterations):
        weighted = design * (weight * robust)[:, None]
        evidence = (np.einsum("n,nc->c", weight * robust, albedo**2) + DARK).astype(np.float64)  # (3,)
        normal_matrix = (weighted.transpose(0, 2, 1) @ design).astype(np.float64)  # (3, 9, 9)
        surplus = np.einsum("cnk,nc->ck", weighted, unexplained).astype(np.float64)  # (3, 9)
        tint = _tint((expected + _step(normal_matrix, surplus, settings.hue_ridge * evidence))[:, 0])
        plain = tint[:, None] * center.mean(1) + colorful.T  # (3, 9)
        together = (tint[:, None, None] ** 2 * normal_matrix).sum(0)[None]  # (1, 9, 9)
        left = (tint @ (surplus + _times(normal_matrix, expected - plain)))[None]  # (1, 9)
        plain = plain + tint[:, None] * _step(together, left, settings.directional_ridge * (tint**2 @ evidence)[None])
        left = surplus + _times(normal_matrix, expected - plain)
        light = (plain + _step(normal_matrix, left, settings.hue_ridge * evidence)).T
        residual = color - np.einsum("cnk,kc->nc", design, light.astype(np.float32))
        robust = (1.0 / (1.0 + (residual**2).sum(-1) / settings.robust_scale**2) ** 2).astype(np.float32)
    return light.astype(np.float32)


def _tint(ambient: Float64Array) -> Float64Array:
    """(3,) hue of a light's constant coefficients (3,), of mean 1."""
    positive = np.maximum(ambient, 0.0) + DARK
    return np.asarray(positive / positive.mean())


def _times(matrices: Float64Array, vectors: Float64Array) -> Float64Array:
    """(C, 9) products of (C, 9, 9) with (C, 9)."""
    return np.asarray((matrices @ vectors[..., None])[..., 0])


def _step(normal_matrix: Float64Array, surplus: Float64Array, ridge: Float64Array) -> Float64Array:
    """(C, 9) solutions of C systems (C, 9, 9), (C, 9), drawn to 0 by a ridge (C,) above order 0."""
    diagonal = np.tile(ridge[:, None], SH_COUNT)  # (C, 9)
    diagonal[:, 0] = AMBIENT_RIDGE * ridge
    ridged = normal_matrix + diagonal[..., None] * np.eye(SH_COUNT)
    return np.asarray(np.linalg.solve(ridged, surplus[..., None])[..., 0])

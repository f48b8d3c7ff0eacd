"""Spherical-harmonics light in closed form: given albedo and normals, colour is linear in the light's coefficients.

Light and albedo share a scale that no picture can tell apart: see `fitme.fit.tone`.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from fitme.render.light import SH_COUNT
from fitme.render.shading import ambient_reflectance, sh_basis
from fitme.shape.regions import Region

FloatArray = npt.NDArray[np.float32]

LUMINANCE = np.array([0.2126, 0.7152, 0.0722], np.float32)
"""Weights of linear sRGB primaries in luminance (IEC 61966-2-1)."""
LIGHT_REGIONS = (Region.SKIN, Region.LIPS)
"""Surfaces whose colour tells about the light."""
AMBIENT_RIDGE = 1e-6
"""Ridge on the constant coefficient, relative to the evidence: just enough to keep the system regular."""
MINIMAL_SHADING = 0.08
"""Shading is kept above this when colours are divided by it."""


@dataclass(frozen=True)
class LightSettings:
    """Numerics of the light's least squares."""

    directional_ridge: float = 0.01
    """Ridge on the coefficients above order 0, relative to the mean squared albedo of the evidence."""
    iterations: int = 4
    """Reweighting rounds against highlights, shadows and occluders."""
    robust_scale: float = 0.08
    """Residual in linear light beyond which a sample counts less."""


@dataclass(frozen=True)
class LitSurface:
    """Samples of a surface: all of the light transport that does not depend on the light."""

    diffuse: FloatArray
    """(N, 9) spherical harmonics at the normals: what multiplies albedo and light."""
    specular: FloatArray
    """(N, 9) spherical harmonics in the mirror direction times reflectance: what is added to it."""

    def subset(self, index: npt.NDArray[np.intp]) -> "LitSurface":
        """Only the samples of `index`."""
        return LitSurface(self.diffuse[index], self.specular[index])

    def shading(self, light: FloatArray) -> FloatArray:
        """(N, 3) diffuse shading under a light (9, 3), kept above `MINIMAL_SHADING`."""
        values: FloatArray = self.diffuse @ light
        return np.maximum(values, MINIMAL_SHADING)

    def sheen(self, light: FloatArray) -> FloatArray:
        """(N, 3) specular reflection under a light (9, 3)."""
        values: FloatArray = self.specular @ light
        return np.maximum(values, 0.0)


def lit_surface(
    normals: FloatArray,  # (N, 3)
    toward_viewer: FloatArray,  # (N, 3)
    specular: FloatArray,  # (N, 1)
    occlusion: FloatArray,  # (N, 1)
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
    color: FloatArray,  # (N, 3)
    albedo: FloatArray,  # (N, 3)
    weight: FloatArray,  # (N,)
    settings: LightSettings,
    prior: FloatArray | None = None,  # (9, 3)
) -> FloatArray:
    """(9, 3) light that best explains the linear colours of a surface of known albedo.

    Iteratively reweighted ridge regression, each channel by itself; the ridge draws the orders above 0 to `prior`, or
    to zero without one.
    """
    center = np.zeros((SH_COUNT, 3)) if prior is None else prior.astype(np.float64)
    # Channels first: three independent systems of nine unknowns.
    design = albedo.T[..., None] * surface.diffuse + surface.specular  # (3, N, 9)
    robust = np.ones(len(color), np.float32)
    light = center
    for _ in range(settings.iterations):
        weighted = design * (weight * robust)[:, None]
        evidence = np.einsum("n,nc->c", weight * robust, albedo**2) + 1e-9  # (3,)
        ridge = np.tile(settings.directional_ridge * evidence[:, None], SH_COUNT)  # (3, 9)
        ridge[:, 0] = AMBIENT_RIDGE * evidence
        normal_matrix = (weighted.transpose(0, 2, 1) @ design).astype(np.float64)
        normal_matrix[:, np.arange(SH_COUNT), np.arange(SH_COUNT)] += ridge
        target = np.einsum("cnk,nc->ck", weighted, color) + ridge * center.T
        light = np.linalg.solve(normal_matrix, target[..., None])[..., 0].T
        residual = color - np.einsum("cnk,kc->nc", design, light.astype(np.float32))
        robust = (1.0 / (1.0 + (residual**2).sum(-1) / settings.robust_scale**2) ** 2).astype(np.float32)
    return light.astype(np.float32)

"""Key light: one directional light with cast shadows beside the spherical harmonics of a keyframe's light.

Order-2 harmonics are too smooth for the edge of a shadow, which would be painted into the albedo. A directional light
adds one column to the harmonics' linear least squares: its clamped cosine times the share of it that reaches each
sample, from shadow maps of the posed head. Only its direction is searched for, and it is kept only where shadows
explain the colours clearly better than harmonics alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta

from fitme.arrays import Float32Array, Float64Array, IndexArray, Int32Array
from fitme.render.occlusion import sphere_directions
from fitme.render.reflection import DEFAULT_SHININESS, SH_COUNT
from fitme.render.shading import blinn_phong
from fitme.render.shadows import SHADOW_MAP_PX, lit_shares

CANDIDATES = 80
"""Directions over the sphere among which the search begins, about 23 degrees apart."""
FARTHEST_BEHIND = -0.2
"""Least z, towards the viewer, of a direction: light from behind the head does not reach the face."""
SEARCH_SAMPLES, COARSE_SAMPLES = 1500, 500
"""Samples, at most, on which directions are compared, and those of the first comparison."""
COARSE_SHARE = 0.2
"""Share of the least gain that the best of the first comparison must reach."""
COARSE_MAP_PX = 128
"""Side of the shadow maps of the first comparison."""
FINALISTS = 5
"""Directions of the first comparison that are compared again."""
STEPS_DEG = (12.0, 6.0, 3.0)
"""Steps by which the best direction is improved."""
RING = 6
"""Directions around the best one that each step tries."""
ITERATIONS = 3
"""Reweighted least squares of a comparison."""
SOFTNESS_DEG = 6.0
"""Radius of the light as shadows are drawn for de-lighting: between a flash's and a window's, and the shape's errors
blur edges as well."""
SOFT_DIRECTIONS = 5
"""Directions over that disc, its centre among them."""
EDGE_DOUBT = 0.95
"""Share of its weight that a point on the edge of a shadow loses."""
FEWEST_AGREEING, AGREEMENT_DEG = 2, 25.0
"""Keyframes whose directions must lie within an angle of their mean for the others to adopt it."""
SHORTEST = 1e-6
"""Lower bound of the length of a mean of directions that is normalised."""
SMALLEST_COST = 1e-12
"""Lower bound of a squared error in a denominator."""
AMBIENT_RIDGE = 1e-4
"""Ridge on the constant coefficient, relative to that on the others."""


@dataclass(frozen=True)
class KeyLightSettings:
    """Whether keyframes have a key light."""

    enabled: bool = False
    """False: spherical harmonics alone, shadows stay in the albedo. With a key light frames that the fit has not seen
    are explained less well (`docs/benchmarks.md`)."""
    least_gain: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.05
    """Share of the squared error of harmonics alone that a key light with its shadows must explain."""
    shadow_share: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.3
    """Share of that gain that must come from shadows: a directional light without any, being sharper than harmonics,
    follows highlights and makeup."""
    lone_gain: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.1
    """Share that a key light must explain of a keyframe among three or more, none of which has a similar one."""
    agreed_gain: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.01
    """Share of the squared error that suffices of a direction on which other keyframes agree."""
    robust_scale: Annotated[float, Meta(gt=0.0)] = 0.1
    """Residual in linear light beyond which a sample is down-weighted in comparisons (Geman-McClure)."""
    ridge: Annotated[float, Meta(ge=0.0)] = 0.001
    """Ridge on harmonics above order 0 and on the key light, relative to the summed squared albedo."""


@dataclass(frozen=True, eq=False)
class PosedSurface:
    """Head as a keyframe shows it, and N points on it."""

    vertices: Float32Array
    """(V, 3) view space, metres."""
    triangles: Int32Array
    """(F, 3)."""
    points: Float32Array
    """(N, 3) view space, metres."""
    normals: Float32Array
    """(N, 3) unit normals at the points."""

    def lit_shares(self, directions: Float32Array, index: IndexArray, resolution: int = SHADOW_MAP_PX) -> Float32Array:
        """(M, L) share in [0, 1] of directional lights (L, 3) that reaches the points `index` (M,)."""
        shares = lit_shares(
            torch.from_numpy(self.vertices), torch.from_numpy(self.triangles), torch.from_numpy(directions),
            torch.from_numpy(self.points[index]), torch.from_numpy(self.normals[index]), resolution,
        )  # fmt: skip
        return np.asarray(shares.numpy(), np.float32)

    def soft_share(self, direction: Float32Array, index: IndexArray) -> Float32Array:
        """(M,) share in [0, 1] of a light of radius `SOFTNESS_DEG` that reaches the points `index` (M,)."""
        directions = np.concatenate([direction[None], _ring(direction, SOFTNESS_DEG, SOFT_DIRECTIONS - 1)])
        return np.asarray(self.lit_shares(directions, index).mean(1), np.float32)


@dataclass(frozen=True, eq=False)
class CastLight:
    """Direction of a key light, and where it falls."""

    direction: Float32Array
    """(3,) unit vector towards the light, view space."""
    share: Float32Array
    """(N,) in [0, 1]: share of the light that reaches each point."""

    def subset(self, index: IndexArray) -> "CastLight":
        """Only the points `index`."""
        return CastLight(self.direction, self.share[index])

    @property
    def certainty(self) -> Float32Array:
        """(N,) in [0, 1]: 1 where the light or its shadow is whole, low at the edges of shadows, whose place depends
        on millimetres of the shape."""
        return np.asarray(1.0 - EDGE_DOUBT * 4.0 * self.share * (1.0 - self.share), np.float32)


@dataclass(frozen=True, eq=False)
class SearchSamples:
    """S samples of skin in one view, on which directions are compared."""

    geometry: PosedSurface
    index: IndexArray
    """(S,) points of the geometry."""
    design: Float32Array
    """(S, 9) luminance of the samples under each harmonic."""
    albedo: Float32Array
    """(S,) luminance of the albedo."""
    specular: Float32Array
    """(S,) specular albedo."""
    occlusion: Float32Array
    """(S,) ambient occlusion."""
    toward_viewer: Float32Array
    """(S, 3) unit vectors."""
    color: Float32Array
    """(S,) luminance observed."""
    weight: Float32Array
    """(S,) weights of the samples."""

    def strided(self, count: int) -> "SearchSamples":
        """At most `count` of the samples, evenly strided."""
        step = slice(None, None, max(1, -(-len(self.index) // count)))
        return SearchSamples(
            self.geometry, self.index[step], self.design[step], self.albedo[step], self.specular[step],
            self.occlusion[step], self.toward_viewer[step], self.color[step], self.weight[step],
        )  # fmt: skip

    def lobe(self, direction: Float32Array) -> Float32Array:
        """(S,) luminance under a directional light (3,) of unit colour without shadows."""
        diffuse, specular = directional_transport(
            self.geometry.normals[self.index], self.toward_viewer, self.specular[:, None], direction
        )
        return np.asarray(self.occlusion * (self.albedo * diffuse + specular), np.float32)


def directional_transport(
    normals: Float32Array,  # (N, 3)
    toward_viewer: Float32Array,  # (N, 3)
    specular: Float32Array,  # (N, 1)
    direction: Float32Array,  # (3,)
) -> tuple[Float32Array, Float32Array]:
    """Diffuse factor (N,) on albedo and colour, and specular factor (N,) on the colour, of a directional light."""
    toward = torch.from_numpy(direction)
    diffuse = np.maximum(normals @ direction, 0.0)
    mirrored = blinn_phong(
        torch.from_numpy(normals), torch.from_numpy(toward_viewer), toward, DEFAULT_SHININESS
    ).numpy()
    return np.asarray(diffuse, np.float32), np.asarray((mirrored * specular)[:, 0], np.float32)


def find_direction(
    samples: SearchSamples, settings: KeyLightSettings, starts: tuple[Float32Array, ...] = ()
) -> Float32Array | None:
    """(3,) direction towards the key light in view space; None where harmonics alone explain the samples.

    :param starts: (3,) directions found in other frames or earlier, tried before those over the sphere.
    """
    samples = samples.strided(SEARCH_SAMPLES)
    if len(samples.index) <= SH_COUNT:
        return None
    # Coarse comparison on coarse shadow maps: of known directions, then, unless one of them will do, over the sphere.
    few = samples.strided(COARSE_SAMPLES)
    without = _cost(few, None, settings)
    sphere = sphere_directions(CANDIDATES).astype(np.float32)
    candidates = np.array(starts, np.float32).reshape(-1, 3)
    costs = _costs(few, candidates, settings, COARSE_MAP_PX)
    if costs.min(initial=np.inf) > (1.0 - settings.least_gain) * without:
        candidates = np.concatenate([candidates, sphere[sphere[:, 2] > FARTHEST_BEHIND]])
        costs = _costs(few, candidates, settings, COARSE_MAP_PX)
    if costs.min() > (1.0 - COARSE_SHARE * settings.least_gain) * without:
        return None
    # The best few again on all samples and fine maps, then a pattern search at falling steps.
    without = _cost(samples, None, settings)
    candidates = candidates[np.argsort(costs)[:FINALISTS]]
    costs = _costs(samples, candidates, settings)
    best, cost = candidates[int(costs.argmin())], float(costs.min())
    for step in STEPS_DEG:
        ring = _ring(best, step, RING)
        costs = _costs(samples, ring, settings)
        if costs.min() < cost:
            best, cost = ring[int(costs.argmin())], float(costs.min())
    # Model comparison: the light must explain enough, and its shadows their part of that.
    unshadowed = _cost(samples, samples.lobe(best), settings)
    gain, by_shadows = without - cost, min(unshadowed, without) - cost
    if gain < settings.least_gain * without or by_shadows < settings.shadow_share * gain:
        return None
    return np.asarray(best, np.float32)


def agreed_direction(found: Sequence[Float32Array | None]) -> Float32Array | None:
    """(3,) direction that those found in at least half of the keyframes of a capture share; None where they differ."""
    known = [direction for direction in found if direction is not None]
    if len(known) < FEWEST_AGREEING or 2 * len(known) < len(found):
        return None
    mean = np.mean(known, 0)
    mean /= max(float(np.linalg.norm(mean)), SHORTEST)
    return np.asarray(mean, np.float32) if all(similar(direction, mean) for direction in known) else None


def similar(direction: Float32Array, other: Float32Array) -> bool:
    """Whether two unit vectors (3,) are within `AGREEMENT_DEG` of one another."""
    return bool(direction @ other > np.cos(np.radians(AGREEMENT_DEG)))


def explained_share(samples: SearchSamples, direction: Float32Array, settings: KeyLightSettings) -> float:
    """Share of the squared error of harmonics alone that a key light of a direction (3,) explains."""
    samples = samples.strided(SEARCH_SAMPLES)
    cost = float(_costs(samples, direction[None], settings)[0])
    return 1.0 - cost / max(_cost(samples, None, settings), SMALLEST_COST)


def _costs(
    samples: SearchSamples, directions: Float32Array, settings: KeyLightSettings, resolution: int = SHADOW_MAP_PX
) -> Float64Array:
    """(L,) robust squared errors with a key light from each of the directions (L, 3)."""
    shares = samples.geometry.lit_shares(directions, samples.index, resolution)
    return np.array(
        [
            _cost(samples, shares[:, number] * samples.lobe(direction), settings)
            for number, direction in enumerate(directions)
        ]
    )


def _cost(samples: SearchSamples, lobe: Float32Array | None, settings: KeyLightSettings) -> float:
    """Robust squared error of the best light: harmonics and, given its luminance `lobe` (S,), a key light."""
    design = samples.design if lobe is None else np.concatenate([samples.design, lobe[:, None]], 1)
    ridge = np.full(design.shape[1], settings.ridge * float((samples.weight * samples.albedo**2).sum()))
    ridge[0] *= AMBIENT_RIDGE
    robust = np.ones_like(samples.weight)
    cost = 0.0
    for _ in range(ITERATIONS):
        weighted = design * (samples.weight * robust)[:, None]
        solution = np.linalg.solve(weighted.T @ design + np.diag(ridge), weighted.T @ samples.color)
        if lobe is not None and solution[-1] < 0.0:
            return float("inf")
        squared = (samples.color - design @ solution) ** 2
        share = squared / (squared + settings.robust_scale**2)
        robust = (1.0 - share) ** 2
        cost = float((samples.weight * share).sum()) * settings.robust_scale**2
    return cost


def _ring(direction: Float32Array, radius_deg: float, count: int) -> Float32Array:
    """(count, 3) unit vectors at an angle from a direction (3,), evenly around it."""
    helper = np.array([1.0, 0.0, 0.0]) if abs(direction[0]) < 0.9 else np.array([0.0, 1.0, 0.0])
    across = np.cross(helper, direction)
    across /= np.linalg.norm(across)
    up = np.cross(direction, across)
    angle = 2.0 * np.pi * np.arange(count)[:, None] / count
    radius = np.radians(radius_deg)
    around = np.cos(angle) * across + np.sin(angle) * up
    return np.asarray(np.cos(radius) * direction + np.sin(radius) * around, np.float32)

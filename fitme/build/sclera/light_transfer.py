"""How much of any light reaches the white of the mean head's eyes past lids, brow and nose, by rays in all directions.

A fit knows light as spherical harmonics of order 2, too smooth to tell whether a brow hides a ceiling's lamp. The
coefficients are therefore not those of the transfer itself: they are fitted to what made lights leave on the eyes,
which halves their error.
"""

from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.fit.lighting.sclera import LIMBUS_GROWTH
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.reflection import SH_BAND_0, SH_COUNT
from fitme.render.shading import sh_basis
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

AMBIENT_SHARE_RANGE = (0.1, 0.9)
"""Share of a made light that comes from everywhere."""
FROM_ABOVE = 0.3
"""Mean of its gradient upwards over its mean; spread along each axis, too."""
LARGEST_LAMP_COUNT, LAMP_RAYS, LAMP_SPREAD = 2, 6, 0.15
"""Lamps and windows are bundles of rays, of this spread in radians."""
LAMP_REACH = ((-1.2, 1.2), (-0.3, 1.6), (0.2, 1.0))
"""Range of their directions across, up and to the front, before they are made unit vectors."""

IRIS_RADIUS_M = 0.0059
RELAXED_LIDS = 0.12
"""How far lids are down between blinks."""
GRID_M = 0.0005
"""Distance between the points at which the sclera is looked at."""
LID_MARGIN_M = 0.0012
"""Points nearer to a lid than this are its blurred edge."""
OFF_SURFACE_M, SHORTEST_RAY_M = 0.0002, 1e-5
"""How far off the eyeball rays start, and from where on they are stopped."""
DIRECTION_COUNT = 600
NEAR_M, BEHIND_M = 0.06, -0.03
"""What shades an eye lies less above or below it than the first, and no farther back than the second."""
LIGHT_COUNT = 6000
RIDGE = 1e-3
"""How strongly fitted coefficients are drawn to the transfer's own."""
LEAST_SHADING = 0.1
"""Errors count relative to the shading, but at least to this."""
LAMBERT = np.array([1.0] + 3 * [2.0 / 3.0] + 5 * [0.25])
"""(9,) irradiance over radiance by order, in units of pi (Ramamoorthi and Hanrahan 2001)."""
_FLIPPED = np.array([1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
"""What a mirror makes of the coefficients: those odd across change sign."""


@dataclass(frozen=True)
class MadeLight:
    """Light from everywhere and from lamps, together about 1."""

    ambient: Float64Array
    """(9,) as in `Light.sh`."""
    directions: Float64Array
    """(L, 3) unit vectors towards the rays of the lamps."""
    levels: Float64Array
    """(L,)."""


def made_light(g: np.random.Generator) -> MadeLight:
    """A room, the sky, a lamp or a window."""
    share = float(g.uniform(*AMBIENT_SHARE_RANGE))
    ambient = np.zeros(SH_COUNT)
    ambient[0] = share / SH_BAND_0
    ambient[1:4] = g.normal([FROM_ABOVE, 0.0, 0.0], FROM_ABOVE) * ambient[0] / np.sqrt(3.0)  # up, front, right
    lamps = int(g.integers(1, LARGEST_LAMP_COUNT + 1))
    middles = _unit(np.stack([g.uniform(low, high, lamps) for low, high in LAMP_REACH], -1))
    rays = _unit(np.repeat(middles, LAMP_RAYS, 0) + LAMP_SPREAD * g.standard_normal((lamps * LAMP_RAYS, 3)))
    brightness = g.uniform(0.3, 1.0, lamps)
    return MadeLight(ambient, rays, np.repeat((1.0 - share) * brightness / brightness.sum(), LAMP_RAYS) / LAMP_RAYS)


def sclera_transfer(model: MorphableModel) -> tuple[Float64Array, Float64Array]:
    """Coefficients (4, 9) and openness (4,) as `fitme.fit.lighting.sclera` holds them."""
    points, normals, part, obstacles = _sclera(model)
    directions = _sphere(DIRECTION_COUNT)
    reached = np.zeros((len(points), DIRECTION_COUNT), np.bool_)
    cast_rays(points, directions, *obstacles, reached)
    cosine = np.maximum(normals @ directions.T, 0.0)
    basis = sh_basis(torch.from_numpy(directions)).numpy()  # (D, 9)
    parts = [part == index for index in range(part.max() + 1)]
    lit = np.stack([(cosine * reached)[mine].mean(0) for mine in parts])  # (4, D) by a unit of directional light
    openness = lit.sum(1) / np.stack([cosine[mine].mean(0) for mine in parts]).sum(1)
    own = lit @ basis * 4.0 / DIRECTION_COUNT / LAMBERT

    draw = np.random.default_rng(0)
    lights, shading = np.zeros((LIGHT_COUNT, SH_COUNT)), np.zeros((LIGHT_COUNT, len(parts)))
    for row in range(LIGHT_COUNT):
        light = made_light(draw)
        nearest = np.argmax(light.directions @ directions.T, 1)
        lights[row] = light.ambient + np.pi * LAMBERT * (light.levels @ basis[nearest])
        shading[row] = own @ light.ambient + lit[:, nearest] @ light.levels
    fitted = np.stack([_fitted(lights, shading[:, index], own[index]) for index in range(len(parts))])
    # Left to right, parts mirror each other.
    return (fitted + fitted[::-1] * _FLIPPED) / 2.0, (openness + openness[::-1]) / 2.0


@relaxed_kernel
def cast_rays(
    points: Float64Array,  # (P, 3)
    directions: Float64Array,  # (D, 3)
    corners: Float64Array,  # (F, 3) first corners of triangles
    along: Float64Array,  # (F, 3) their edges to the second
    aside: Float64Array,  # (F, 3) and the third
    reached: BoolArray,  # (P, D)
) -> None:
    """Write whether the light of each direction reaches each point; Moeller and Trumbore, "Fast, minimum storage
    ray-triangle intersection", 1997."""
    for p in range(points.shape[0]):
        for d in range(directions.shape[0]):
            dx, dy, dz = directions[d, 0], directions[d, 1], directions[d, 2]
            hit = False
            for t in range(corners.shape[0]):
                px = dy * aside[t, 2] - dz * aside[t, 1]
                py = dz * aside[t, 0] - dx * aside[t, 2]
                pz = dx * aside[t, 1] - dy * aside[t, 0]
                determinant = along[t, 0] * px + along[t, 1] * py + along[t, 2] * pz
                if determinant == 0.0:
                    continue
                sx, sy, sz = points[p, 0] - corners[t, 0], points[p, 1] - corners[t, 1], points[p, 2] - corners[t, 2]
                u = (sx * px + sy * py + sz * pz) / determinant
                if u < 0.0 or u > 1.0:
                    continue
                qx = sy * along[t, 2] - sz * along[t, 1]
                qy = sz * along[t, 0] - sx * along[t, 2]
                qz = sx * along[t, 1] - sy * along[t, 0]
                v = (dx * qx + dy * qy + dz * qz) / determinant
                if v < 0.0 or u + v > 1.0:
                    continue
                if (aside[t, 0] * qx + aside[t, 1] * qy + aside[t, 2] * qz) / determinant > SHORTEST_RAY_M:
                    hit = True
                    break
            reached[p, d] = not hit


def _fitted(lights: Float64Array, shading: Float64Array, own: Float64Array) -> Float64Array:
    """(9,) coefficients that give lights' (N, 9) shading (N,), with the least relative error."""
    weight = 1.0 / np.maximum(shading, LEAST_SHADING)
    design = lights * weight[:, None]
    ridge = RIDGE * len(lights)
    normal_matrix = design.T @ design + ridge * np.eye(SH_COUNT)
    return np.asarray(np.linalg.solve(normal_matrix, design.T @ (shading * weight) + ridge * own))


def _sclera(
    model: MorphableModel,
) -> tuple[Float64Array, Float64Array, Int64Array, tuple[Float64Array, Float64Array, Float64Array]]:
    """Points (P, 3) of the sclera that a camera in front sees between the mean head's lids, normals (P, 3), the part
    (P,) that each belongs to, counted from the picture's left, and the triangles that may be in light's way."""
    expression = torch.zeros(1, EXPRESSION_COUNT)
    for side in ("Left", "Right"):
        expression[0, expression_index(f"eyeBlink{side}")] = RELAXED_LIDS
    vertices = model.vertices(torch.zeros(1, model.identity_count), expression)[0].double().numpy()
    triangles = model.triangles.numpy()[model.triangle_region.numpy() != Region.EYES]
    middle = vertices[triangles].mean(1)
    near = triangles[(np.abs(middle[:, 1]) < NEAR_M) & (middle[:, 2] > BEHIND_M)]
    first, second, third = (np.ascontiguousarray(vertices[near[:, corner]]) for corner in range(3))
    obstacles = (first, second - first, third - first)
    points, normals, middles = [], [], []
    for ball in model.eyeball_vertices:
        center, radius = _sphere_through(vertices[ball.numpy()])
        x, y = np.meshgrid(*[np.arange(-radius, radius, GRID_M)] * 2)
        on_ball = (np.hypot(x, y) < radius) & (np.hypot(x, y) > LIMBUS_GROWTH * IRIS_RADIUS_M)
        x, y = x[on_ball], y[on_ball]
        normal = np.stack([x, y, np.sqrt(radius**2 - x**2 - y**2)], -1) / radius
        point = center + normal * (radius + OFF_SURFACE_M)
        open_ = np.ones(len(point), np.bool_)
        for shift in (-LID_MARGIN_M, 0.0, LID_MARGIN_M):
            ahead = np.zeros((len(point), 1), np.bool_)
            cast_rays(point + [0.0, shift, 0.0], np.array([[0.0, 0.0, 1.0]]), *obstacles, ahead)
            open_ &= ahead[:, 0]
        points.append(point[open_])
        normals.append(normal[open_])
        middles.append(float(center[0]))
    edges = np.sort([*middles, float(np.mean(middles))])
    every = np.concatenate(points)
    return every, np.concatenate(normals), np.searchsorted(edges, every[:, 0]), obstacles


def _sphere_through(points: Float64Array) -> tuple[Float64Array, float]:
    """Centre (3,) and radius of the sphere that fits points (N, 3) best."""
    system = np.concatenate([2.0 * points, np.ones((len(points), 1))], 1)
    *center, rest = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return np.array(center), float(np.sqrt(rest + np.dot(center, center)))


def _sphere(count: int) -> Float64Array:
    """Evenly spread unit vectors (count, 3): a Fibonacci lattice."""
    index = np.arange(count) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = np.pi * (1.0 + 5.0**0.5) * index
    across = np.sqrt(1.0 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], -1)


def _unit(vectors: Float64Array) -> Float64Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))

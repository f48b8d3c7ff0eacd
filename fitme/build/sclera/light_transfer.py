"""Light transfer to the sclera of the mean head, past lids, brow and nose, by casting rays in all directions.

A fit's light has spherical harmonics up to order 2, too smooth to resolve whether a brow hides a ceiling's lamp. The
coefficients are therefore not the projection of the transfer itself: they are fitted to the shading of the sclera under
random lights, which halves their error.
"""

import numpy as np
import torch

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.fit.lighting.sclera import LIMBUS_GROWTH
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.reflection import SH_COUNT
from fitme.render.shading import sh_basis
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region
from fitme.synthetic.lights import ray_bundle_light

IRIS_RADIUS_M = 0.0059
RELAXED_LIDS = 0.12
"""Blink coefficient of open eyes."""
GRID_M = 0.0005
"""Distance between the sampled points of the sclera."""
LID_MARGIN_M = 0.0012
"""Points nearer to a lid than this are left out: images show them blurred with the lid."""
OFF_SURFACE_M, SHORTEST_RAY_M = 0.0002, 1e-5
"""Distance from the eyeball at which rays start, and smallest distance of an intersection along them."""
DIRECTION_COUNT = 600
"""Number of rays from each point."""
NEAR_M, BEHIND_M = 0.06, -0.03
"""Triangles that may block light: at most the first above or below the eyes, and no farther back than the second."""
LIGHT_COUNT = 6000
"""Number of random lights that coefficients are fitted to."""
RIDGE = 1e-3
"""Ridge that shrinks fitted coefficients towards the projection of the transfer."""
LEAST_SHADING = 0.1
"""Smallest shading to which errors are relative."""
LAMBERT = np.array([1.0] + 3 * [2.0 / 3.0] + 5 * [0.25])
"""(9,) irradiance over radiance by order, in units of pi (Ramamoorthi and Hanrahan 2001)."""
_FLIPPED = np.array([1.0, 1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0])
"""(9,) signs of the coefficients under the reflection x -> -x: functions odd in x change sign."""


def sclera_transfer(model: MorphableModel) -> tuple[Float64Array, Float64Array]:
    """`transfer` (4, 9) and `openness` (4,) of `fitme.fit.lighting.sclera.ScleraStatistics`; half a minute."""
    points, normals, part, obstacles = _sclera(model)
    # Cast rays from every point in all directions; average over the points of each part.
    directions = _sphere(DIRECTION_COUNT)
    reached = np.zeros((len(points), DIRECTION_COUNT), np.bool_)
    cast_rays(points, directions, *obstacles, reached)
    cosine = np.maximum(normals @ directions.T, 0.0)
    basis = sh_basis(torch.from_numpy(directions)).numpy()  # (D, 9)
    parts = [part == index for index in range(part.max() + 1)]
    lit = np.stack([(cosine * reached)[mine].mean(0) for mine in parts])  # (4, D) by a unit of directional light
    openness = lit.sum(1) / np.stack([cosine[mine].mean(0) for mine in parts]).sum(1)
    own = lit @ basis * 4.0 / DIRECTION_COUNT / LAMBERT

    # Shading of every part under random lights, and the coefficients that predict it best.
    draw = np.random.default_rng(0)
    lights, shading = np.zeros((LIGHT_COUNT, SH_COUNT)), np.zeros((LIGHT_COUNT, len(parts)))
    for row in range(LIGHT_COUNT):
        light = ray_bundle_light(draw)
        nearest = np.argmax(light.directions @ directions.T, 1)
        lights[row] = light.ambient + np.pi * LAMBERT * (light.levels @ basis[nearest])
        shading[row] = own @ light.ambient + lit[:, nearest] @ light.levels
    fitted = np.stack([_fitted(lights, shading[:, index], own[index]) for index in range(len(parts))])
    # Parts from left to right are mirror images of those from right to left.
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
    """Write whether light from each direction reaches each point, by the intersection test of Moeller and Trumbore,
    "Fast, minimum storage ray-triangle intersection", 1997."""
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
    """(9,) coefficients that predict the shading (N,) under lights (N, 9) with the smallest relative error (ridge
    regression towards `own` (9,))."""
    weight = 1.0 / np.maximum(shading, LEAST_SHADING)
    design = lights * weight[:, None]
    ridge = RIDGE * len(lights)
    normal_matrix = design.T @ design + ridge * np.eye(SH_COUNT)
    return np.asarray(np.linalg.solve(normal_matrix, design.T @ (shading * weight) + ridge * own))


def _sclera(
    model: MorphableModel,
) -> tuple[Float64Array, Float64Array, Int64Array, tuple[Float64Array, Float64Array, Float64Array]]:
    """Points (P, 3) of the sclera visible from the front between the mean head's lids, their normals (P, 3), the part
    (P,) of each, counted from the image's left, and the triangles that may block light: first corners and two edges."""
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
    """Centre (3,) and radius of the sphere through points (N, 3), by linear least squares."""
    system = np.concatenate([2.0 * points, np.ones((len(points), 1))], 1)
    *center, rest = np.linalg.lstsq(system, (points**2).sum(1), rcond=None)[0]
    return np.array(center), float(np.sqrt(rest + np.dot(center, center)))


def _sphere(count: int) -> Float64Array:
    """Unit vectors (count, 3) of a Fibonacci lattice: evenly spread over the sphere."""
    index = np.arange(count) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = np.pi * (1.0 + 5.0**0.5) * index
    across = np.sqrt(1.0 - z * z)
    return np.stack([across * np.cos(angle), across * np.sin(angle), z], -1)

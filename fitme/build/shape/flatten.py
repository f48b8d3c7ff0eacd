"""Injective flattening of a disc-like mesh onto a rectangle, then relaxed towards chosen sizes.

Start: Tutte's embedding (How to draw a graph, 1963), which cannot flip a triangle. Then the symmetric Dirichlet energy
(Smith & Schaefer, Bijective parameterization with free boundaries, 2015) is descended by L-BFGS preconditioned with the
mesh Laplacian (as in Zhu, Bridson & Kaufman, BCQN, 2018); the energy is infinite at a flip, so none can appear.
Boundary vertices slide along the sides of the rectangle; its four corners stay.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csc_matrix
from scipy.sparse.linalg import splu

from fitme.arrays import BoolArray, Float64Array, Int64Array

_HISTORY = 8
_ARMIJO = 1e-4
_MAX_HALVINGS = 40
_FLIP_MARGIN = 0.8
_ROUNDNESS = 4.0


@dataclass(frozen=True)
class Rectangle:
    """An axis-aligned piece of the UV square; v grows downwards."""

    left: float
    top: float
    right: float
    bottom: float

    def mirrored(self) -> "Rectangle":
        """The same rectangle reflected about u = 0.5."""
        return Rectangle(1.0 - self.right, self.top, 1.0 - self.left, self.bottom)


def boundary_loop(triangles: Int64Array) -> Int64Array:
    """Vertices (L,) of the only boundary loop of triangles (F, 3), in the direction of their winding."""
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    present = {(int(a), int(b)) for a, b in edges}
    following = {a: b for a, b in present if (b, a) not in present}
    start = next(iter(following))
    loop = [start]
    while following[loop[-1]] != start:
        loop.append(following[loop[-1]])
    if len(loop) != len(following):
        raise ValueError("the piece to flatten has several boundary loops; it must be a disc")
    return np.array(loop, np.int64)


def flatten(
    points: Float64Array,  # (V, 3)
    triangles: Int64Array,  # (F, 3), a disc; only its vertices are read
    scale: Float64Array,  # (F,) wanted length in UV of a unit length in space, up to a common factor
    corners: tuple[int, int, int, int],  # vertices at the rectangle's corners, in the order of the boundary loop
    corner_uv: Float64Array,  # (4, 2) where they go; sides must be axis-aligned
    iterations: int,
) -> Float64Array:
    """UV (V, 2) of the vertices that the triangles use (others are zero); no triangle is flipped."""
    used, local = np.unique(triangles, return_inverse=True)
    local = local.reshape(-1, 3)
    loop = boundary_loop(local)
    places = [int(np.searchsorted(used, c)) for c in corners]
    x = points[used]
    uv, free = _place_boundary(x, loop, places, corner_uv, _vertex_scale(local, scale, len(used)))
    uv = _tutte(uv, local, loop)
    uv = _relax(uv, free, x, local, scale, iterations)
    result = np.zeros((len(points), 2))
    result[used] = uv
    return result


def flatten_round(points: Float64Array, triangles: Int64Array, rectangle: Rectangle, iterations: int) -> Float64Array:
    """As `flatten`, into a superellipse that fills most of the rectangle; its strictly convex boundary suits any disc.

    The foremost boundary vertex goes to the left; boundary vertices keep their places.
    """
    used, local = np.unique(triangles, return_inverse=True)
    local = local.reshape(-1, 3)
    x = points[used]
    loop = boundary_loop(local)
    loop = np.roll(loop, -int(np.argmax(x[loop, 2])))
    steps = np.linalg.norm(np.diff(x[np.append(loop, loop[0])], axis=0), axis=1)
    angle = np.pi + 2.0 * np.pi * np.concatenate([[0.0], np.cumsum(steps)[:-1]]) / steps.sum()
    circle = np.stack([np.cos(angle), -np.sin(angle)], -1)
    circle /= (np.abs(circle) ** _ROUNDNESS).sum(1, keepdims=True) ** (1.0 / _ROUNDNESS)
    centre = np.array([rectangle.left + rectangle.right, rectangle.top + rectangle.bottom]) / 2.0
    half_size = np.array([rectangle.right - rectangle.left, rectangle.bottom - rectangle.top]) / 2.0
    uv = np.zeros((len(x), 2))
    uv[loop] = centre + half_size * circle
    free = np.ones((len(x), 2), bool)
    free[loop] = False
    uv = _relax(_tutte(uv, local, loop), free, x, local, np.ones(len(local)), iterations)
    result = np.zeros((len(points), 2))
    result[used] = uv
    return result


def _vertex_scale(triangles: Int64Array, scale: Float64Array, count: int) -> Float64Array:
    total, number = np.zeros(count), np.zeros(count)
    for k in range(3):
        np.add.at(total, triangles[:, k], scale)
        np.add.at(number, triangles[:, k], 1.0)
    return total / number


def _place_boundary(
    x: Float64Array, loop: Int64Array, corners: list[int], corner_uv: Float64Array, vertex_scale: Float64Array
) -> tuple[Float64Array, BoolArray]:
    loop = np.roll(loop, -int(np.flatnonzero(loop == corners[0])[0]))
    at = [int(np.flatnonzero(loop == c)[0]) for c in corners] + [len(loop)]
    if sorted(at) != at:
        raise ValueError("corners must follow the boundary loop")
    uv = np.zeros((len(x), 2))
    free = np.ones((len(x), 2), bool)
    for side in range(4):
        run = np.append(loop[at[side] : at[side + 1]], loop[at[side + 1] % len(loop)])
        lengths = np.linalg.norm(np.diff(x[run], axis=0), axis=1)
        lengths = lengths * (vertex_scale[run[1:]] + vertex_scale[run[:-1]])
        t = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])[:, None]
        a, b = corner_uv[side], corner_uv[(side + 1) % 4]
        uv[run] = a + t * (b - a)
        free[run, int(np.argmin(np.abs(b - a)))] = False
    free[corners] = False
    return uv, free


def _laplacian(triangles: Int64Array, weights: Float64Array, count: int) -> csc_matrix:
    """Graph Laplacian with a weight (F, 3) on each triangle's edges (k, k + 1)."""
    i = triangles.ravel()
    j = np.roll(triangles, -1, axis=1).ravel()
    w = weights.ravel()
    rows, columns = np.concatenate([i, j, i, j]), np.concatenate([j, i, i, j])
    values = np.concatenate([-w, -w, w, w])
    return coo_matrix((values, (rows, columns)), shape=(count, count)).tocsc()


def _tutte(uv: Float64Array, triangles: Int64Array, loop: Int64Array) -> Float64Array:
    inner = np.ones(len(uv), bool)
    inner[loop] = False
    laplacian = _laplacian(triangles, np.ones(triangles.shape), len(uv))
    uv = uv.copy()
    right = -laplacian[inner][:, ~inner] @ uv[~inner]
    uv[inner] = splu(laplacian[inner][:, inner].tocsc()).solve(np.ascontiguousarray(right))
    return uv


def _reference(
    x: Float64Array, triangles: Int64Array, scale: Float64Array, area: float
) -> tuple[Float64Array, Float64Array]:
    """Inverse edge matrices (F, 2, 2) of the triangles at the wanted size, and their areas (F,), summing to `area`."""
    e1 = x[triangles[:, 1]] - x[triangles[:, 0]]
    e2 = x[triangles[:, 2]] - x[triangles[:, 0]]
    length = np.linalg.norm(e1, axis=1)
    along = (e1 * e2).sum(1) / length
    across = np.sqrt(np.maximum((e2 * e2).sum(1) - along**2, (1e-2 * length) ** 2))
    areas = 0.5 * length * across * scale**2
    factor = scale * np.sqrt(area / areas.sum())
    edges = np.zeros((len(triangles), 2, 2))
    edges[:, 0, 0], edges[:, 0, 1], edges[:, 1, 1] = length * factor, along * factor, across * factor
    return np.asarray(np.linalg.inv(edges), np.float64), np.asarray(areas / areas.sum() * area, np.float64)


def _edges(uv: Float64Array, triangles: Int64Array) -> Float64Array:
    a = uv[triangles[:, 0]]
    return np.stack([uv[triangles[:, 1]] - a, uv[triangles[:, 2]] - a], -1)  # (F, 2, 2), columns are edges


def _energy(
    uv: Float64Array, triangles: Int64Array, inverse: Float64Array, areas: Float64Array, sign: float
) -> tuple[float, Float64Array]:
    jacobian = _edges(uv, triangles) @ inverse
    det = sign * np.linalg.det(jacobian)
    if det.min() <= 0.0:
        return np.inf, np.zeros_like(uv)
    squared = (jacobian**2).sum((1, 2))
    energy = float((areas * squared * (1.0 + 1.0 / det**2)).sum())
    cofactor = np.stack(
        [
            np.stack([jacobian[:, 1, 1], -jacobian[:, 1, 0]], -1),
            np.stack([-jacobian[:, 0, 1], jacobian[:, 0, 0]], -1),
        ],
        1,
    )
    per = 2.0 * jacobian * (1.0 + 1.0 / det**2)[:, None, None]
    per -= (2.0 * squared / det**3)[:, None, None] * sign * cofactor
    per = (areas[:, None, None] * per) @ inverse.transpose(0, 2, 1)  # (F, 2, 2) with respect to the edges
    gradient = np.zeros_like(uv)
    np.add.at(gradient, triangles[:, 1], per[:, :, 0])
    np.add.at(gradient, triangles[:, 2], per[:, :, 1])
    np.add.at(gradient, triangles[:, 0], -per.sum(2))
    return energy, gradient


def _largest_step(uv: Float64Array, direction: Float64Array, triangles: Int64Array) -> float:
    """The step at which the first triangle would lose its area (roots of a quadratic per triangle)."""
    e, d = _edges(uv, triangles), _edges(direction, triangles)
    a = np.linalg.det(d)
    b = e[:, 0, 0] * d[:, 1, 1] + d[:, 0, 0] * e[:, 1, 1] - e[:, 0, 1] * d[:, 1, 0] - d[:, 0, 1] * e[:, 1, 0]
    c = np.linalg.det(e)
    discriminant = b * b - 4.0 * a * c
    root = np.sqrt(np.maximum(discriminant, 0.0))
    q = -0.5 * (b + np.where(b >= 0.0, root, -root))
    with np.errstate(divide="ignore", invalid="ignore"):
        candidates = np.stack([q / a, c / q])
    good = np.isfinite(candidates) & (candidates > 0.0) & (discriminant >= 0.0)
    return float(np.where(good, candidates, np.inf).min())


def _relax(
    uv: Float64Array,
    free: BoolArray,
    x: Float64Array,
    triangles: Int64Array,
    scale: Float64Array,
    iterations: int,
) -> Float64Array:
    signed = 0.5 * np.linalg.det(_edges(uv, triangles))
    sign = float(np.sign(signed.sum()))
    inverse, areas = _reference(x, triangles, scale, float(abs(signed.sum())))
    gram = inverse @ inverse.transpose(0, 2, 1) * areas[:, None, None]
    # Stiffness of the reference triangles: minus the off-diagonal entries are the cotangent weights, made positive.
    w01 = gram[:, 0, 0] + gram[:, 0, 1]
    w20 = gram[:, 1, 1] + gram[:, 0, 1]
    w12 = -gram[:, 0, 1]
    weights = np.maximum(np.stack([w01, w12, w20], 1), 0.05)
    laplacian = _laplacian(triangles, weights, len(uv))
    solvers = []
    for axis in range(2):
        index = np.flatnonzero(free[:, axis])
        solvers.append((index, splu(laplacian[index][:, index].tocsc())))

    def precondition(g: Float64Array) -> Float64Array:
        out = np.zeros_like(g)
        for axis, (index, solver) in enumerate(solvers):
            out[index, axis] = solver.solve(g[index, axis])
        return out

    energy, gradient = _energy(uv, triangles, inverse, areas, sign)
    if not np.isfinite(energy):
        raise ValueError("the first embedding has a flipped triangle: the boundary sides are too coarse for this mesh")
    gradient *= free
    pairs: deque[tuple[Float64Array, Float64Array, float]] = deque(maxlen=_HISTORY)
    for _ in range(iterations):
        direction = -_two_loop(gradient, pairs, precondition)
        slope = float((direction * gradient).sum())
        if slope >= 0.0:
            pairs.clear()
            direction = -precondition(gradient)
            slope = float((direction * gradient).sum())
        step = min(1.0, _FLIP_MARGIN * _largest_step(uv, direction, triangles))
        for _halving in range(_MAX_HALVINGS):
            tried = uv + step * direction
            new_energy, new_gradient = _energy(tried, triangles, inverse, areas, sign)
            if new_energy <= energy + _ARMIJO * step * slope:
                break
            step *= 0.5
        else:
            break
        new_gradient *= free
        s, y = tried - uv, new_gradient - gradient
        curvature = float((s * y).sum())
        if curvature > 0.0:
            pairs.append((s, y, 1.0 / curvature))
        uv, energy, gradient = tried, new_energy, new_gradient
    return uv


def _two_loop(
    gradient: Float64Array, pairs: "deque[tuple[Float64Array, Float64Array, float]]", precondition: "Preconditioner"
) -> Float64Array:
    q = gradient.copy()
    alphas = []
    for s, y, rho in reversed(pairs):
        alpha = rho * float((s * q).sum())
        q -= alpha * y
        alphas.append(alpha)
    q = precondition(q)
    for (s, y, rho), alpha in zip(pairs, reversed(alphas), strict=True):
        q += (alpha - rho * float((y * q).sum())) * s
    return q


Preconditioner = Callable[[Float64Array], Float64Array]

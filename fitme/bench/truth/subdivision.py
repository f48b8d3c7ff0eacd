"""Loop's subdivision of a triangle mesh (Loop, "Smooth Subdivision Surfaces Based on Triangles", 1987), with Warren's
weights: every triangle becomes four, and the new vertices are linear in the old ones."""

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_matrix, csr_matrix, diags, vstack

from fitme.arrays import BoolArray, Float64Array, Int64Array

CHILDREN = 4
"""Number of triangles in place of one."""
_NEAR, _FAR = 3 / 8, 1 / 8
"""Weights of an edge's new vertex: of its ends, and of the vertices opposite to it."""
_BORDER_OWN, _BORDER_NEXT = 3 / 4, 1 / 8
"""Weights of an old vertex of an open border: its own, and that of its neighbours along the border."""


@dataclass(frozen=True, eq=False)
class Subdivision:
    """Mesh with four triangles in place of each: child `k` of triangle `f` is number `k * F + f`."""

    matrix: csr_matrix
    """(V + E, V) new vertices from old ones: first the old vertices, then one of each edge; rows sum to one."""
    triangles: Int64Array
    """(4 F, 3), as the old ones oriented."""


@dataclass(frozen=True, eq=False)
class _Edges:
    ends: Int64Array
    """(E, 2) vertices, the smaller first."""
    of_triangle: Int64Array
    """(F, 3) edges from corner 0 to 1, 1 to 2 and 2 to 0."""
    inner: BoolArray
    """(E,) edges of exactly two triangles."""


def loop_subdivision(triangles: Int64Array, kept: BoolArray) -> Subdivision:
    """Subdivision of triangles (F, 3) over V vertices; those without triangles stay.

    :param kept: (V,) vertices that stay where they are, with straight edges between them, as if cut out of the mesh.
    """
    count = len(kept)
    edges = _edges(triangles)
    return Subdivision(
        vstack([_old_vertices(edges, kept), _new_vertices(triangles, edges, kept)]).tocsr(),
        _quartered(triangles, edges.of_triangle + count),
    )


def split_in_middles(points: Float64Array, triangles: Int64Array) -> tuple[Float64Array, Int64Array]:
    """Points (N + E, C) with the middles of all edges behind them, and triangles (4 F, 3) in the order of
    `loop_subdivision`.

    :param points: (N, C) texture coordinates.
    :param triangles: (F, 3) indices into them.
    """
    edges = _edges(triangles)
    middles = points[edges.ends].mean(1)
    return np.concatenate([points, middles]), _quartered(triangles, edges.of_triangle + len(points))


def _edges(triangles: Int64Array) -> _Edges:
    directed = triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    ends, index, times = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True, return_counts=True)
    return _Edges(ends, index.reshape(-1, 3), times == 2)


def _quartered(triangles: Int64Array, middle: Int64Array) -> Int64Array:
    """Triangles (4 F, 3): those at the three corners, then those in the middle, of the edges' vertices (F, 3)."""
    (a, b, c), (ab, bc, ca) = triangles.T, middle.T
    children = ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))
    return np.concatenate([np.stack(child, 1) for child in children])


def _new_vertices(triangles: Int64Array, edges: _Edges, kept: BoolArray) -> csr_matrix:
    """(E, V) weights of the edges' vertices; in the middle of an edge of an open border, or between kept vertices."""
    number = np.arange(len(edges.ends))
    smooth = edges.inner & ~kept[edges.ends].all(1)
    of_end = np.where(smooth, _NEAR, 0.5)
    opposite = smooth[edges.of_triangle]
    rows = np.concatenate([number, number, edges.of_triangle[opposite]])
    columns = np.concatenate([edges.ends[:, 0], edges.ends[:, 1], triangles[:, [2, 0, 1]][opposite]])
    weights = np.concatenate([of_end, of_end, np.full(int(opposite.sum()), _FAR)])
    return coo_matrix((weights, (rows, columns)), shape=(len(number), len(kept))).tocsr()


def _old_vertices(edges: _Edges, kept: BoolArray) -> csr_matrix:
    """(V, V) weights of the old vertices: those of an open border move along it alone, kept ones not at all."""
    count = len(kept)
    every, border = _neighbours(edges.ends, count), _neighbours(edges.ends[~edges.inner], count)
    degree, border_degree = (np.asarray(graph.sum(1)).ravel() for graph in (every, border))
    # Warren's weight of each neighbour inside; where borders cross, vertices stay.
    of_neighbour = np.where(degree == 3, 3 / 16, 3 / (8 * np.maximum(degree, 1)))
    inside, along = (border_degree == 0) & (degree > 0) & ~kept, (border_degree == 2) & ~kept
    own = np.select([inside, along], [1.0 - degree * of_neighbour, np.full(count, _BORDER_OWN)], 1.0)
    weights = diags(own) + diags(np.where(inside, of_neighbour, 0.0)) @ every
    return (weights + diags(np.where(along, _BORDER_NEXT, 0.0)) @ border).tocsr()


def _neighbours(ends: Int64Array, count: int) -> csr_matrix:
    """(V, V) ones between the ends of edges (E, 2)."""
    rows, columns = np.concatenate([ends, ends[:, ::-1]]).T
    return coo_matrix((np.ones(len(rows)), (rows, columns)), shape=(count, count)).tocsr()

"""Refinement of the head's coarse triangles, so that outlines of scalp, ears, jaw and neck are round.

Edges longer than a limit are split; a triangle becomes two, three or four by the number of its split edges, so that no
crack opens. The new vertices follow the interpolating butterfly scheme (Dyn, Levin and Gregory, "A Butterfly
Subdivision Scheme for Surface Interpolation with Tension Control", ACM Transactions on Graphics 1990): linear in the
old ones, which stay where they are.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

LONGEST_EDGE_M = {Region.SKIN: 0.0075, Region.SCALP: 0.008, Region.NECK: 0.011, Region.EARS: 0.003}
"""Longest edge on the mean head that is not split, by region; other regions stay as they are."""
MIDDLE, OPPOSITE, WING = 0.5, 0.125, -0.0625
"""Butterfly weights of an edge's ends, of the two vertices opposite, and of the four beyond these."""

Edge = tuple[int, int]


@dataclass(frozen=True, eq=False)
class Refinement:
    """Triangles in place of coarse ones."""

    replaced: BoolArray
    """(F,) triangles of the model that are replaced."""
    matrix: Float64Array
    """(N, V) vertices of the refinement from the model's."""
    triangles: Int64Array
    """(G, 3)."""
    uv: Float64Array
    """(T, 2)."""
    uv_triangles: Int64Array
    """(G, 3) into `uv`."""


def refine(model: MorphableModel) -> Refinement:
    """Refinement of a model's coarse triangles."""
    triangles, uv_triangles = (part.numpy().astype(np.int64) for part in (model.triangles, model.uv_triangles))
    opposite = _opposite(triangles)
    split = _long_edges(model, triangles, opposite)
    replaced = np.array([any(_edge(t[k], t[k - 1]) in split for k in range(3)) for t in triangles.tolist()])
    # New numbers: first the old vertices that replaced triangles use, then one for each split edge.
    used = np.unique(triangles[replaced])
    number = {int(vertex): index for index, vertex in enumerate(used)}
    middles = {edge: len(used) + index for index, edge in enumerate(sorted(split))}
    matrix = np.zeros((len(used) + len(middles), model.vertex_count))
    matrix[np.arange(len(used)), used] = 1.0
    for edge, row in middles.items():
        for vertex, weight in _butterfly(edge, opposite):
            matrix[row, vertex] += weight
    corners, places = [], []
    uv = model.uv.double().numpy()
    for face in np.flatnonzero(replaced).tolist():
        ring, flat = _split_ring(triangles[face].tolist(), uv[uv_triangles[face]], split)
        for piece in _pieces([isinstance(vertex, tuple) for vertex in ring]):
            vertices = [ring[k] for k in piece]
            corners.append([middles[v] if isinstance(v, tuple) else number[v] for v in vertices])
            places.append([flat[k] for k in piece])
    unique, index = np.unique(np.round(np.array(places).reshape(-1, 2), 9), axis=0, return_inverse=True)
    return Refinement(replaced, matrix, np.array(corners), unique, index.reshape(-1, 3))


def _edge(a: int, b: int) -> Edge:
    return (a, b) if a < b else (b, a)


def _opposite(triangles: Int64Array) -> dict[Edge, list[int]]:
    """Vertices opposite to each edge, of its one or two triangles."""
    found: dict[Edge, list[int]] = {}
    for t in triangles.tolist():
        for k in range(3):
            found.setdefault(_edge(t[k], t[k - 1]), []).append(t[k - 2])
    return found


def _long_edges(model: MorphableModel, triangles: Int64Array, opposite: dict[Edge, list[int]]) -> set[Edge]:
    """Edges to split: long ones inside the regions, none of an open border."""
    mean, region = model.mean.double().numpy(), model.triangle_region.numpy()
    found = set()
    for face, t in enumerate(triangles.tolist()):
        longest = LONGEST_EDGE_M.get(Region(int(region[face])))
        if longest is None:
            continue
        for k in range(3):
            edge = _edge(t[k], t[k - 1])
            if len(opposite[edge]) == 2 and np.linalg.norm(mean[edge[0]] - mean[edge[1]]) > longest:
                found.add(edge)
    return found


def _butterfly(edge: Edge, opposite: dict[Edge, list[int]]) -> list[tuple[int, float]]:
    """Vertices and weights of a split edge's new vertex: its middle where the butterfly meets an open border."""
    a, b = edge
    weights = [(a, MIDDLE), (b, MIDDLE)]
    wings = []
    for c in opposite[edge]:
        for end, other in ((a, b), (b, a)):
            beyond = [vertex for vertex in opposite[_edge(end, c)] if vertex != other]
            if len(beyond) != 1:
                return weights
            wings.append((beyond[0], WING))
    return weights + [(c, OPPOSITE) for c in opposite[edge]] + wings


def _split_ring(t: list[int], uv: Float64Array, split: set[Edge]) -> tuple[list[int | Edge], list[Float64Array]]:
    """Corners and split edges of a triangle in order, with their texture coordinates."""
    ring: list[int | Edge] = []
    flat = []
    for k in range(3):
        following = (k + 1) % 3
        ring.append(t[k])
        flat.append(uv[k])
        edge = _edge(t[k], t[following])
        if edge in split:
            ring.append(edge)
            flat.append(0.5 * (uv[k] + uv[following]))
    return ring, flat


def _pieces(is_middle: list[bool]) -> list[tuple[int, int, int]]:
    """Triangles of a ring of three corners and one to three middles of edges, by places in the ring."""
    count = len(is_middle)
    middles = [k for k in range(count) if is_middle[k]]
    if len(middles) == 3:
        a, b, c = middles
        return [(a, b, c), ((a - 1) % count, a, c), ((b - 1) % count, b, a), ((c - 1) % count, c, b)]
    if len(middles) == 1:
        m = middles[0]
        across = (m + 2) % count
        return [(m, (m + 1) % count, across), (m, across, (m - 1) % count)]
    # Two middles: the corner between them is cut off, the rest is a quadrilateral.
    first, second = middles if (middles[1] - middles[0]) % count == 2 else middles[::-1]
    corner = (first + 1) % count
    after, before = (second + 1) % count, (first - 1) % count
    return [(first, corner, second), (first, second, after), (first, after, before)]

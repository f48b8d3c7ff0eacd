"""Linear binding of a part's vertices to those of the head: `part = B head + offset`, B sparse.

A part so bound follows identity and expression like the head itself: its morphs are `B` times the head's.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Int32Array, RealArray
from fitme.render.cpu.kernel import relaxed_kernel


@dataclass(frozen=True, eq=False)
class Binding:
    """Sparse matrix (N, V) by compressed rows, and offsets."""

    starts: Int32Array
    """(N + 1,) entries of row n are `starts[n]` to `starts[n + 1]`."""
    vertices: Int32Array
    """(E,) head vertex of each entry."""
    weights: Float32Array
    """(E,)."""
    offset: Float32Array
    """(N, 3) metres, model frame: the same for every person and expression."""

    def __len__(self) -> int:
        """N."""
        return len(self.starts) - 1

    @property
    def is_copy(self) -> BoolArray:
        """(N,) whether a vertex is one of the head's."""
        single = np.diff(self.starts) == 1
        whole = np.zeros(len(self), bool)
        whole[single] = self.weights[self.starts[:-1][single]] == 1.0
        return np.asarray(whole & (self.offset == 0.0).all(1))

    @property
    def first_vertex(self) -> Int32Array:
        """(N,) the head's vertex of each row's first entry; of the last one for rows without entries."""
        return np.asarray(self.vertices[np.minimum(self.starts[:-1], len(self.vertices) - 1)])

    def apply(self, head: Float32Array) -> Float32Array:
        """Vertices (N, 3) of the part on head vertices (V, 3), metres."""
        bound = self.offset.copy()
        _add_products(self.starts, self.vertices, self.weights, np.ascontiguousarray(head, np.float32), bound)
        return bound

    def displacements(self, head: Float32Array) -> Float32Array:
        """Displacements (N, 3) of the part's vertices by displacements (V, 3) of the head's."""
        bound = np.zeros_like(self.offset)
        _add_products(self.starts, self.vertices, self.weights, np.ascontiguousarray(head, np.float32), bound)
        return bound


def composed(binding: Binding, anchors: Binding, head_vertices: int) -> Binding:
    """Binding to the head's V vertices of one to those and A anchors after them.

    :param anchors: the anchors' binding to the V vertices; without offsets.
    """
    rows = np.repeat(np.arange(len(binding)), np.diff(binding.starts))
    anchored = binding.vertices >= head_vertices
    if not anchored.any():
        return binding
    # What hangs on anchors as a dense product over the few vertices that anchors use.
    of_anchors = np.zeros((len(binding), len(anchors)))
    np.add.at(of_anchors, (rows[anchored], binding.vertices[anchored] - head_vertices), binding.weights[anchored])
    used, column = np.unique(anchors.vertices, return_inverse=True)
    dense = np.zeros((len(anchors), len(used)))
    dense[np.repeat(np.arange(len(anchors)), np.diff(anchors.starts)), column] = anchors.weights
    product = of_anchors @ dense
    at, columns = np.nonzero(product)
    all_rows = np.concatenate([rows[~anchored], at])
    order = np.argsort(all_rows, kind="stable")
    vertices = np.concatenate([binding.vertices[~anchored], used[columns]])[order]
    weights = np.concatenate([binding.weights[~anchored], product[at, columns]])[order]
    starts = np.searchsorted(all_rows[order], np.arange(len(binding) + 1))
    return Binding(starts.astype(np.int32), vertices.astype(np.int32), weights.astype(np.float32), binding.offset)


def dense_binding(matrix: RealArray, offset: RealArray) -> Binding:
    """Binding of a dense matrix (N, V), zeros left out, and offsets (N, 3)."""
    rows, vertices = np.nonzero(matrix)
    starts = np.searchsorted(rows, np.arange(len(matrix) + 1))
    return Binding(
        starts.astype(np.int32),
        vertices.astype(np.int32),
        matrix[rows, vertices].astype(np.float32),
        offset.astype(np.float32),
    )


@relaxed_kernel
def _add_products(
    starts: Int32Array, vertices: Int32Array, weights: Float32Array, head: Float32Array, bound: Float32Array
) -> None:
    """Add B times `head` (V, 3) to `bound` (N, 3)."""
    for row in range(len(starts) - 1):
        for entry in range(starts[row], starts[row + 1]):
            vertex, weight = vertices[entry], weights[entry]
            bound[row, 0] += weight * head[vertex, 0]
            bound[row, 1] += weight * head[vertex, 1]
            bound[row, 2] += weight * head[vertex, 2]

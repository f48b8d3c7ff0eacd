"""Edge adjacency of a mesh, for the silhouette test."""

import numpy as np
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from fitme.arrays import Int32Array

NO_VERTEX = -1
"""Opposite vertex of an edge that not exactly two triangles share: always a silhouette."""

_cache: WeakTensorKeyDictionary = WeakTensorKeyDictionary()


def opposite_vertices(triangles: Int32Array) -> Int32Array:
    """Opposite vertex of each edge of each triangle: the far corner of the triangle on the edge's other side.

    :param triangles: (F, 3) vertex indices.
    :returns: (F, 3) int32; column i belongs to the edge opposite to corner i; `NO_VERTEX` at borders and where more
        than two triangles meet.
    """
    # Key each half-edge by its sorted ends: half-edges of one edge then have one key.
    corners = triangles.astype(np.int64)
    starts = corners[:, [1, 2, 0]].reshape(-1)
    ends = corners[:, [2, 0, 1]].reshape(-1)
    far = corners.reshape(-1)
    keys = np.minimum(starts, ends) * (int(corners.max(initial=0)) + 1) + np.maximum(starts, ends)
    # Runs of equal keys; exactly two half-edges make a pair of neighbours.
    order = np.argsort(keys, kind="stable")
    sorted_keys = keys[order]
    first = np.flatnonzero(np.r_[True, sorted_keys[1:] != sorted_keys[:-1]])
    count = np.diff(np.r_[first, len(order)])
    pairs = first[count == 2]
    opposite = np.full(len(far), NO_VERTEX, dtype=np.int32)
    opposite[order[pairs]] = far[order[pairs + 1]]
    opposite[order[pairs + 1]] = far[order[pairs]]
    return opposite.reshape(-1, 3)


def cached_opposite_vertices(triangles: Tensor) -> Int32Array:
    """`opposite_vertices` of a CPU int32 tensor (F, 3), computed once for as long as the tensor lives unchanged."""
    version = triangles._version
    known = _cache.get(triangles)  # type: ignore[no-untyped-call]
    if known is not None and known[0] == version:
        found: Int32Array = known[1]
        return found
    opposite = opposite_vertices(triangles.numpy())
    _cache[triangles] = (version, opposite)
    return opposite

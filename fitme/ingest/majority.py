"""The person whom most images show, from identity embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array


@dataclass(frozen=True)
class Majority:
    """The largest group of embeddings that one person could have."""

    reference: Float32Array
    """(D,) the group's medoid: the embedding with most others within the radius."""
    members: frozenset[int]
    """Indices of the group."""
    runner_up: int
    """Number of embeddings in the next largest group."""

    @property
    def draw(self) -> bool:
        """Whether another group is as large."""
        return self.runner_up == len(self.members)


def majority(embeddings: Sequence[Float32Array], radius: float) -> Majority:
    """The majority among at least one embedding (D,); `radius` is the largest L2 distance within a group.

    Of groups of one size the one with the earliest member wins.
    """
    points = np.stack(embeddings).astype(np.float64)  # (N, D)
    squares = (points**2).sum(1)
    squared = squares[:, None] + squares - 2.0 * points @ points.T  # (N, N)
    distances = np.sqrt(np.maximum(squared, 0.0))
    near = distances <= radius
    np.fill_diagonal(near, True)
    medoid, members = _largest_group(near, distances)
    # What lies outside forms groups of its own.
    rest = ~members
    runner_up = int(_largest_group(near & rest & rest[:, None], distances)[1].sum())
    return Majority(embeddings[medoid], frozenset(np.flatnonzero(members).tolist()), runner_up)


def _largest_group(near: BoolArray, distances: Float64Array) -> tuple[int, BoolArray]:
    """Medoid and members (N,) of the largest group; `near` (N, N) is the relation, empty rows take no part."""
    counts = near.sum(1)
    largest = np.flatnonzero(counts == counts.max())
    # Of equally large groups the one with the earliest member, and in it the most central medoid.
    first = near[largest].argmax(1)
    largest = largest[first == first.min()]
    spread = np.where(near[largest], distances[largest], 0.0).sum(1)
    medoid = int(largest[spread.argmin()])
    return medoid, near[medoid]

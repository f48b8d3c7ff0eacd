"""Majority vote on the person of a set of images, by identity embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array


@dataclass(frozen=True)
class Majority:
    """Largest group of embeddings within the distance of one person."""

    reference: Float32Array
    """(D,) medoid of the group: the embedding with most others within the radius."""
    members: frozenset[int]
    """Indices of the group."""
    runner_up: int
    """Number of embeddings in the next largest group."""

    @property
    def draw(self) -> bool:
        """Whether another group is as large."""
        return self.runner_up == len(self.members)


def majority(embeddings: Sequence[Float32Array], radius: float) -> Majority:
    """Majority among at least one embedding (D,); `radius` is the largest L2 distance from a group's medoid.

    Of groups of one size the one with the earliest member wins.
    """
    points = np.stack(embeddings).astype(np.float64)  # (N, D)
    squares = (points**2).sum(1)
    squared = squares[:, None] + squares - 2.0 * points @ points.T  # (N, N)
    distances = np.sqrt(np.maximum(squared, 0.0))
    near = distances <= radius
    np.fill_diagonal(near, True)
    medoid, members = _largest_group(near, distances)
    # The runner-up is the largest group of all others.
    others = ~members
    runner_up = int(_largest_group(near & others & others[:, None], distances)[1].sum())
    return Majority(embeddings[medoid], frozenset(np.flatnonzero(members).tolist()), runner_up)


def _largest_group(near: BoolArray, distances: Float64Array) -> tuple[int, BoolArray]:
    """Medoid and members (N,) of the largest group; `near` (N, N) has empty rows for excluded embeddings."""
    counts = near.sum(1)
    largest = np.flatnonzero(counts == counts.max())
    # Of equally large groups the one with the earliest member, and in it the most central medoid.
    first = near[largest].argmax(1)
    largest = largest[first == first.min()]
    spread = np.where(near[largest], distances[largest], 0.0).sum(1)
    medoid = int(largest[spread.argmin()])
    return medoid, near[medoid]

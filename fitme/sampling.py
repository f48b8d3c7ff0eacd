"""Farthest-point sampling: a few of many items, as different from one another as a greedy choice makes them."""

from collections.abc import Callable

import numpy as np

from fitme.arrays import Float64Array


def farthest_points(
    distances_from: Callable[[int], Float64Array],  # index of an item -> (N,) its distances to all items
    start: int | Float64Array,
    count: int,
) -> list[int]:
    """Indices of at most `count` of N different items, each next one the item farthest from all that precede it.

    Greedy farthest-point sampling (Gonzalez, Theoretical Computer Science 1985): a 2-approximation of the k-centre
    problem. Of several items at the largest distance, the one with the smallest index is chosen.

    :param start: index of the first item; or (N,) distances of the items to the nearest item of an earlier choice,
        infinite where there is none, and the first item is the one at the largest of them.
    """
    chosen = [start] if isinstance(start, int) else []
    nearest = np.array(distances_from(start) if isinstance(start, int) else start, np.float64)  # (N,)
    # An item at distance 0 from a chosen one, its duplicate, may still be chosen; a chosen item may not.
    nearest[chosen] = -np.inf
    while len(chosen) < min(count, len(nearest)):
        chosen.append(int(nearest.argmax()))
        nearest = np.minimum(nearest, distances_from(chosen[-1]))
        nearest[chosen[-1]] = -np.inf
    return chosen

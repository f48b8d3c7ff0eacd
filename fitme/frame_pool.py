"""Threads of a fit that work on several frames at a time, where frames are independent of each other.

Kernels, tensors and arrays are computed without the interpreter's lock, so that threads use the cores; results do not
depend on their number.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Final, TypeVar

import torch

R = TypeVar("R")

MOST_THREADS = 8
"""Chosen by default: few fits have more frames at a time, and what is not computed by frames does not get faster."""


class FramePool:
    """Runs a function on frames, in threads of its own if there are to be several."""

    def __init__(self, threads: int | None = None) -> None:
        """
        :param threads: frames that are worked on at a time; by default as many as torch has threads (the cores of this
            machine, unless `OMP_NUM_THREADS` or `torch.set_num_threads` says otherwise), and `MOST_THREADS` at most.
        """
        self.threads = min(torch.get_num_threads(), MOST_THREADS) if threads is None else threads
        self._executor = ThreadPoolExecutor(self.threads, "fit-frame") if self.threads > 1 else None

    def map(self, function: Callable[..., R], *columns: Iterable[object]) -> list[R]:
        """What a function returns for each row of columns of the same length, in their order.

        Columns that are iterators are consumed by the calling thread while earlier rows are worked on.

        :raises Exception: what the function raised first.
        """
        rows = zip(*columns, strict=True)
        # A single row is computed here: functions of several rows may ask for further rows themselves.
        first = list(islice(rows, 2))
        if self._executor is None or len(first) < 2:
            return [function(*row) for row in chain(first, rows)]
        return [future.result() for future in [self._executor.submit(function, *row) for row in chain(first, rows)]]

    def close(self) -> None:
        """End the threads; nothing can be run afterwards."""
        if self._executor is not None:
            self._executor.shutdown()


ONE_BY_ONE: Final = FramePool(1)
"""Works on frames one after the other, in the calling thread."""

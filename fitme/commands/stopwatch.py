"""What the time of a command is spent on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Stopwatch:
    """Wall time since the process started, by what it was spent on."""

    def __init__(self) -> None:
        before = time.time() - psutil.Process().create_time()
        self._start = time.perf_counter() - before
        self.seconds: dict[str, float] = {"import": before}

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """Add the time spent inside to `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def note(self, name: str) -> None:
        """Remember the time that has passed until now; the first counts."""
        self.seconds.setdefault(name, self.total)

    @property
    def total(self) -> float:
        """Seconds since the process started."""
        return time.perf_counter() - self._start

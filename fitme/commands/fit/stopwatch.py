"""Stopwatch of a command's activities."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Stopwatch:
    """Wall time since the process started, by activity."""

    def __init__(self) -> None:
        before = _age_s()
        self._start = time.perf_counter() - before
        self.seconds: dict[str, float] = {"launch": before}

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        """Context whose duration is added to the activity `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    def note(self, name: str) -> None:
        """Store the time since the process started under `name`, unless it is stored already."""
        self.seconds.setdefault(name, self.total)

    @property
    def total(self) -> float:
        """Seconds since the process started."""
        return time.perf_counter() - self._start


def _age_s() -> float:
    """Seconds since this process started."""
    started = psutil.Process().create_time()
    if hasattr(time, "CLOCK_BOOTTIME"):
        # On Linux relative to the start of the machine, since `boot_time` is rounded to a second.
        return time.clock_gettime(time.CLOCK_BOOTTIME) - (started - psutil.boot_time())
    return time.time() - started

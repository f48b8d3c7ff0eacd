"""What the time of a command is spent on."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil


class Stopwatch:
    """Wall time since the process started, by what it was spent on."""

    def __init__(self) -> None:
        before = _age_s()
        self._start = time.perf_counter() - before
        self.seconds: dict[str, float] = {"launch": before}

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


def _age_s() -> float:
    """Seconds since this process started."""
    started = psutil.Process().create_time()
    if hasattr(time, "CLOCK_BOOTTIME"):
        # Linux knows it by the clock that counts from the start of the machine, and that start only to a full second.
        return time.clock_gettime(time.CLOCK_BOOTTIME) - (started - psutil.boot_time())
    return time.time() - started

"""Lag of the event loop: how late it runs what was due."""

import asyncio
import time
from collections import deque
from typing import Final

PERIOD_S: Final = 0.02
WINDOW_S: Final = 10.0
"""How far back `worst_s` and `percentile_s` look."""


class LoopMonitor:
    """Measures the event loop's lag while `run` runs."""

    def __init__(self) -> None:
        self._lags: deque[float] = deque(maxlen=round(WINDOW_S / PERIOD_S))

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due_s = time.monotonic() + PERIOD_S
            await asyncio.sleep(PERIOD_S)
            self._lags.append(max(0.0, time.monotonic() - due_s))

    @property
    def worst_s(self) -> float:
        """Longest lag of the last `WINDOW_S`, seconds."""
        return max(self._lags, default=0.0)

    def percentile_s(self, share: float) -> float:
        """Lag that `share` (0 to 1) of the measurements of the last `WINDOW_S` stay below, seconds."""
        ordered = sorted(self._lags)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0

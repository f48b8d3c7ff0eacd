"""Work that a server repeats as long as it runs."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Never

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PeriodicWork:
    """A coroutine function, and the pause from one call of it to the next."""

    period_s: float
    run: Callable[[], Awaitable[None]]


async def repeat(works: Sequence[PeriodicWork]) -> Never:
    """Call each of `works` whenever its period is over, one after the other; the first time after one period.

    What one of them raises is logged, and keeps neither the others nor its next call from running.
    """
    due_s = [time.monotonic() + work.period_s for work in works]
    while True:
        await asyncio.sleep(max(0.0, min(due_s) - time.monotonic()))
        for index, work in enumerate(works):
            if time.monotonic() < due_s[index]:
                continue
            due_s[index] = time.monotonic() + work.period_s
            try:
                await work.run()
            except Exception:
                logger.exception("periodic work failed; it is tried again")

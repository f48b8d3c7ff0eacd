"""The event loop's lag is seen."""

import asyncio
import time

from stream.web.monitoring.loop_monitor import LoopMonitor


async def test_a_blocked_loop_is_seen() -> None:
    monitor = LoopMonitor()
    running = asyncio.create_task(monitor.run())
    await asyncio.sleep(0.1)
    assert monitor.percentile_s(0.0) < 0.1
    time.sleep(0.3)  # the fault that the monitor is for
    await asyncio.sleep(0.1)
    assert monitor.worst_s > 0.2
    assert monitor.percentile_s(0.5) < monitor.worst_s
    running.cancel()

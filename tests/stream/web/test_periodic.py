"""Periodic work: it is called again and again, also after it has failed, and beside work that fails."""

import asyncio

import pytest

from stream.web.periodic import PeriodicWork, repeat


async def test_work_that_fails_is_tried_again_and_keeps_nothing_from_running(caplog: pytest.LogCaptureFixture) -> None:
    failures, calls, enough = 0, 0, asyncio.Event()

    async def fail() -> None:
        nonlocal failures
        failures += 1
        raise ValueError("broken")

    async def count() -> None:
        nonlocal calls
        calls += 1
        if calls >= 3 and failures >= 2:
            enough.set()

    repeating = asyncio.create_task(repeat([PeriodicWork(0.002, fail), PeriodicWork(0.001, count)]))
    await asyncio.wait_for(enough.wait(), 10.0)
    repeating.cancel()
    await asyncio.gather(repeating, return_exceptions=True)
    assert "broken" in caplog.text


async def test_work_waits_for_its_first_period() -> None:
    calls = 0

    async def count() -> None:
        nonlocal calls
        calls += 1

    repeating = asyncio.create_task(repeat([PeriodicWork(60.0, count)]))
    await asyncio.sleep(0.01)
    repeating.cancel()
    await asyncio.gather(repeating, return_exceptions=True)
    assert calls == 0

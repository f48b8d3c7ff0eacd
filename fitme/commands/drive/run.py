"""Loop of `fitme drive`: motion of a source goes to all outputs."""

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from fitme.motion.absence import AbsenceFilter
from fitme.motion.endpoints import MotionOutput, MotionSource
from fitme.motion.motion import Motion
from fitme.motion.udp import Report

QUIET_S = 5.0
"""A source that is silent for this long is reported."""

OpenSource = Callable[[], Awaitable[MotionSource]]
OpenOutput = Callable[[], Awaitable[MotionOutput]]


@dataclass(frozen=True)
class Driven:
    """What was sent."""

    motions: int
    tracked: int
    """Motions with a face."""
    seconds: float

    def __str__(self) -> str:
        rate = self.motions / self.seconds if self.seconds else 0.0
        return f"{self.motions} motions in {self.seconds:.1f} s ({rate:.1f} Hz), {self.tracked} with a face"


async def drive(open_source: OpenSource, open_outputs: Sequence[OpenOutput], report: Report) -> Driven:
    """Send motion until the source ends, or until Ctrl-C.

    :raises FitmeError: if the source or an output cannot be had.
    """
    async with AsyncExitStack() as stack:
        outputs = await _opened(stack, open_outputs)
        source = await open_source()
        stack.push_async_callback(source.close)
        closing: set[asyncio.Task[None]] = set()

        def stop() -> None:
            closing.add(asyncio.ensure_future(source.close()))

        loop = asyncio.get_running_loop()
        with suppress(NotImplementedError, RuntimeError, ValueError):  # Windows, and threads: Ctrl-C interrupts them
            loop.add_signal_handler(signal.SIGINT, stop)
            loop.add_signal_handler(signal.SIGTERM, stop)
        driven = await _send_all(source, outputs, report)
        await asyncio.gather(*closing)
        return driven


async def _send_all(source: MotionSource, outputs: Sequence[MotionOutput], report: Report) -> Driven:
    shown, count, tracked = AbsenceFilter(), 0, 0
    begin_s = time.monotonic()
    taking = asyncio.ensure_future(source.take())
    while True:
        done, _ = await asyncio.wait({taking}, timeout=QUIET_S)
        if not done:
            report("no motion comes: is the sender on, and does it send to this machine's address and port?")
            await asyncio.wait({taking})
        motion = taking.result()
        if motion is None:
            return Driven(count, tracked, time.monotonic() - begin_s)
        if not count:
            begin_s = time.monotonic()
        count, tracked = count + 1, tracked + motion.tracked
        send_to_all(outputs, shown(motion))
        taking = asyncio.ensure_future(source.take())


def send_to_all(outputs: Sequence[MotionOutput], motion: Motion) -> None:
    """Send a motion to each output."""
    for output in outputs:
        output.send(motion)


async def convert(motions: Iterator[Motion], open_outputs: Sequence[OpenOutput]) -> Driven:
    """Send all motions as fast as they can be had: to files, for which none is late.

    :raises FitmeError: if an output cannot be had.
    """
    async with AsyncExitStack() as stack:
        outputs = await _opened(stack, open_outputs)
        shown, count, tracked, begin_s = AbsenceFilter(), 0, 0, time.monotonic()
        for motion in motions:
            send_to_all(outputs, shown(motion))
            count, tracked = count + 1, tracked + motion.tracked
        return Driven(count, tracked, time.monotonic() - begin_s)


async def _opened(stack: AsyncExitStack, open_outputs: Sequence[OpenOutput]) -> list[MotionOutput]:
    """Outputs, which close with the stack."""
    outputs = []
    for open_output in open_outputs:
        output = await open_output()
        stack.push_async_callback(output.close)
        outputs.append(output)
    return outputs

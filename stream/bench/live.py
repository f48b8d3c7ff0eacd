"""`fitme bench live`: a native peer plays the sample clip at 640x480 and 30 fps to the real server process.

The server is a process of its own, as `fitme serve` starts it. Times are the server's own, from the render headers:
they begin when the first frame had been decoded and end when a render is handed to the page. The environment variable
`FITME_ENGINE` names another engine than the local one, see `stream.bench.served_engine`.
"""

import asyncio
import contextlib
import json
from dataclasses import dataclass, field

import numpy as np

from fitme.bench.rows import BenchmarkRow
from fitme.stage import Stage
from stream.bench.native_peer import ClipTrack, NativePeer, request
from stream.bench.sample import RATE, sample_frames
from stream.bench.served_engine import chosen_engine, served_by
from stream.protocol.render import Render

TUNING_TIMEOUT_S = 180.0
STEADY_S = 15.0
"""How long renders are counted during refinement."""


@dataclass
class _Record:
    """What the page saw, in the server's time."""

    origin_s: float | None = None
    """When the first frame had been decoded."""
    first_of_stage_s: dict[int, float] = field(default_factory=dict)
    sent_s: list[float] = field(default_factory=list)
    latency_s: list[float] = field(default_factory=list)

    def note(self, render: Render) -> None:
        if render.received_time_s <= 0.0:
            return  # drawn before the camera's first frame
        if self.origin_s is None:
            self.origin_s = render.received_time_s - render.capture_time_s
        self.sent_s.append(render.sent_time_s)
        self.latency_s.append(render.sent_time_s - render.received_time_s)
        for stage in range(render.stage + 1):
            self.first_of_stage_s.setdefault(stage, render.sent_time_s - self.origin_s)

    def rate_between(self, begin_s: float, end_s: float) -> float:
        """Renders a second in a span after the first frame."""
        times = np.array(self.sent_s) - (self.origin_s or 0.0)
        return float(((times >= begin_s) & (times < end_s)).sum() / (end_s - begin_s))


def live() -> list[BenchmarkRow]:
    """Measure how soon an avatar appears and sharpens, and how smoothly it moves."""
    return asyncio.run(_measure())


async def _measure() -> list[BenchmarkRow]:
    record, frames = _Record(), sample_frames()
    with served_by(chosen_engine(), 1) as server:
        peer = NativePeer(server.address)
        peer.on_render = record.note
        await peer.send_camera(ClipTrack(frames, RATE))
        await peer.watch()
        await peer.until(lambda: peer.last_render is not None and bool(record.sent_s), TUNING_TIMEOUT_S)
        await asyncio.sleep(STEADY_S)
        lag_ms = await _loop_lag_ms(server.address)
        with contextlib.suppress(TimeoutError):
            await peer.until(lambda: Stage.TUNING.position in record.first_of_stage_s, TUNING_TIMEOUT_S)
        rows = _rows(record, lag_ms)
        await peer.close()
    return rows


def _rows(record: _Record, lag_ms: float) -> list[BenchmarkRow]:
    def first(stage: Stage) -> float:
        return record.first_of_stage_s.get(stage.position, float("nan"))

    begin_s = first(Stage.WAITING)
    return [
        BenchmarkRow("first avatar render after the first frame", begin_s, "s", "<= 4"),
        BenchmarkRow("render with the person's own skin", first(Stage.SKIN), "s", "<= 10"),
        BenchmarkRow("render after the first full fit with tuning", first(Stage.TUNING), "s", "<= 40"),
        BenchmarkRow(
            "renders at 512x512 during refinement", record.rate_between(begin_s, begin_s + STEADY_S), "1/s", ">= 15"
        ),
        BenchmarkRow("from decoded frame to render sent, median", 1e3 * float(np.median(record.latency_s)), "ms", None),
        BenchmarkRow("event-loop lag, p95", lag_ms, "ms", "<= 50"),
    ]


async def _loop_lag_ms(server: str) -> float:
    health = json.loads(await request("GET", f"{server}/healthz"))
    return float(health["loop_lag_ms"])

"""`fitme bench soak` and `fitme bench memory`: many short sessions, and a long one; memory and threads of processes.

A server must not grow with the sessions that it has served, nor with the time that one of them takes: everything that a
session allocates is released when it ends. The first sessions load networks and fill caches and allocator pools; growth
is measured after them.
"""

import asyncio
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import psutil

from fitme.bench.rows import BenchmarkRow
from stream.bench.native_peer import ClipTrack, NativePeer
from stream.bench.sample import RATE, sample_frames
from stream.bench.server_process import ServerProcess
from stream.protocol.protocol import Feed
from stream.web.sessions.folders import SessionFolders

SESSIONS = 500
WARM_UP_SESSIONS = 20
"""Sessions after which memory and threads are first read."""
AVERAGED_SESSIONS = 4
"""Sessions over which a reading is the mean: the allocator gives memory back in its own time."""
SHORT_RATE = 10.0
"""Frames a second of a short session's camera: fewer leave more of the processor to the fit, which ends it sooner."""
ROUND_TIMEOUT_S = 120.0
SHORT_FEEDS = (frozenset({Feed.RENDERS}), frozenset({Feed.AVATAR, Feed.PARAMETERS}))
"""What the pages of short sessions receive, in turn."""
LARGEST_GROWTH = 1.05
MINUTES = 60
READING_PERIOD_S = 10.0
LARGEST_LATE_GROWTH = 1.03
"""Mean memory in the last quarter of a long session over that in its second quarter."""
MEBIBYTE = 2**20


@dataclass(frozen=True)
class ProcessReading:
    """One process at one time."""

    resident_bytes: int
    threads: int


Readings = list[dict[str, ProcessReading]]
"""Readings in the order of time, each by the names of the processes."""


def soak(count: int = SESSIONS) -> list[BenchmarkRow]:
    """Serve `count` sessions of the sample clip, each up to its first stored round, and compare the processes."""
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        readings = asyncio.run(_serve(server, sample_frames(), count))
        left = sum(SessionFolders.is_id(path.name) for path in server.store.iterdir())
    rows = [row for name in readings[0] for row in _growth_rows(name, [reading[name] for reading in readings])]
    return [*rows, BenchmarkRow("folders left behind", left, "", "<= 0")]


async def _serve(server: ServerProcess, frames: list[av.VideoFrame], count: int) -> Readings:
    """Readings after each of `count` sessions."""
    readings = []
    for index in range(count):
        await run_session(server, frames, SHORT_FEEDS[index % len(SHORT_FEEDS)])
        readings.append(read_processes(server))
    return readings


async def run_session(server: ServerProcess, frames: list[av.VideoFrame], feeds: frozenset[Feed]) -> None:
    """One session from its first camera frame to its deletion after the first stored round."""
    peer = NativePeer(server.address)
    await peer.send_camera(ClipTrack(frames, SHORT_RATE))
    await peer.watch(feeds)
    await peer.until(lambda: "round" in peer.events, ROUND_TIMEOUT_S)
    await peer.delete()
    await peer.close()


def read_processes(server: ServerProcess) -> dict[str, ProcessReading]:
    """Memory and threads of the server's processes now, by their names."""
    return {name: _read(process) for name, process in server.processes().items()}


def _read(process: psutil.Process) -> ProcessReading:
    with process.oneshot():
        return ProcessReading(process.memory_info().rss, process.num_threads())


def _growth_rows(name: str, readings: list[ProcessReading]) -> list[BenchmarkRow]:
    """Figures of one process, from its readings after each session."""
    warm = min(WARM_UP_SESSIONS, len(readings))
    early = readings[max(0, warm - AVERAGED_SESSIONS) : warm]
    late = readings[-AVERAGED_SESSIONS:]
    before, after = (sum(item.resident_bytes for item in part) / len(part) for part in (early, late))
    # Threads of a camera end when the garbage collector frees it: their number goes up and down.
    threads_before, threads_after = min(item.threads for item in early), min(item.threads for item in late)
    return [
        BenchmarkRow(f"{name}: resident memory after {warm} sessions", before / MEBIBYTE, "MiB", None),
        BenchmarkRow(f"{name}: resident memory after {len(readings)} sessions", after / MEBIBYTE, "MiB", None),
        BenchmarkRow(f"{name}: growth of resident memory", after / before, "", f"<= {LARGEST_GROWTH}"),
        BenchmarkRow(f"{name}: threads after {warm} sessions", threads_before, "", None),
        BenchmarkRow(f"{name}: threads after {len(readings)} sessions", threads_after, "", f"<= {threads_before}"),
    ]


def memory(count: int = MINUTES) -> list[BenchmarkRow]:
    """Serve one session of the sample clip for `count` minutes and compare the processes in its quarters."""
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        readings = asyncio.run(_serve_long(server, sample_frames(), 60.0 * count))
    return [row for name in readings[0] for row in _quarter_rows(name, [reading[name] for reading in readings])]


async def _serve_long(server: ServerProcess, frames: list[av.VideoFrame], seconds: float) -> Readings:
    """Readings during one session, every `READING_PERIOD_S`."""
    readings = []
    peer = NativePeer(server.address)
    await peer.send_camera(ClipTrack(frames, RATE))
    await peer.watch()
    end_s = time.monotonic() + seconds
    while time.monotonic() < end_s:
        await asyncio.sleep(READING_PERIOD_S)
        readings.append(read_processes(server))
    await peer.delete()
    await peer.close()
    return readings


def _quarter_rows(name: str, readings: list[ProcessReading]) -> list[BenchmarkRow]:
    """Figures of one process, from its readings during a session."""
    quarters = np.array_split([reading.resident_bytes for reading in readings], 4)
    second, last = float(quarters[1].mean()), float(quarters[3].mean())
    return [
        BenchmarkRow(f"{name}: resident memory in the second quarter", second / MEBIBYTE, "MiB", None),
        BenchmarkRow(f"{name}: resident memory in the last quarter", last / MEBIBYTE, "MiB", None),
        BenchmarkRow(f"{name}: last quarter over second", last / second, "", f"<= {LARGEST_LATE_GROWTH}"),
        BenchmarkRow(f"{name}: threads at the end", readings[-1].threads, "", None),
    ]

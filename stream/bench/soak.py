"""`fitme bench soak`: short sessions one after the other against a real server; memory and threads of its processes.

A server must not grow with the sessions that it has served: everything that a session allocates is released when it
ends. The first sessions load networks and fill caches and allocator pools; growth is measured after them.
"""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path

import av
import psutil

from fitme.bench.rows import BenchmarkRow
from fitme.errors import InputError
from stream.bench.live import MEBIBYTE, RATE, SIZE_PX
from stream.bench.native_peer import ClipTrack, NativePeer, read_clip
from stream.bench.server_process import ServerProcess
from stream.web.app import CLIENT_FOLDER, SAMPLE_NAMES

SESSIONS = 32
WARM_UP_SESSIONS = 16
"""Sessions after which memory and threads are first read."""
AVERAGED_SESSIONS = 4
"""Sessions over which a reading is the mean: the allocator gives memory back in its own time."""
SESSION_S = 6.0
"""Time from the first render of a session to its end: long enough for its first skin."""
FIRST_RENDER_TIMEOUT_S = 60.0
LARGEST_GROWTH = 1.05


@dataclass(frozen=True)
class ProcessReading:
    """One process between two sessions."""

    resident_bytes: int
    threads: int


def soak() -> list[BenchmarkRow]:
    """Serve `SESSIONS` sessions of the sample clip and compare the processes before and after."""
    sample = next((CLIENT_FOLDER / name for name in SAMPLE_NAMES if (CLIENT_FOLDER / name).is_file()), None)
    if sample is None:
        raise InputError(f"{CLIENT_FOLDER}: there is no sample clip")
    frames = [frame.reformat(width=SIZE_PX[0], height=SIZE_PX[1]) for frame in read_clip(sample)]
    with tempfile.TemporaryDirectory() as folder, ServerProcess(Path(folder)) as server:
        readings = asyncio.run(_serve(server, frames, SESSIONS))
    return [row for name in readings[0] for row in _rows(name, [reading[name] for reading in readings])]


async def _serve(server: ServerProcess, frames: list[av.VideoFrame], count: int) -> list[dict[str, ProcessReading]]:
    """Readings after each of `count` sessions, by the names of the processes."""
    readings = []
    for _ in range(count):
        await run_session(server, frames, SESSION_S)
        readings.append(read_processes(server))
    return readings


async def run_session(server: ServerProcess, frames: list[av.VideoFrame], seconds: float) -> None:
    """One session from its first camera frame to its deletion, `seconds` after its first render."""
    peer = NativePeer(server.address)
    await peer.send_camera(ClipTrack(frames, RATE))
    await peer.watch()
    await peer.until(lambda: peer.last_render is not None, FIRST_RENDER_TIMEOUT_S)
    await asyncio.sleep(seconds)
    await peer.delete()
    await peer.close()


def read_processes(server: ServerProcess) -> dict[str, ProcessReading]:
    """Memory and threads of the server's processes now, by their names."""
    return {name: _read(process) for name, process in server.processes().items()}


def _read(process: psutil.Process) -> ProcessReading:
    with process.oneshot():
        return ProcessReading(process.memory_info().rss, process.num_threads())


def _rows(name: str, readings: list[ProcessReading]) -> list[BenchmarkRow]:
    """Figures of one process, from its readings after each session."""
    early = readings[WARM_UP_SESSIONS - AVERAGED_SESSIONS : WARM_UP_SESSIONS]
    late = readings[-AVERAGED_SESSIONS:]
    before, after = (sum(item.resident_bytes for item in part) / len(part) for part in (early, late))
    # Threads of a camera end when the garbage collector frees it: their number goes up and down.
    threads_before, threads_after = min(item.threads for item in early), min(item.threads for item in late)
    return [
        BenchmarkRow(f"{name}: resident memory after {WARM_UP_SESSIONS} sessions", before / MEBIBYTE, "MiB", None),
        BenchmarkRow(f"{name}: resident memory after {len(readings)} sessions", after / MEBIBYTE, "MiB", None),
        BenchmarkRow(f"{name}: growth of resident memory", after / before, "", f"<= {LARGEST_GROWTH}"),
        BenchmarkRow(f"{name}: threads after {WARM_UP_SESSIONS} sessions", threads_before, "", None),
        BenchmarkRow(f"{name}: threads after {len(readings)} sessions", threads_after, "", f"<= {threads_before}"),
    ]

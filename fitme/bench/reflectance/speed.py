"""Benchmark rows: time of one pass through the generator."""

import time
from collections.abc import Callable

import numpy as np
import torch

from fitme.bench.rows import BenchmarkRow
from fitme.reflectance.generator import ReflectanceGenerator

REPEATS, WARM_UPS, THREADS = 15, 3, 2
FORWARD_TARGET, BOTH_TARGET = "<= 60", "<= 200"


def speed_rows(generator: ReflectanceGenerator) -> list[BenchmarkRow]:
    """Rows of wall-clock time at the full resolution, batch of one, float32, `THREADS` threads: the median, and the
    fastest pass, which other load on the machine affects less."""
    # A fixed number of threads makes machines comparable; it is restored at the end.
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    start = generator.broadcast(generator.mean_w[None]).detach()

    def forward() -> None:
        with torch.no_grad():
            generator.synthesize(start)

    def both() -> None:
        latent = start.clone().requires_grad_()
        maps = generator.synthesize(latent)
        torch.autograd.grad(maps.diffuse.mean() + maps.specular.mean() + maps.normals[..., :2].mean(), latent)

    try:
        size = generator.config.resolution
        name = f"generator, {size}x{size}, batch 1, {THREADS} threads"
        rows = []
        for what, work, target in (("forward", forward, FORWARD_TARGET), ("forward + backward", both, BOTH_TARGET)):
            milliseconds = _times_ms(work)
            rows += [
                BenchmarkRow(f"{name}: {what}, median", float(np.median(milliseconds)), "ms", target),
                BenchmarkRow(f"{name}: {what}, fastest of {REPEATS}", min(milliseconds), "ms"),
            ]
        return rows
    finally:
        torch.set_num_threads(before)


def _times_ms(work: Callable[[], None]) -> list[float]:
    for _ in range(WARM_UPS):
        work()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - begin))
    return times

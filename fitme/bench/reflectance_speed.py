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
    """Median wall-clock time at the full resolution, batch of one, float32, `THREADS` threads."""
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
        return [
            BenchmarkRow(f"{name}: forward", 1e3 * _median_s(forward), "ms", FORWARD_TARGET),
            BenchmarkRow(f"{name}: forward + backward", 1e3 * _median_s(both), "ms", BOTH_TARGET),
        ]
    finally:
        torch.set_num_threads(before)


def _median_s(work: Callable[[], None]) -> float:
    for _ in range(WARM_UPS):
        work()
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begin)
    return float(np.median(seconds))

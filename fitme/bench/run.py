"""Runner of one benchmark: fixed seed, a table for people, one line of JSON for programs."""

import json
import math
import platform
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from rich.table import Table

import fitme
from fitme.bench.rows import BenchmarkRow

SEED = 20260101
"""Seed of torch's and numpy's generators when a benchmark starts."""

Benchmark = Callable[[], Sequence[BenchmarkRow]]


def run_benchmark(benchmark: Benchmark) -> Sequence[BenchmarkRow]:
    """Rows of a benchmark, run from `SEED`."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002 -- libraries below may use numpy's global generator.
    return benchmark()


def table_of(name: str, rows: Sequence[BenchmarkRow]) -> Table:
    """Table of the rows, one column per field."""
    table = Table(title=name)
    columns = [field.name for field in fields(BenchmarkRow)]
    for column in columns:
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(_text(getattr(row, column)) for column in columns))
    return table


def json_line(name: str, rows: Sequence[BenchmarkRow]) -> str:
    """JSON object on one line: the rows with commit, seed and machine, to reproduce them."""
    return json.dumps(
        {
            "benchmark": name,
            "commit": _commit(),
            "seed": SEED,
            "machine": _machine(),
            "rows": [{key: _json_value(value) for key, value in asdict(row).items()} for row in rows],
        },
        allow_nan=False,
    )


def _commit() -> str | None:
    """Commit of the working copy that contains the package, or None for an installed package."""
    folder = Path(fitme.__file__).parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _machine() -> dict[str, Any]:
    """Properties of this machine and of the software that timings depend on."""
    return {
        "processor": _processor(),
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "platform": platform.platform(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    """Name of the processor, on Linux from /proc/cpuinfo, elsewhere from `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def _json_value(value: object) -> object:
    """Value for JSON: None in place of NaN and infinities, which JSON cannot hold."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)

"""Command `fitme bench`: reproduces the figures of `docs/benchmarks.md`.

Packages register benchmarks by the entry-point group `fitme.benchmarks`: NAME = "module:function", where the function
takes nothing, or a number `count` with a default, and returns a list of `fitme.bench.rows.BenchmarkRow`.
"""

from functools import partial
from importlib.metadata import EntryPoint, entry_points
from inspect import signature
from typing import Annotated

import typer

from fitme.errors import InputError

BENCHMARK_GROUP = "fitme.benchmarks"


def bench(
    name: Annotated[str | None, typer.Argument(help="Benchmark to run; without one, the names are listed.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, help="Sessions, minutes or attempts, of a benchmark that counts them.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="End with one line of JSON.")] = False,
) -> None:
    """Measure, and print a table."""
    from rich.console import Console

    from fitme.bench.run import json_line, run_benchmark, table_of

    known = {entry.name: entry for entry in entry_points(group=BENCHMARK_GROUP)}
    if name is None:
        print("\n".join(sorted(known)))
        return
    benchmark = _found(known, name).load()
    if count is not None:
        if "count" not in signature(benchmark).parameters:
            raise InputError(f"{name}: this benchmark counts nothing: leave out --count")
        benchmark = partial(benchmark, count)
    rows = run_benchmark(benchmark)
    Console().print(table_of(name, rows))
    if as_json:
        print(json_line(name, rows))


def _found(known: dict[str, EntryPoint], name: str) -> EntryPoint:
    if name not in known:
        raise InputError(f"{name}: no such benchmark; there are {', '.join(sorted(known))}")
    return known[name]

"""Record of a benchmark's parts in a file of JSON lines, so that runs add up, also one that was stopped."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


@contextmanager
def record_file(variable: str) -> Iterator[Path]:
    """File that an environment variable names; without one, a file that lasts as long as the context."""
    name = os.environ.get(variable)
    with tempfile.TemporaryDirectory() as folder:
        yield Path(name) if name else Path(folder) / "record.jsonl"


def add_to_record(record: Path, entry: object) -> None:
    """Append an entry, a line of JSON."""
    with record.open("ab") as file:
        file.write(msgspec.json.encode(entry) + b"\n")


def read_record(record: Path, kind: type[T]) -> list[T]:
    """Entries of a record, each of a type; none if the file is missing."""
    if not record.exists():
        return []
    return [msgspec.json.decode(line, type=kind) for line in record.read_bytes().splitlines()]

"""Atomic writing of files: a file appears under its name only when every byte is written."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PARTIAL_SUFFIX = ".partial"
"""Suffix of the name under which a file is written before it is renamed."""


def partial_path(path: Path) -> Path:
    """Path beside `path` under which the unfinished file lies."""
    return path.with_name(path.name + PARTIAL_SUFFIX)


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Context whose value is the partial file's path, to be written in the block.

    At the end of the block the partial file replaces the one at `path` (POSIX rename). When the block raises, the
    partial file is removed and the one at `path` stays as it was.

    :raises OSError: if the partial file was not written or cannot be renamed.
    """
    partial = partial_path(path)
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        with suppress(OSError):  # such as a folder in its place; the error of the block matters more
            partial.unlink()
        raise

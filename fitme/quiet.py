"""Suppression of messages of native libraries on the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STANDARD_ERROR = 2
"""File descriptor."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Context that drops native code's output to standard error, but not Python's.

    MediaPipe writes at every start, and no setting of it prevents that.
    """
    python_stderr = sys.stderr
    python_stderr.flush()
    terminal = os.dup(STANDARD_ERROR)
    with open(os.devnull, "wb") as null:  # noqa: PTH123 -- a device, not a file
        os.dup2(null.fileno(), STANDARD_ERROR)
    shares_descriptor = _descriptor(python_stderr) == STANDARD_ERROR
    try:
        if shares_descriptor:
            sys.stderr = os.fdopen(
                os.dup(terminal), "w", buffering=1, encoding=python_stderr.encoding, errors=python_stderr.errors
            )
        yield
    finally:
        if shares_descriptor:
            sys.stderr.close()
            sys.stderr = python_stderr
        os.dup2(terminal, STANDARD_ERROR)
        os.close(terminal)


def _descriptor(stream: object) -> int | None:
    """File descriptor of a stream, None if it has none."""
    fileno = getattr(stream, "fileno", None)
    try:
        return None if fileno is None else int(fileno())
    except OSError:
        return None

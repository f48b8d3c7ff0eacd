"""A terminal without the chatter of native libraries."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

STANDARD_ERROR = 2
"""File descriptor."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Drop what native code writes to standard error, as MediaPipe does at every start; Python's messages still arrive.

    No setting of MediaPipe turns its messages off.
    """
    python_stderr = sys.stderr
    python_stderr.flush()
    terminal = os.dup(STANDARD_ERROR)
    with open(os.devnull, "wb") as nowhere:  # noqa: PTH123 -- a device, not a file
        os.dup2(nowhere.fileno(), STANDARD_ERROR)
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

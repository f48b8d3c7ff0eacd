"""Suppression of messages of native libraries on the terminal."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import TextIO

STANDARD_ERROR = 2
"""File descriptor."""


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Context that drops native code's output to standard error, but not Python's.

    MediaPipe writes at every start, and no setting of it prevents that. Contexts of several threads may overlap: output
    is restored at the end of the last.
    """
    with _lock:
        _redirection.enter()
    try:
        yield
    finally:
        with _lock:
            _redirection.leave()


class _Redirection:
    """Redirection of the file descriptor of standard error to nowhere, while any context is open."""

    def __init__(self) -> None:
        self._contexts = 0
        self._terminal = -1
        self._python_stderr: TextIO | None = None

    def enter(self) -> None:
        """Begin with the first context."""
        self._contexts += 1
        if self._contexts > 1:
            return
        sys.stderr.flush()
        self._terminal = os.dup(STANDARD_ERROR)
        with open(os.devnull, "wb") as null:  # noqa: PTH123 -- a device, not a file
            os.dup2(null.fileno(), STANDARD_ERROR)
        if _descriptor(sys.stderr) == STANDARD_ERROR:
            self._python_stderr = sys.stderr
            sys.stderr = os.fdopen(
                os.dup(self._terminal), "w", buffering=1, encoding=sys.stderr.encoding, errors=sys.stderr.errors
            )

    def leave(self) -> None:
        """End with the last context."""
        self._contexts -= 1
        if self._contexts > 0:
            return
        if self._python_stderr is not None:
            sys.stderr.close()
            sys.stderr, self._python_stderr = self._python_stderr, None
        os.dup2(self._terminal, STANDARD_ERROR)
        os.close(self._terminal)


_lock = Lock()
_redirection = _Redirection()


def _descriptor(stream: object) -> int | None:
    """File descriptor of a stream, None if it has none."""
    fileno = getattr(stream, "fileno", None)
    try:
        return None if fileno is None else int(fileno())
    except OSError:
        return None

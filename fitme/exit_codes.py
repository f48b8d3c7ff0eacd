"""Exit codes of commands, and the one line in which errors that the user can correct end them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fitme.errors import FitmeError

FAILURE = 2
"""Exit code after an error that the user can correct."""
INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells have it."""


@contextmanager
def ending_in_one_line() -> Iterator[None]:
    """Context of a whole command: errors of the input or the machine end the process with one line on standard error.

    :raises SystemExit: with `FAILURE` for errors that the user can correct, `INTERRUPTED` after Ctrl-C.
    """
    try:
        yield
    except FitmeError as error:
        _end(str(error), FAILURE)
    except MemoryError:
        _end("the memory is used up; close other programs, or use smaller images", FAILURE)
    except OSError as error:
        if error.strerror is None:
            raise  # A library's own, not the system's.
        _end(error.strerror if error.filename is None else f"{error.filename}: {error.strerror}", FAILURE)
    except KeyboardInterrupt:
        _end("interrupted", INTERRUPTED)


def _end(message: str, code: int) -> None:
    line = " ".join(message.split())
    print(f"fitme: {line}", file=sys.stderr)
    raise SystemExit(code)

"""Errors of the input and of the machine end a command with one line; those of the program do not."""

import errno

import pytest

from fitme.errors import InputError
from fitme.exit_codes import FAILURE, INTERRUPTED, ending_in_one_line


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (InputError("a.jpg:\n  damaged"), FAILURE, "fitme: a.jpg: damaged"),
        (OSError(errno.ENOSPC, "No space left on device"), FAILURE, "fitme: No space left on device"),
        (PermissionError(errno.EACCES, "Permission denied", "out"), FAILURE, "fitme: out: Permission denied"),
        (MemoryError(), FAILURE, "fitme: the memory is used up"),
        (KeyboardInterrupt(), INTERRUPTED, "fitme: interrupted"),
    ],
)
def test_one_line(error: BaseException, code: int, line: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended, ending_in_one_line():
        raise error
    assert ended.value.code == code
    (written,) = capsys.readouterr().err.splitlines()
    assert written.startswith(line)


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("raised by a library")])
def test_errors_of_the_program_pass(error: Exception):
    with pytest.raises(type(error)), ending_in_one_line():
        raise error

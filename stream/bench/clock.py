"""Clock of the processes that are started while it is open, which a benchmark can set: libfaketime, where installed."""

import os
import tempfile
from pathlib import Path

LIBRARY = "libfaketimeMT.so.1"
LIBRARY_FOLDER = Path("/usr/lib")
VARIABLES = ("LD_PRELOAD", "FAKETIME_TIMESTAMP_FILE", "FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC")


class SteppedClock:
    """Use as a context manager around what starts the processes."""

    def __init__(self) -> None:
        self._library = next(LIBRARY_FOLDER.glob(f"*/faketime/{LIBRARY}"), None)
        self._offset_s = 0.0

    @property
    def available(self) -> bool:
        """Whether libfaketime is installed."""
        return self._library is not None

    def __enter__(self) -> "SteppedClock":
        self._folder = tempfile.TemporaryDirectory()
        self._file = Path(self._folder.name) / "offset"
        self.step(0.0)
        self._before = {name: os.environ.get(name) for name in VARIABLES}
        if self._library is not None:
            os.environ.update(
                LD_PRELOAD=str(self._library),
                FAKETIME_TIMESTAMP_FILE=str(self._file),
                FAKETIME_NO_CACHE="1",
                FAKETIME_DONT_FAKE_MONOTONIC="1",
            )
        return self

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._folder.cleanup()

    def step(self, seconds: float) -> None:
        """Set the clock forwards, or back for negative `seconds`, as of now."""
        self._offset_s += seconds
        self._file.write_text(f"{self._offset_s:+.0f}s\n")

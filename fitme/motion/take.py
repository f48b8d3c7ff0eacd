"""Takes: recorded motion, as text of one JSON object a line (`.jsonl`).

The first line is ``{"type": "take", "version": 1, "source": "..."}``, each other one motion as `fitme.motion.messages`
has it, with times that grow from 0.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

import msgspec

from fitme.errors import InputError
from fitme.motion.messages import MotionMessageError, motion_json, motion_of_json
from fitme.motion.motion import Motion

SUFFIX: Final = ".jsonl"
VERSION: Final = 1


class TakeError(InputError):
    """A file is not a take."""


class TakeHeader(msgspec.Struct, frozen=True, tag="take"):
    """First line of a take."""

    version: int
    source: str = ""
    """Where the motion came from, in words for people."""


@dataclass(frozen=True)
class Take:
    """Recorded motion."""

    source: str
    motions: tuple[Motion, ...]
    """At least one; times grow strictly."""

    @property
    def duration_s(self) -> float:
        """Time from the first to the last motion."""
        return self.motions[-1].time_s - self.motions[0].time_s


class TakeWriter:
    """Writes a take as motion comes, so that what is there stays readable whenever the program ends."""

    def __init__(self, path: Path, source: str) -> None:
        """
        :raises InputError: if the file cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: TextIO = path.open("w", encoding="utf-8", buffering=1)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from error
        self._file.write(json.dumps({"type": "take", "version": VERSION, "source": source}) + "\n")
        self._start_s: float | None = None
        self._last_s = -1.0

    def write(self, motion: Motion) -> None:
        """Append a motion; one that does not come after the last is dropped."""
        if self._start_s is None:
            self._start_s = motion.time_s
        time_s = motion.time_s - self._start_s
        if time_s > self._last_s:
            self._last_s = time_s
            self._file.write(motion_json(motion.at(time_s)) + "\n")

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> "TakeWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def read_take(path: Path) -> Take:
    """Read a take.

    A last line that breaks off, of a recording that was interrupted, is left out.

    :raises TakeError: if the file cannot be read, is no take, or holds no motion.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TakeError(f"{path}: cannot be read: {error}") from error
    first, _, rest = text.partition("\n")
    try:
        header = msgspec.json.decode(first, type=TakeHeader)
    except msgspec.DecodeError as error:
        raise TakeError(f'{path}: not a take: its first line must be {{"type": "take", ...}}') from error
    if header.version != VERSION:
        raise TakeError(f"{path}: a take of version {header.version}; this program reads version {VERSION}")
    motions = tuple(_motions(path, rest))
    if not motions:
        raise TakeError(f"{path}: a take without motion")
    return Take(header.source, motions)


def _motions(path: Path, text: str) -> Iterator[Motion]:
    lines, last_s = text.split("\n"), -float("inf")
    for number, line in enumerate(lines, 2):
        if not line.strip():
            continue
        try:
            motion = motion_of_json(line)
        except MotionMessageError as error:
            if number == len(lines) + 1:
                return  # without a line's end: it broke off
            raise TakeError(f"{path}, line {number}: {error}") from error
        if motion.time_s <= last_s:
            raise TakeError(f"{path}, line {number}: times must grow, but {motion.time_s} follows {last_s}")
        last_s = motion.time_s
        yield motion

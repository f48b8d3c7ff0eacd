"""`fitme bench fuzz`: damaged pictures and videos end in a result, or in one line and exit code 2.

Each file is read in a process of its own, with bounded memory and time (`fitme.bench.fuzz.reading`); some of them are
given to `fitme fit` as a whole. ``python -m fitme.bench.fuzz.benchmark --first N --count N --keep FOLDER`` runs a part,
and keeps the files that end otherwise.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil

from fitme.bench.fuzz.mutations import mutated
from fitme.bench.fuzz.seeds import Seed, picture_seeds, video_seeds
from fitme.bench.rows import BenchmarkRow
from fitme.bench.run import SEED
from fitme.exit_codes import FAILURE
from fitme.quiet import quiet_libraries

COUNT = 2000
"""Damaged files of a run."""
FITTED_EVERY = 100
"""Of so many files one is fitted as a whole."""
LIMIT_S = 60.0
LIMIT_BYTES = 3 * 2**30
RESULT, ONE_LINE = "a result", "one line and exit code 2"
"""The two outcomes that are right."""
SEED_SIZE_PX = (160, 120)
SEED_FRAMES = 12
_POLL_PERIOD_S = 0.02


@dataclass(frozen=True)
class Outcome:
    """How the process of one damaged file ended."""

    name: str
    mutations: str
    ending: str
    """`RESULT`, `ONE_LINE`, or what is wrong."""
    seconds: float
    peak_bytes: int
    """Largest resident memory that was seen."""
    messages: str
    """Standard error."""


def fuzz(count: int = COUNT) -> list[BenchmarkRow]:
    """Rows of so many damaged files."""
    with tempfile.TemporaryDirectory() as folder:
        return rows_of(list(outcomes(Path(folder), 0, count)))


def outcomes(folder: Path, first: int, count: int, keep: Path | None = None) -> Iterator[Outcome]:
    """Outcomes of the damaged files `first` to `first + count - 1`, which are written to `folder` one at a time.

    :param keep: folder for the files that end wrongly.
    """
    seeds = all_seeds()
    for index in range(first, first + count):
        file, mutations = mutated(seeds, index, SEED)
        path = folder / file.name
        path.write_bytes(file.content)
        outcome = run(reading_command(path), file.name, mutations)
        if index % FITTED_EVERY == 0:
            yield run(fit_command(path, folder / f"{index}"), f"fit of {file.name}", mutations)
        if keep is not None and outcome.ending not in (RESULT, ONE_LINE):
            keep.mkdir(parents=True, exist_ok=True)
            path.replace(keep / file.name)
        path.unlink(missing_ok=True)
        yield outcome


def all_seeds() -> list[Seed]:
    """Intact files that show a synthetic person: as many pictures as videos."""
    # The clip needs torch, which each process of a damaged file does without.
    from fitme.synthetic.clip import ClipSettings, clip_frames

    width, height = SEED_SIZE_PX
    frames = islice(clip_frames(ClipSettings(width=width, height=height)), SEED_FRAMES)
    images = [frame.image for frame in frames]
    with quiet_libraries():  # Encoders write what they are.
        return picture_seeds(images[0]) + video_seeds(images)


def reading_command(path: Path) -> list[str]:
    """Command that reads a file."""
    return [sys.executable, "-m", "fitme.bench.fuzz.reading", str(path), str(LIMIT_BYTES)]


def fit_command(path: Path, out: Path) -> list[str]:
    """Command that fits a file, without refinement."""
    return [sys.executable, "-m", "fitme", "fit", str(path), "--out", str(out), "--seconds", "0"]


def run(command: Sequence[str], name: str, mutations: str = "") -> Outcome:
    """Run a command within `LIMIT_S`."""
    begun = time.monotonic()
    with tempfile.TemporaryFile() as messages:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=messages)
        peak = 0
        while process.poll() is None:
            if time.monotonic() - begun > LIMIT_S:
                process.kill()
                process.wait()
                break
            peak = max(peak, _resident_bytes(process.pid))
            time.sleep(_POLL_PERIOD_S)
        seconds = time.monotonic() - begun
        messages.seek(0)
        text = messages.read().decode("utf-8", "replace")
    return Outcome(name, mutations, ending_of(process.returncode, text, seconds, peak), seconds, peak, text)


def _resident_bytes(process_id: int) -> int:
    """Resident memory of a process; 0 if it has ended."""
    try:
        return int(psutil.Process(process_id).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0


def ending_of(code: int, messages: str, seconds: float, peak_bytes: int) -> str:
    """Name of an ending: `RESULT`, `ONE_LINE`, or what is wrong."""
    if seconds > LIMIT_S:
        return "too long"
    if peak_bytes > LIMIT_BYTES:
        return "too much memory"
    if code < 0:
        return f"signal {-code}"
    if "Traceback" in messages:
        return "traceback"
    if code == 0:
        return RESULT
    lines = [line for line in messages.splitlines() if line.startswith("fitme: ")]
    return ONE_LINE if code == FAILURE and len(lines) == 1 else f"exit code {code}"


def rows_of(found: Sequence[Outcome]) -> list[BenchmarkRow]:
    """Rows: files by ending, longest time, largest memory."""
    endings = Counter(outcome.ending for outcome in found)
    right = endings.pop(RESULT, 0), endings.pop(ONE_LINE, 0)
    rows = [
        BenchmarkRow("damaged files, whole fits included", float(len(found)), ""),
        *(BenchmarkRow(name, float(value), "") for name, value in zip((RESULT, ONE_LINE), right, strict=True)),
        BenchmarkRow("anything else", float(sum(endings.values())), "", "0"),
        *(BenchmarkRow(f"of these: {ending}", float(value), "") for ending, value in sorted(endings.items())),
        BenchmarkRow("longest time", max(outcome.seconds for outcome in found), "s", f"<= {LIMIT_S:.0f}"),
    ]
    peak_gib = max(outcome.peak_bytes for outcome in found) / 2**30
    return [*rows, BenchmarkRow("largest memory", peak_gib, "GiB", f"<= {LIMIT_BYTES // 2**30}")]


def main() -> None:
    """Run a part; one line for each file that ends wrongly, then the rows."""
    parser = argparse.ArgumentParser(description=fuzz.__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--keep", type=Path)
    options = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for outcome in outcomes(Path(folder), options.first, options.count, options.keep):
            found.append(outcome)
            if outcome.ending not in (RESULT, ONE_LINE):
                last = (outcome.messages.strip().splitlines() or [""])[-1]
                print(f"{outcome.name} ({outcome.mutations}): {outcome.ending}: {last}", flush=True)
    for row in rows_of(found):
        print(f"{row.name}: {row.value:.4g} {row.unit}")


if __name__ == "__main__":
    main()

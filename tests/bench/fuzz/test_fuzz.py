"""Fuzzing: seeds are readable, mutations are reproducible, and every kind of ending is named."""

from pathlib import Path

import numpy as np
import pytest

from fitme.bench.fuzz.benchmark import LIMIT_BYTES, LIMIT_S, ONE_LINE, RESULT, ending_of, reading_command, rows_of, run
from fitme.bench.fuzz.mutations import MUTATIONS, mutated
from fitme.bench.fuzz.reading import read_all
from fitme.bench.fuzz.seeds import Seed, picture_seeds, video_seeds
from fitme.quiet import quiet_libraries


@pytest.fixture(scope="module")
def seeds() -> list[Seed]:
    images = [np.full((48, 64, 3), 20 * index, np.uint8) for index in range(4)]
    with quiet_libraries():
        return picture_seeds(images[1]) + video_seeds(images)


def test_intact_files_are_read_whatever_their_format(tmp_path: Path, seeds: list[Seed]):
    for seed in seeds:
        (tmp_path / seed.name).write_bytes(seed.content)
        assert read_all(tmp_path / seed.name) >= 1, seed.name


def test_mutations_change_files_and_depend_on_seed_and_index_alone(seeds: list[Seed]):
    files = [mutated(seeds, index, 5) for index in range(60)]
    assert files == [mutated(seeds, index, 5) for index in range(60)]
    assert files != [mutated(seeds, index, 6) for index in range(60)]
    intact = {seed.content for seed in seeds}
    assert sum(file.content in intact for file, _ in files) < 6
    assert {name for _, names in files for name in names.split(", ")} == set(MUTATIONS)


def test_a_damaged_file_ends_in_one_line(tmp_path: Path, seeds: list[Seed]):
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(seeds[0].content[:200])
    outcome = run(reading_command(cut), cut.name)
    assert outcome.ending == ONE_LINE
    assert outcome.messages.startswith("fitme: ") and "cut.jpg" in outcome.messages
    assert 0 < outcome.peak_bytes < LIMIT_BYTES


@pytest.mark.parametrize(
    ("code", "messages", "seconds", "peak_bytes", "ending"),
    [
        (0, "", 1.0, 1, RESULT),
        (2, "fitme: a.jpg: damaged\n", 1.0, 1, ONE_LINE),
        (2, "fitme: a\nfitme: b\n", 1.0, 1, "exit code 2"),
        (2, "usage\n", 1.0, 1, "exit code 2"),
        (1, "Traceback (most recent call last):\n", 1.0, 1, "traceback"),
        (-11, "", 1.0, 1, "signal 11"),
        (0, "", LIMIT_S + 1.0, 1, "too long"),
        (0, "", 1.0, LIMIT_BYTES + 1, "too much memory"),
    ],
)
def test_endings(code: int, messages: str, seconds: float, peak_bytes: int, ending: str):
    assert ending_of(code, messages, seconds, peak_bytes) == ending


def test_rows_count_what_is_wrong(tmp_path: Path, seeds: list[Seed]):
    (tmp_path / "a.jpg").write_bytes(seeds[0].content)
    outcomes = [run(reading_command(tmp_path / name), name) for name in ("a.jpg", "missing.jpg")]
    rows = {row.name: row.value for row in rows_of(outcomes)}
    assert (rows[RESULT], rows[ONE_LINE], rows["anything else"]) == (1.0, 1.0, 0.0)

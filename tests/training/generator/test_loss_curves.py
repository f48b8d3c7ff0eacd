"""Record of a run and its plot."""

import math
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from fitme.errors import InputError
from fitme.training.generator.loss_curves import (
    COLUMNS,
    MEASURE,
    LossRecord,
    LossRow,
    read_curves,
    read_rows,
    smooth,
    write_curves,
)


def rows_of(steps: range) -> list[LossRow]:
    return [
        LossRow(step, 0.5 * step, 64, name, value)
        for step in steps
        for name, value in (("maps_64", 3.0 / (step + 1)), ("adversarial", math.sin(step)))
    ]


def written(path, rows, step=0) -> None:
    record = LossRecord(path, step)
    record.write(rows)
    record.close()


def test_a_record_is_read_as_it_was_written(tmp_path):
    path = tmp_path / "losses.csv"
    rows = rows_of(range(1, 30))
    written(path, rows)
    assert path.read_text().splitlines()[0] == ",".join(COLUMNS)
    for found, row in zip(read_rows(path), rows, strict=True):
        assert (found.step, found.loss, found.resolution) == (row.step, row.loss, row.resolution)
        assert found.value == pytest.approx(row.value, rel=1e-5) and found.seconds == row.seconds
    curves = read_curves(path)
    assert list(curves) == ["maps_64", "adversarial"]
    assert curves["maps_64"].steps.tolist() == list(range(1, 30))


def test_going_on_drops_the_steps_that_were_lost_and_a_line_that_was_cut_off(tmp_path):
    path = tmp_path / "losses.csv"
    written(path, rows_of(range(1, 21)))
    path.write_text(path.read_text()[:-4])
    record = LossRecord(path, 12)
    assert record.seconds == 6.0
    record.write(rows_of(range(13, 16)))
    record.flush()
    assert [row.step for row in read_rows(path)] == [step for step in range(1, 16) for _ in range(2)]
    record.close()


def test_damage_in_the_middle_is_named(tmp_path):
    path = tmp_path / "losses.csv"
    written(path, rows_of(range(1, 4)))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:3], "4,1.0,many,maps_64,1", *lines[3:]]) + "\n")
    with pytest.raises(InputError, match="line 4"):
        read_curves(path)
    path.write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="columns"):
        LossRecord(path, 0)
    assert path.read_text() == "a,b\n1,2\n"
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path / "missing.csv")


def test_the_running_mean_is_that_of_the_neighbours():
    values = np.array([1.0, 2.0, np.nan, 4.0, 9.0, np.inf, 3.0])
    np.testing.assert_allclose(smooth(values, 1), np.where(np.isfinite(values), values, np.nan))
    np.testing.assert_allclose(smooth(values, 3), [1.5, 1.5, 3.0, 6.5, 6.5, 6.0, 3.0])


@pytest.mark.parametrize("measured", [True, False])
def test_curves_become_a_picture(tmp_path, measured):
    path, plot = tmp_path / "losses.csv", tmp_path / "curves.png"
    rows = rows_of(range(1, 200))
    if measured:
        rows += [LossRow(step, 0.0, 64, MEASURE, 20.0 + step / 50 - step**2 / 2e4) for step in range(20, 200, 20)]
        rows.append(LossRow(200, 0.0, 64, "broken", math.nan))
    written(path, rows)
    write_curves(path, plot)
    with Image.open(plot) as image:
        assert image.size == (1380, 560 if measured else 280)
        pixels = np.asarray(image.convert("RGB"), np.int64)
    blue = (pixels[..., 2] > pixels[..., 0] + 80).sum()
    green = ((pixels[..., 1] > pixels[..., 0] + 60) & (pixels[..., 1] > pixels[..., 2] + 60)).sum()
    assert blue > 300 and (green > 100) == measured
    assert not list(tmp_path.glob("*.partial"))


def test_a_run_without_steps_has_a_picture_too(tmp_path):
    written(tmp_path / "losses.csv", [])
    write_curves(tmp_path / "losses.csv", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0


def test_matplotlib_is_imported_only_to_draw():
    code = "import sys, fitme.training.generator.loss_curves; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0

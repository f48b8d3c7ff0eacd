"""Record of a training run's losses, `losses.csv`, and their plot.

The record has a row per loss and step; rows named `MEASURE` contain the measurement by which the best weights are
chosen, in dB. A resumed run continues the record from its checkpoint's step.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.atomic_file import atomic_file
from fitme.errors import BackendError, InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = ("step", "seconds", "resolution", "loss", "value")
MEASURE = "measure"
"""Name of the rows with the measurement by which the best weights are chosen; higher is better."""
PANEL_COLUMNS = 3
PANEL_INCHES = (4.6, 2.8)
FIGURE_DPI = 100
SMOOTHING_SHARE = 0.02
"""Width of the running mean as a share of a curve's length."""
LOGARITHMIC_RATIO = 10.0
"""Ratio of largest to smallest value from which on the axis of a curve is logarithmic."""


@dataclass(frozen=True, eq=False)
class Curve:
    """Values over the steps of a run."""

    steps: Int64Array
    """(N,)."""
    values: Float64Array
    """(N,)."""


@dataclass(frozen=True)
class LossRow:
    """Row of the record."""

    step: int
    seconds: float
    """Training time of the run so far, over all its calls."""
    resolution: int
    """Texels a side of the maps that the step trained on."""
    loss: str
    value: float


class LossRecord:
    """The open record of a run."""

    def __init__(self, path: Path, step: int) -> None:
        """Open the record at `path` to continue from `step`: rows of later, lost steps are dropped."""
        kept = [row for row in read_rows(path) if row.step <= step] if path.exists() else []
        with atomic_file(path) as partial, partial.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(_cells(row) for row in kept)
        self.path = path
        self.seconds = max((row.seconds for row in kept), default=0.0)
        """Training time of the run before this call."""
        self._file = path.open("a", newline="")
        self._writer = csv.writer(self._file)

    def write(self, rows: Iterable[LossRow]) -> None:
        """Append rows."""
        self._writer.writerows(_cells(row) for row in rows)

    def flush(self) -> None:
        """Write buffered rows to the file."""
        self._file.flush()

    def close(self) -> None:
        """Write buffered rows and close the file."""
        self._file.close()


def read_rows(path: Path) -> list[LossRow]:
    """All rows of a record; a last line that was cut off in writing is dropped.

    :raises InputError: if it cannot be read or a row before the last is damaged.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}): remove it, and only the curves are lost") from error
    lines = text.splitlines()
    if text and not text.endswith("\n"):
        lines = lines[:-1]
    if lines and tuple(lines[0].split(",")) != COLUMNS:
        raise InputError(f"{path} is not a record of losses: its columns must be {', '.join(COLUMNS)}; move it away")
    rows = []
    for number, cells in enumerate(csv.reader(lines[1:]), 2):
        try:
            step, seconds, resolution, loss, value = cells
            rows.append(LossRow(int(step), float(seconds), int(resolution), loss, float(value)))
        except ValueError as error:
            raise InputError(f"{path}, line {number}: {error}; remove the line") from error
    return rows


def read_curves(path: Path) -> dict[str, Curve]:
    """Curves by loss, in the order in which the record first names them; InputError as `read_rows`."""
    found: dict[str, list[tuple[int, float]]] = {}
    for row in read_rows(path):
        found.setdefault(row.loss, []).append((row.step, row.value))
    curves = {}
    for name, points in found.items():
        steps, values = zip(*points, strict=True)
        curves[name] = Curve(np.array(steps, np.int64), np.array(values, np.float64))
    return curves


def smooth(values: Float64Array, width: int) -> Float64Array:
    """Running mean (N,) over `width` values around each, over fewer at the ends; values that are not finite are
    left out."""
    finite = np.isfinite(values)
    before, after = width // 2, width - width // 2
    totals = np.concatenate([[0.0], np.cumsum(np.where(finite, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(finite)])
    index = np.arange(len(values))
    first, last = np.maximum(index - before, 0), np.minimum(index + after, len(values))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((totals[last] - totals[first]) / (counts[last] - counts[first]))


def write_curves(record: Path, plot: Path) -> None:
    """Plot every curve of a record as a PNG, the measurement first, its best value marked.

    :raises InputError: as `read_rows`. :raises BackendError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # no pyplot: no display, no state
    except ImportError as error:
        raise BackendError("curves are drawn with matplotlib: install it with `pip install 'fitme[train]'`") from error
    curves = read_curves(record)
    names = sorted(curves, key=lambda name: name != MEASURE)  # a stable order, the measure first
    rows = max(math.ceil(len(names) / PANEL_COLUMNS), 1)
    figure = Figure((PANEL_INCHES[0] * PANEL_COLUMNS, PANEL_INCHES[1] * rows), layout="constrained")
    panels = figure.subplots(rows, PANEL_COLUMNS, squeeze=False).ravel()
    for panel in panels[len(names) :]:
        panel.remove()
    for panel, name in zip(panels, names, strict=False):
        draw = _draw_measure if name == MEASURE else _draw_loss
        draw(panel, curves[name])
        panel.set_title(name.replace("_", " "), fontsize="medium")
        panel.grid(alpha=0.3)
    with atomic_file(plot) as partial:
        figure.savefig(partial, format="png", dpi=FIGURE_DPI)


def _draw_loss(panel: "Axes", curve: Curve) -> None:
    width = max(round(SMOOTHING_SHARE * len(curve.values)), 1)
    panel.plot(curve.steps, curve.values, color="tab:blue", alpha=0.25, linewidth=0.6)
    panel.plot(curve.steps, smooth(curve.values, width), color="tab:blue", linewidth=1.4)
    finite = curve.values[np.isfinite(curve.values)]
    if len(finite) and finite.min() > 0.0 and finite.max() > LOGARITHMIC_RATIO * finite.min():
        panel.set_yscale("log")


def _draw_measure(panel: "Axes", curve: Curve) -> None:
    panel.plot(curve.steps, curve.values, color="tab:green", marker=".", linewidth=1.4)
    if np.isfinite(curve.values).any():
        best = int(np.nanargmax(np.where(np.isfinite(curve.values), curve.values, np.nan)))
        panel.plot(curve.steps[best], curve.values[best], color="tab:red", marker="o", fillstyle="none", markersize=9)
        panel.annotate(f"{curve.values[best]:.2f}", (curve.steps[best], curve.values[best]), (4, -12),
                       textcoords="offset points")  # fmt: skip


def _cells(row: LossRow) -> tuple[int, str, int, str, str]:
    return row.step, f"{row.seconds:.1f}", row.resolution, row.loss, f"{row.value:.6g}"

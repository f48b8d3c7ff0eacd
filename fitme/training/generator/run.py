"""Training run of the reflectance generator in a folder (`fitme train reflectance`).

::

    checkpoint-000500/           state from which the run is resumed, see `checkpoint`
    generator.safetensors        best weights so far, by PSNR of inverted held-out heads
    last.safetensors             newest weights
    losses.csv, curves.png       losses of every step and all measurements, see `loss_curves`
    samples_000500.png           maps of random samples: diffuse albedo, specular albedo, normals
    rebuilt_000500.png           maps of the data above the generator's reconstructions
    maps/, held_out/             data sets for training, unless one is given, and for measurements
    start.safetensors            initial values of the training, computed from the data once

A run that is started again resumes from its checkpoint and ends with the weights of an uninterrupted run.
"""

import hashlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from fitme.atomic_file import atomic_file
from fitme.errors import BackendError, ConfigError, InputError, ModelFileError
from fitme.metrics.similarity import psnr
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.raw_outputs import decode, encode_raw
from fitme.reflectance.weights import save_generator
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.training.closed_form.principal_components import (
    LinearBasis,
    detail_components,
    map_scores,
    principal_components,
)
from fitme.training.contact_sheets import map_sheet, sample_maps, write_image
from fitme.training.data.dataset import HELD_OUT_SEED, MapDataset, build_dataset, load_dataset, texel_weight
from fitme.training.generator.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    require_same_settings,
    save_checkpoint,
    settings_text,
)
from fitme.training.generator.config import TrainingConfig, load_training_config
from fitme.training.generator.inversion_score import invert
from fitme.training.generator.loss_curves import MEASURE, LossRecord, LossRow, write_curves
from fitme.training.generator.trainer import Trainer, TrainingStart

GENERATOR_NAME, LAST_NAME, START_NAME = "generator.safetensors", "last.safetensors", "start.safetensors"
LOSSES_NAME, CURVES_NAME = "losses.csv", "curves.png"
MAPS_FOLDER, HELD_OUT_FOLDER = "maps", "held_out"
SHEET_COLUMNS = 6
MEASURE_STEPS = 40
"""Steps of an inversion: enough to rank weights, not for results to be published."""
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True)
class RunBudget:
    """Limits of one call."""

    steps: int | None = None
    """Largest number of steps."""
    minutes: float | None = None
    """Wall time, counted from the call, after which no step is begun; saving takes additional time."""


@dataclass(frozen=True)
class Outcome:
    """State of a run at the end of a call."""

    step: int
    finished: bool
    best_db: float | None
    """The best measurement so far; None before the first."""
    checkpoint: Path


def train(
    config: Path,
    out: Path,
    *,
    data: Path | None = None,
    device: str = "cpu",
    budget: RunBudget | None = None,
    console: Console | None = None,
) -> Outcome:
    """Start the run of the folder `out`, or resume it, until it is finished or the budget is spent.

    :param data: a set of `fitme data build`; without one the settings' number of synthetic skins is painted in `out`.
    :raises ConfigError: for impossible settings, or data of another resolution.
    :raises InputError: for a folder or data that cannot be used.
    :raises ModelFileError: for a checkpoint that is damaged or of other settings, or a disk that is full.
    :raises BackendError: for a device that is not available.
    """
    began = time.monotonic()
    settings = load_training_config(config)
    torch_device = device_of(device)
    if out.exists() and not out.is_dir():
        raise InputError(f"{out} is a file: name a folder for the run")
    try:
        run = TrainingRun(settings, out, data, torch_device, console or Console())
        return run.continue_run(budget or RunBudget(), began)
    except (OSError, SafetensorError) as error:
        raise ModelFileError(
            f"{out}: the run cannot write or read its files ({error}). Make room, and start again: it resumes from"
            f" {getattr(latest_checkpoint(out), 'name', 'the beginning')}"
        ) from error


def device_of(name: str) -> torch.device:
    """Torch device of a name; BackendError if it is not available, ConfigError for an unknown kind."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"--device {name}: must be cpu or cuda") from error
    if device.type not in ("cpu", "cuda"):
        raise ConfigError(f"--device {name}: must be cpu or cuda")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise BackendError(f"--device {name}: torch finds no CUDA device here; train with --device cpu")
    return device


class TrainingRun:
    """Run in its folder: the trainer, its record and the best measurement so far."""

    def __init__(
        self, settings: TrainingConfig, out: Path, data: Path | None, device: torch.device, console: Console
    ) -> None:
        self._settings, self._out, self._device, self._console = settings, out, device, console
        if settings.measured_heads < 1:
            raise ConfigError("measured_heads must be at least 1: the best weights are chosen by them")
        path = latest_checkpoint(out)
        found = self._matching(path) if path else None
        out.mkdir(parents=True, exist_ok=True)
        dataset = self._supplied(data) if data else self._painted(MAPS_FOLDER, settings.skins, 0, replace=found is None)
        self._digest = digest_of(dataset)
        if found and found.state["data"] != self._digest:
            raise ModelFileError(f"{path} was trained on other maps: give the --data it began with, or another --out")
        held_out = self._painted(HELD_OUT_FOLDER, settings.measured_heads, HELD_OUT_SEED, replace=True)
        self._held_out = whole_maps(held_out)
        weight = texel_weight(default_texel_geometry(settings.generator.resolution))
        start = training_start(out / START_NAME, settings, dataset, self._digest, weight)
        self.trainer = Trainer(settings, dataset, weight, start, device)
        self.best_db: float | None = None
        self._saved: Path | None = None
        if path and found:
            self.trainer.restore(found.state["trainer"])
            self.best_db, self._saved = found.state["best_db"], path
            console.print(f"resuming from {path}")

    def continue_run(self, budget: RunBudget, began: float) -> Outcome:
        """Train until the run is finished or the budget is spent; `began` is `time.monotonic()` at the call."""
        settings, trainer, saved = self._settings, self.trainer, self._saved
        saved_step = trainer.step if saved else -1
        record = LossRecord(self._out / LOSSES_NAME, trainer.step)
        origin = time.monotonic() - record.seconds
        with closing(record), _progress(self._console) as bar, stop_requests() as stop_requested:
            task = bar.add_task("training", total=settings.steps, completed=trainer.step)
            for report in trainer.run(budget.steps):
                seconds = time.monotonic() - origin
                record.write(LossRow(report.step, seconds, report.resolution, n, v) for n, v in report.losses.items())
                bar.update(task, completed=report.step, description=f"{report.resolution}²")
                if report.step % settings.sample_steps == 0 or report.step == settings.steps:
                    value = self._publish()
                    record.write([LossRow(report.step, seconds, report.resolution, MEASURE, value)])
                    record.flush()
                    write_curves(record.path, self._out / CURVES_NAME)
                if report.step % settings.checkpoint_steps == 0:
                    saved, saved_step = self._save(record), report.step
                out_of_time = budget.minutes is not None and time.monotonic() - began >= 60.0 * budget.minutes
                if out_of_time or stop_requested():
                    break
            if saved is None or saved_step != trainer.step:
                saved = self._save(record)
        write_curves(record.path, self._out / CURVES_NAME)
        return Outcome(trainer.step, trainer.step >= settings.steps, self.best_db, saved)

    def _matching(self, path: Path) -> Checkpoint:
        """Checkpoint at a path; ModelFileError unless its settings are this run's."""
        found = load_checkpoint(path)
        require_same_settings(path, found.config_text, settings_text(self._settings))
        return found

    def _save(self, record: LossRecord) -> Path:
        """Write a checkpoint; its folder."""
        record.flush()
        state = {"trainer": self.trainer.state(), "best_db": self.best_db, "data": self._digest}
        return save_checkpoint(self._out, state, self.trainer.step, settings_text(self._settings))

    def _publish(self) -> float:
        """Write the current weights and contact sheets; PSNR of inverted held-out heads, dB."""
        generator, step = self.trainer.finished_generator(self._settings.prior_steps), self.trainer.step
        save_generator(generator, self._out / LAST_NAME)
        value = measure(generator, self._held_out, self._device)
        best = self.best_db is None or value > self.best_db
        if best:
            self.best_db = value
            save_generator(generator, self._out / GENERATOR_NAME)
        self._console.print(f"step {step}: held-out heads are inverted with {value:.2f} dB{', the best' * best}")
        write_image(map_sheet(sample_maps(generator, SHEET_COLUMNS)), self._out / f"samples_{step:06d}.png")
        real, rebuilt = self.trainer.reconstruct(np.arange(SHEET_COLUMNS))
        sheet = np.concatenate([map_sheet(decode(real)), map_sheet(decode(rebuilt))], 0)
        write_image(sheet, self._out / f"rebuilt_{step:06d}.png")
        return value

    def _supplied(self, folder: Path) -> MapDataset:
        """Data set of the caller; ConfigError if it is of another resolution."""
        dataset, wanted = load_dataset(folder), self._settings.generator.resolution
        if dataset.resolution != wanted:
            raise ConfigError(
                f"{folder} holds maps of {dataset.resolution} texels a side, the settings want {wanted}: build a set"
                f" with `fitme data build --resolution {wanted}`"
            )
        return dataset

    def _painted(self, name: str, count: int, first_seed: int, *, replace: bool) -> MapDataset:
        """Data set of synthetic skins in the run's folder; one of an earlier call is used as it is."""
        with _progress(self._console) as bar:
            task = bar.add_task(name, total=count)
            dataset = build_dataset(
                self._out / name,
                count,
                self._settings.generator.resolution,
                first_seed=first_seed,
                workers=self._settings.data_workers,
                replace=replace,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )
            bar.update(task, completed=count)
            return dataset


@torch.no_grad()
def whole_maps(dataset: MapDataset) -> ReflectanceMaps:
    """All maps of a small set, as one batch."""
    count = len(dataset.maps)
    return decode(encode_raw(dataset.batch(np.arange(count), np.zeros(count, bool))))


def measure(
    generator: ReflectanceGenerator,
    maps: ReflectanceMaps,  # batch of B held-out heads
    device: torch.device,
) -> float:
    """Mean PSNR of the diffuse albedo, dB, after short W+ inversions. Computed on `device`; generator and maps are on
    the CPU before and after."""
    mask = torch.from_numpy(default_texel_geometry(generator.config.resolution).covered)
    target = maps.mapped(lambda _, values: values.to(device))
    generator.requires_grad_(False).to(device)
    w_plus = invert(generator, target, MEASURE_STEPS, mask.to(device))
    with torch.no_grad():
        found = [generator.synthesize(one).diffuse.cpu() for one in torch.split(w_plus, 1)]
    generator.cpu()
    return float(psnr(torch.cat(found), maps.diffuse, mask.float()).mean())


def training_start(
    path: Path, settings: TrainingConfig, dataset: MapDataset, digest: str, weight: Tensor
) -> TrainingStart:
    """Initial values of the training, kept in a file for later calls; computed anew for other data or sizes."""
    sizes = settings.generator
    resolutions = [sizes.trunk_resolution << (k + 1) for k in range(sizes.branch_levels)]
    origin = {"data": digest, "sizes": f"{sizes.linear_components} {sizes.linear_resolution} {sizes.branch_positions}"}
    if path.is_file():
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            same = file.metadata() == origin
        if same:
            basis = LinearBasis(tensors["mean"], tensors["components"], tensors["projection"])
            found = {r: {m.name: tensors[f"{r}.{m.name}"] for m in sizes.modalities} for r in resolutions}
            return TrainingStart(basis, found, tensors["scores"])
    basis = principal_components(dataset, weight, sizes.linear_components, sizes.linear_resolution)
    counts = zip(resolutions, sizes.positions_by_level, strict=True)
    details = {r: detail_components(dataset, weight, basis, count, r) for r, count in counts}
    scores = map_scores(dataset, weight, sizes.linear_resolution)
    tensors = {f"{r}.{name}": maps for r, by_name in details.items() for name, maps in by_name.items()}
    tensors |= {**vars(basis), "scores": scores}
    with atomic_file(path) as partial:
        save_file({name: t.contiguous() for name, t in tensors.items()}, partial, origin)
    return TrainingStart(basis, details, scores)


def digest_of(dataset: MapDataset) -> str:
    """Digest that identifies a set of maps: shape, factors, seeds and skin tones."""
    digest = hashlib.sha256(str(dataset.maps.shape).encode())
    for values in (dataset.factors, dataset.seeds, dataset.ita_deg):
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Context whose value returns whether an interrupt or a request to terminate has arrived; a second signal is
    handled as before. Outside the main thread signals are not caught."""
    requested = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield requested.is_set
        return

    def request_stop(number: int, frame: FrameType | None) -> None:
        requested.set()
        signal.signal(number, before[signal.Signals(number)])

    before = {number: signal.signal(number, request_stop) for number in STOP_SIGNALS}
    try:
        yield requested.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"),
        TimeRemainingColumn(), console=console,
    )  # fmt: skip

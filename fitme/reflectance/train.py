"""Train the reflectance generator: `python -m fitme.reflectance.train --config configs/train_cpu.yaml --out DIR`.

Writes into DIR: the maps (`maps/`), `checkpoint.pt` (a run that finds one goes on from it), `losses.csv`, sheets of
samples and reconstructions (`samples_STEP.png`, `rebuilt_STEP.png`) and, with every sheet and at the end,
`generator.safetensors`.
"""

import csv
import time
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from safetensors.torch import load_file, save_file
from torch import Tensor

from fitme.reflectance.atlas import default_atlas
from fitme.reflectance.dataset import MapDataset, build_dataset, texel_weight
from fitme.reflectance.generator import decode
from fitme.reflectance.linear_basis import LinearBasis, principal_components
from fitme.reflectance.sheets import map_sheet, sample_maps, write_picture
from fitme.reflectance.training import StepReport, Trainer
from fitme.reflectance.training_config import TrainingConfig, load_training_config
from fitme.reflectance.weights import save_generator

SHEET_COLUMNS = 6
CHECKPOINT_NAME, GENERATOR_NAME, LOSSES_NAME = "checkpoint.pt", "generator.safetensors", "losses.csv"
BASIS_NAME = "basis.safetensors"
LOSS_COLUMNS = ("step", "seconds", "resolution", "loss", "value")


def train(
    config: Annotated[Path, typer.Option(help="Settings of the run, YAML.")],
    out: Annotated[Path, typer.Option(help="Folder for maps, checkpoints, pictures and weights.")],
    maps: Annotated[Path | None, typer.Option(help="Folder of maps made before; by default OUT/maps.")] = None,
    threads: Annotated[int, typer.Option(help="Threads of torch; 0 leaves its own choice.")] = 0,
    steps: Annotated[int | None, typer.Option(help="Stop after this many steps of this run.")] = None,
) -> None:
    """Make the maps, train, write weights. A folder that holds a checkpoint is gone on with."""
    if threads > 0:
        torch.set_num_threads(threads)
    settings = load_training_config(config)
    out.mkdir(parents=True, exist_ok=True)
    resolution = settings.generator.resolution
    dataset = build_dataset(maps or out / "maps", settings.skins, resolution, workers=settings.data_workers)
    weight = texel_weight(default_atlas(resolution))
    basis = _linear_basis(out / BASIS_NAME, settings, dataset, weight)
    trainer = Trainer(settings, dataset, weight, basis)
    checkpoint = out / CHECKPOINT_NAME
    if checkpoint.exists():
        trainer.resume(checkpoint)
    started = time.monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress, (out / LOSSES_NAME).open("a", newline="") as file:
        writer = csv.writer(file)
        if file.tell() == 0:
            writer.writerow(LOSS_COLUMNS)
        task = progress.add_task("training", total=settings.steps, completed=trainer.step)
        for report in trainer.run(steps):
            _log(writer, report, time.monotonic() - started)
            progress.update(task, completed=report.step, description=f"{report.resolution}²")
            if report.step % settings.checkpoint_steps == 0:
                trainer.save(checkpoint)
                file.flush()
            if report.step % settings.sample_steps == 0:
                _publish(trainer, out, 0)
    trainer.save(checkpoint)
    _publish(trainer, out, settings.prior_steps)


def _linear_basis(path: Path, settings: TrainingConfig, dataset: MapDataset, weight: Tensor) -> LinearBasis:
    """The principal components of the data, computed once per folder."""
    if not path.exists():
        sizes = settings.generator.linear_components, settings.generator.linear_resolution
        basis = principal_components(dataset, weight, *sizes)
        tensors = {name: value.contiguous() for name, value in vars(basis).items()}
        partial = path.with_name(path.name + ".partial")
        save_file(tensors, partial)
        partial.replace(path)
    return LinearBasis(**load_file(path))


def _log(writer, report: StepReport, seconds: float) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    for name, value in report.losses.items():
        writer.writerow((report.step, f"{seconds:.1f}", report.resolution, name, f"{value:.5f}"))


def _publish(trainer: Trainer, out: Path, prior_steps: int) -> None:
    """Weights as they stand, a sheet of random samples, and a sheet of maps over their reconstructions."""
    generator = trainer.finished_generator(prior_steps)
    save_generator(generator, out / GENERATOR_NAME)
    samples = sample_maps(generator, SHEET_COLUMNS)
    write_picture(map_sheet(samples), out / f"samples_{trainer.step:06d}.png")
    real, rebuilt = trainer.reconstruct(np.arange(SHEET_COLUMNS))
    sheet = np.concatenate([map_sheet(decode(**real)), map_sheet(decode(**rebuilt))], 0)
    write_picture(sheet, out / f"rebuilt_{trainer.step:06d}.png")


if __name__ == "__main__":
    typer.run(train)

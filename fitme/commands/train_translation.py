"""`fitme train translation`: network from textures to full reflectance."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

SAVE_STEPS = 200
"""Steps between two saves of the weights."""


def train_translation(
    data: Annotated[Path, typer.Option(help="Folder that `fitme data build` wrote.")],
    out: Annotated[Path, typer.Option(help="File for the weights (.safetensors).")],
    start: Annotated[Path | None, typer.Option(help="Weights at the start.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, YAML; see configs/train_translation.yaml.")] = None,
    coarse_share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of the run, at its beginning, at half the resolution.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of training.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Textures a step.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0.0, help="End after this wall time, with the schedules shortened.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads of torch; 0 for its default.")] = 0,
    measure: Annotated[int, typer.Option(min=0, help="Held-out heads on which the result is scored.")] = 32,
) -> None:
    """Train the network from a texture, lit or not, to diffuse albedo, specular albedo and normals."""
    import torch
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table

    from fitme.configuration import load_settings
    from fitme.errors import InputError
    from fitme.training.data.dataset import load_dataset
    from fitme.training.textures.translation_network import load_translator, save_translator
    from fitme.training.textures.translation_trainer import (
        TranslationTrainer,
        TranslationTraining,
        held_out_maps,
        score_translation,
    )

    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}; create it")
    if threads:
        torch.set_num_threads(threads)
    dataset = load_dataset(data)
    settings = load_settings(TranslationTraining, config) if config else TranslationTraining()
    # Options take the place of the file's values.
    options: dict[str, Any] = {
        "steps": steps,
        "batch": batch,
        "minutes": minutes,
        "seed": seed,
        "coarse_share": coarse_share,
    }
    settings = replace(settings, **{name: value for name, value in options.items() if value is not None})
    trainer = TranslationTrainer(dataset, settings, start=load_translator(start) if start else None)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("training", total=settings.steps)
        mean = None
        for report in trainer.run():
            mean = report.loss if mean is None else 0.95 * mean + 0.05 * report.loss
            bar.update(task, completed=report.step, description=f"loss {mean:.4f}")
            if report.step % SAVE_STEPS == 0:
                save_translator(trainer.finished(), out)
    network = trainer.finished()
    save_translator(network, out)
    console.print(f"{out}: {out.stat().st_size / 1e6:.2f} MB", markup=False)
    if measure:
        score = score_translation(network, held_out_maps(measure, dataset.resolution))
        table = Table("figure", "value", title=f"Measured on {measure} held-out heads")
        for name, value in asdict(score).items():
            table.add_row(name, f"{value:.4g}")
        console.print(table)

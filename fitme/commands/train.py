"""`fitme train`: training of the networks."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fitme.commands.train_translation import train_translation

app = typer.Typer(no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train the networks."""


app.command("translation")(train_translation)


@app.command("reflectance")
def train_reflectance(
    config: Annotated[Path, typer.Option(help="Settings of the run, YAML; see configs/train_*.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; one that holds a checkpoint is gone on with.")],
    data: Annotated[Path | None, typer.Option(help="Folder that `fitme data build` made; else OUT/maps is.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda or cpu; by default cuda where there is one.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps of this call.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Stop, and save, after this wall time.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads of torch; 0 leaves its own choice.")] = 0,
) -> None:
    """Train the reflectance generator. Ctrl-C stops after the step and saves; the same command goes on."""
    import torch
    from rich.console import Console

    from fitme.training.generator import run as training

    if threads:
        torch.set_num_threads(threads)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    console = Console()
    outcome = training.train(
        config, out, data=data, device=place, budget=training.RunBudget(steps, minutes), console=console
    )
    if outcome.finished:
        console.print(
            f"finished after {outcome.step} steps: {out / training.GENERATOR_NAME}, {outcome.best_db:.2f} dB",
            markup=False,
        )
    else:
        console.print(
            f"stopped after step {outcome.step}; the same command goes on from {outcome.checkpoint}", markup=False
        )


@app.command("encoder")
def train_encoder(
    generator: Annotated[Path, typer.Option(help="Generator that the encoder is for.")],
    data: Annotated[Path, typer.Option(help="Folder that `fitme data build` made.")],
    out: Annotated[Path, typer.Option(help="File for the weights (.safetensors).")],
    start: Annotated[Path | None, typer.Option(help="Encoder whose body to go on from.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, YAML; see configs/train_encoder.yaml.")] = None,
    component_steps: Annotated[int | None, typer.Option(min=0, help="Steps that train the body.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything that is drawn at random.")] = None,
) -> None:
    """Train the encoder that gives a fit its first guess of W+."""
    from fitme.configuration import load_settings
    from fitme.training.encoder import trainer as training

    settings = load_settings(training.EncoderSettings, config) if config else training.EncoderSettings()
    # Options take the place of the file's values.
    options = {"component_steps": component_steps, "seed": seed}
    chosen = {name: value for name, value in options.items() if value is not None}
    settings = replace(settings, training=replace(settings.training, **chosen))
    training.train_encoder(generator, data, out, start, settings)

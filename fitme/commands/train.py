"""`fitme train`: training of the networks."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from fitme.commands.train_people import train_detail, train_expressions, train_extension, train_people
from fitme.commands.train_translation import train_translation

app = typer.Typer(no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train the networks."""


app.command("translation")(train_translation)
app.command("people")(train_people)
app.command("extension")(train_extension)
app.command("detail")(train_detail)
app.command("expressions")(train_expressions)


@app.command("reflectance")
def train_reflectance(
    config: Annotated[Path, typer.Option(help="Settings of the run, YAML; see configs/train_*.yaml.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run with a checkpoint is continued.")],
    data: Annotated[
        Path | None, typer.Option(help="Folder that `fitme data build` wrote; OUT/maps by default.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda or cpu; by default cuda where there is one.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Stop after this many steps of this call.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.0, help="Stop, and save, after this wall time.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="Threads of torch; 0 for its default.")] = 0,
) -> None:
    """Train the reflectance generator. Ctrl-C stops after the step and saves; the same command continues the run."""
    import torch
    from rich.console import Console

    from fitme.training.generator import run as training

    if threads:
        torch.set_num_threads(threads)
    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    console = Console()
    outcome = training.train(
        config, out, data=data, device=chosen, budget=training.RunBudget(steps, minutes), console=console
    )
    if outcome.finished:
        console.print(
            f"finished after {outcome.step} steps: {out / training.GENERATOR_NAME}, {outcome.best_db:.2f} dB",
            markup=False,
        )
    else:
        console.print(
            f"stopped after step {outcome.step}; the same command continues from {outcome.checkpoint}", markup=False
        )


@app.command("encoder")
def train_encoder(
    generator: Annotated[Path, typer.Option(help="Weights of the encoder's generator.")],
    data: Annotated[Path, typer.Option(help="Folder that `fitme data build` wrote.")],
    out: Annotated[Path, typer.Option(help="File for the weights (.safetensors).")],
    start: Annotated[Path | None, typer.Option(help="Encoder whose body is the start.")] = None,
    config: Annotated[Path | None, typer.Option(help="Settings, YAML; see configs/train_encoder.yaml.")] = None,
    component_steps: Annotated[int | None, typer.Option(min=0, help="Steps of training of the body.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of all random numbers.")] = None,
) -> None:
    """Train the encoder of textures to W+, with which a fit is initialised."""
    from fitme.configuration import load_settings
    from fitme.training.encoder import trainer as training

    settings = load_settings(training.EncoderSettings, config) if config else training.EncoderSettings()
    # Options take the place of the file's values.
    options = {"component_steps": component_steps, "seed": seed}
    chosen = {name: value for name, value in options.items() if value is not None}
    settings = replace(settings, training=replace(settings.training, **chosen))
    training.train_encoder(generator, data, out, start, settings)

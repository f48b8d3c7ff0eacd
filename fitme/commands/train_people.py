"""`fitme train people`: training of the reflectance generator, and of its texture encoder, on people."""

from pathlib import Path
from typing import Annotated

import typer


def train_people(
    config: Annotated[Path, typer.Option(help="Settings of the run, YAML; see configs/train_people.yaml.")],
    data: Annotated[Path, typer.Option(help="Folder that `fitme data build --people` wrote.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run with a checkpoint is continued.")],
    start: Annotated[
        Path | None, typer.Option(help="Weights of the generator to begin with; by default the painted skin's.")
    ] = None,
    start_encoder: Annotated[
        Path | None, typer.Option(help="Texture encoder whose body is the start; by default the painted skin's.")
    ] = None,
    device: Annotated[str | None, typer.Option(help="cuda or cpu; by default cuda where there is one.")] = None,
    seconds: Annotated[
        float | None, typer.Option(min=0.0, help="Stop, and save, after this wall time of training.")
    ] = None,
) -> None:
    """Train the reflectance generator on people, then its texture encoder. Ctrl-C stops and saves."""
    import torch
    from rich.console import Console

    from fitme.reflectance.texture_encoder import PAINTED_ENCODER
    from fitme.reflectance.weights import PAINTED_WEIGHTS
    from fitme.training.people import run as training

    chosen = device or ("cuda" if torch.cuda.is_available() else "cpu")
    console = Console()
    outcome = training.train_people(
        config,
        out,
        data,
        start or PAINTED_WEIGHTS,
        start_encoder=start_encoder or PAINTED_ENCODER,
        device=chosen,
        seconds=seconds,
        console=console,
    )
    if outcome.finished:
        console.print(f"finished after {outcome.step} steps: {out / training.GENERATOR_NAME}", markup=False)
    else:
        console.print(f"stopped after step {outcome.step}; the same command continues", markup=False)

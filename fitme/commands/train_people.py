"""`fitme train people` and `fitme train extension`: the reflectance generator and its texture encoder learn from
people."""

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


def train_extension(
    data: Annotated[Path, typer.Option(help="Folder that `fitme data build --people` wrote.")],
    out: Annotated[Path, typer.Option(help="File for the extension (.safetensors).")],
    config: Annotated[Path | None, typer.Option(help="Settings, YAML; see configs/train_extension.yaml.")] = None,
) -> None:
    """Extend the generator of painted skin by people's, in closed form: minutes on a CPU."""
    from rich.progress import Progress

    from fitme.configuration import load_settings
    from fitme.reflectance.linear_extension import save_extension
    from fitme.reflectance.packaged_models import packaged_encoder, packaged_generator
    from fitme.training.encoder.simulated_textures import CaptureSettings
    from fitme.training.people.mixing import PeopleBank
    from fitme.training.people.people_set import load_people_set, reduced
    from fitme.training.people.residuals import ExtensionSettings, fit_extension
    from fitme.training.people.views_file import load_views

    settings = load_settings(ExtensionSettings, config) if config else ExtensionSettings()
    generator = packaged_generator("painted").requires_grad_(False)
    encoder = packaged_encoder(generator)
    assert encoder is not None
    people = load_people_set(data)
    sides = (2 * generator.config.linear_resolution, generator.config.linear_resolution)
    bank, small = (PeopleBank(reduced(people, side)) for side in sides)
    with Progress() as bar:
        task = bar.add_task("heads")
        extension = fit_extension(
            generator, encoder, bank, small, load_views(data), settings, CaptureSettings(),
            lambda done, total: bar.update(task, completed=done, total=total),
        )  # fmt: skip
    save_extension(extension, out)


def train_detail(
    data: Annotated[Path, typer.Option(help="Folder that `fitme data build --people` wrote.")],
    out: Annotated[Path, typer.Option(help="File for the statistics (.json).")],
) -> None:
    """Measure the fine detail of people's skin: variances by octave and part of the face."""
    from rich.progress import Progress

    from fitme.reflectance.skin_detail import REFERENCE_RESOLUTION, save_skin_detail
    from fitme.training.people.detail_statistics import detail_statistics, textures_of_set

    with Progress() as bar:
        task = bar.add_task("people")
        textures = textures_of_set(data, lambda done, total: bar.update(task, completed=done, total=total))
        save_skin_detail(detail_statistics(textures, REFERENCE_RESOLUTION), out)


def train_expressions(
    people: Annotated[list[Path], typer.Option(help="Folder of portraits NUMBER_neutral, NUMBER_smiling; repeatable.")],
    out: Annotated[Path, typer.Option(help="File for the prior (.safetensors).")],
    work: Annotated[Path, typer.Option(help="Folder that keeps fitted portraits; a run with some is continued.")],
) -> None:
    """Measure what a smile changes in skin: the mean over people. The held-out people of the split are left out."""
    from fitme.reflectance.expression_prior import save_expression_prior
    from fitme.skin.texel_geometry import default_texel_geometry
    from fitme.training.people.expression_changes import RESOLUTION, fitted_pairs, smile_prior
    from fitme.training.people.split import is_held_out

    geometry = default_texel_geometry(RESOLUTION)
    save_expression_prior(smile_prior(fitted_pairs(people, work, RESOLUTION, is_held_out), geometry), out)

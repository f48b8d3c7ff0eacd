"""`fitme data build --people`: set of people's reflectance, from their portraits."""

from collections.abc import Sequence
from pathlib import Path


def build_people(folders: Sequence[Path], out: Path, resolution: int) -> None:
    """Build the set of the portraits in folders, print who was left out and why, and the distribution of skin tones.

    The held-out people of the London set (`fitme.training.people.split`) are never part of it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from fitme.skin.skin_tone_classes import CLASS_NAMES, SkinToneCounts
    from fitme.training.people.people_set import build_people_set, read_left_out
    from fitme.training.people.split import is_held_out

    console = Console()
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("portraits", total=None)
        people = build_people_set(
            folders, out, resolution,
            progress=lambda done, total: bar.update(task, completed=done, total=total), leave_out=is_held_out,
        )  # fmt: skip
    for name, reason in read_left_out(out).items():
        console.print(f"left out: {name}: {reason}", markup=False)
    counts = SkinToneCounts.of(people.ita_deg)
    tones = ", ".join(f"{name} {count}" for name, count in zip(CLASS_NAMES, counts.counts, strict=True))
    console.print(
        f"{out}: {len(people.names)} people of {people.resolution} x {people.resolution} texels", markup=False
    )
    console.print(f"skin tones before balancing: {tones}", markup=False)

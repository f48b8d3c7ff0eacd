"""`fitme fit`: from photos or a video to an avatar."""

from pathlib import Path
from typing import Annotated

import typer

from fitme.errors import InputError

DEFAULT_SECONDS = 50.0
"""Refinement after which an avatar is as good as a short clip makes it."""
INTERRUPTED = 130
"""Exit code after Ctrl-C."""
DEVICES = ("cpu", "cuda")


def fit(
    inputs: Annotated[list[Path] | None, typer.Argument(help="Photos, folders of photos, or a video.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write; made if it is not there.")] = Path("avatar"),
    seconds: Annotated[float, typer.Option(min=0.0, help="Seconds of refinement.")] = DEFAULT_SECONDS,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    holdout: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the pictures kept from the fit, to score it with.")
    ] = 0.0,
    session: Annotated[Path | None, typer.Option(help="Session's store to go on from, and to keep the fit in.")] = None,
) -> None:
    """Fit an avatar to photos or a video of one person, and write it to a folder.

    Ctrl-C ends the refinement early; what was found until then is written.
    """
    if not inputs and session is None:
        raise InputError("name photos or a video to fit, or a --session to go on from")
    if device not in DEVICES:
        raise InputError(f"--device {device}: use {' or '.join(DEVICES)}")
    from fitme.commands.fit.request import FitRequest
    from fitme.commands.fit.startup import started, uncollected
    from fitme.commands.fit.stopwatch import Stopwatch

    request, watch = FitRequest(tuple(inputs or ()), out, seconds, device, holdout, session), Stopwatch()
    with started(request, watch) as (pictures, models):
        # Imported here: another thread looks at the pictures meanwhile.
        with uncollected(), watch.measuring("start"):
            from fitme.commands.fit.pipeline import run_fit

        interrupted = run_fit(request, pictures, models, watch)
    if interrupted:
        raise typer.Exit(INTERRUPTED)

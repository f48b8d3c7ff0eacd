"""`fitme fit`: avatar from photos or a video."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from fitme.errors import InputError
from fitme.render.devices import DeviceName
from fitme.track.settings import IdentityName

if TYPE_CHECKING:
    from fitme.commands.fit.request import FitRequest

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


def fit(
    inputs: Annotated[list[Path] | None, typer.Argument(help="Photos, folders of photos, or a video.")] = None,
    out: Annotated[Path, typer.Option(help="Folder to write; created if it is missing.")] = Path("avatar"),
    seconds: Annotated[float | None, typer.Option(min=0.0, help="Seconds of refinement; 50 by default.")] = None,
    device: Annotated[str | None, typer.Option(help="cpu (the default) or cuda.")] = None,
    holdout: Annotated[
        float | None, typer.Option(min=0.0, max=0.9, help="Share of the images kept from the fit, to score it with.")
    ] = None,
    session: Annotated[
        Path | None, typer.Option(help="Folder of a session to continue, and to keep the fit in.")
    ] = None,
    identity: Annotated[str | None, typer.Option(help="Identity network: dlib (the default) or arcface.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings; see configs/fit.yaml.")] = None,
) -> None:
    """Fit an avatar to photos or a video of one person, and write it to a folder.

    Ctrl-C ends the refinement early; the avatar so far is written.
    """
    if not inputs and session is None:
        raise InputError("name photos or a video to fit, or a --session to continue")
    _check_choice("--device", device, get_args(DeviceName))
    _check_choice("--identity", identity, get_args(IdentityName))
    from fitme.commands.fit.startup import started, uncollected
    from fitme.commands.fit.stopwatch import Stopwatch

    watch = Stopwatch()
    request = build_request(config, {"seconds": seconds, "device": device, "holdout": holdout})
    networks = replace(request.networks, **_given({"identity": identity}))
    request = replace(request, inputs=tuple(inputs or ()), out=out, session=session, networks=networks)
    with started(request, watch) as (frames, models):
        # Imported only now, while another thread reads the images.
        with uncollected(), watch.measuring("start"):
            from fitme.commands.fit.pipeline import run_fit

        interrupted = run_fit(request, frames, models, watch)
    if interrupted:
        raise typer.Exit(INTERRUPTED)


def build_request(config: Path | None, options: dict[str, Any]) -> "FitRequest":
    """Request from the settings file, if there is one, overridden by the given options."""
    from fitme.commands.fit.request import FitRequest

    request = FitRequest((), Path())
    if config is not None:
        from fitme.commands.fit.settings import FitCommandSettings
        from fitme.configuration import load_settings

        settings = load_settings(FitCommandSettings, config)
        request = replace(request, **{name: getattr(settings, name) for name in FitCommandSettings.__annotations__})
    return replace(request, **_given(options))


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Options that are not None."""
    return {name: value for name, value in options.items() if value is not None}


def _check_choice(option: str, value: str | None, choices: tuple[str, ...]) -> None:
    """Raise InputError unless `value` is one of the choices or None."""
    if value is not None and value not in choices:
        raise InputError(f"{option} {value}: use {' or '.join(choices)}")

"""Command line `fitme`.

Other packages add commands by the entry-point group `fitme.commands`: NAME = "module:attribute", where the attribute
is a function for typer, or a `typer.Typer` with subcommands.
"""

import os
import sys
from collections.abc import Callable, Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Annotated

import typer

import fitme
from fitme.bench import command as bench
from fitme.commands import data, export, render, shape, train
from fitme.commands.drive import command as drive
from fitme.commands.fit import command as fit
from fitme.exit_codes import ending_in_one_line
from fitme.native_libraries import check_native_libraries

COMMAND_GROUP = "fitme.commands"
"""Entry-point group of further commands."""

_COMMANDS: dict[str, Callable[..., None]] = {
    "fit": fit.fit,
    "render": render.render,
    "export": export.export,
    "drive": drive.drive,
    "bench": bench.bench,
}
_GROUPS: dict[str, typer.Typer] = {"data": data.app, "shape": shape.app, "train": train.app}


def build_app(plugins: Iterable[EntryPoint] = ()) -> typer.Typer:
    """Application with its own commands and those of `plugins`, which are loaded."""
    app = typer.Typer(
        name="fitme",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for name, function in _COMMANDS.items():
        app.command(name)(function)
    for name, group in _GROUPS.items():
        app.add_typer(group, name=name)
    for plugin in plugins:
        loaded = plugin.load()
        if isinstance(loaded, typer.Typer):
            app.add_typer(loaded, name=plugin.name)
        else:
            app.command(plugin.name)(loaded)
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(f"fitme {fitme.__version__}")
        raise typer.Exit


def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Relightable 3D face avatars from a webcam, a video or photos."""


def main() -> None:
    """Entry point of the console script. Errors that the user can correct end it with one line and `FAILURE`."""
    # Threads that wait by spinning slow everything down as soon as another process uses the processor. OpenMP reads
    # its variable when torch is first imported, OpenBLAS when NumPy is: both are imported inside the commands.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    command = next((argument for argument in sys.argv[1:] if not argument.startswith("-")), None)
    with ending_in_one_line():
        if command is not None and "--help" not in sys.argv:
            check_native_libraries()
        build_app(_plugins_for(command))()


def _plugins_for(command: str | None) -> list[EntryPoint]:
    """Plugin that `command` names; all plugins if it names no command, for the list of commands."""
    if command in _COMMANDS or command in _GROUPS:
        return []
    plugins = list(entry_points(group=COMMAND_GROUP))
    return [plugin for plugin in plugins if plugin.name == command] or plugins


if __name__ == "__main__":
    main()

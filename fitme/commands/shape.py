"""`fitme shape`: the morphable model."""

import runpy
import sys

import typer

BUILDER = "fitme.build.shape.build"
"""Module that builds the morphable model; it has its own command line."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def shape() -> None:
    """The morphable model of heads."""


@app.command(
    "build", context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def shape_build(context: typer.Context) -> None:
    """Build the morphable model; every option goes to `python -m fitme.build.shape.build` (try --help)."""
    sys.argv = [f"{context.command_path}", *context.args]
    runpy.run_module(BUILDER, run_name="__main__", alter_sys=False)

"""`fitme train`: training of the networks."""

import runpy
import sys

import typer

REFLECTANCE_TRAINER = "fitme.reflectance.train"
"""Module that trains the reflectance generator; it has its own command line."""

app = typer.Typer(no_args_is_help=True)


@app.callback()
def train() -> None:
    """Train the networks."""


@app.command(
    "reflectance",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []},
)
def train_reflectance(context: typer.Context) -> None:
    """Train the reflectance generator; every option goes to `python -m fitme.reflectance.train` (try --help)."""
    sys.argv = [f"{context.command_path}", *context.args]
    runpy.run_module(REFLECTANCE_TRAINER, run_name="__main__", alter_sys=False)

"""Entry point `python -m stream`: runs `fitme serve`."""

import sys

import typer

from fitme.errors import FitmeError
from stream.command import serve

USAGE_ERROR = 2


def main() -> None:
    """Run the server; errors that the user can mend end it with one line."""
    try:
        typer.run(serve)
    except FitmeError as error:
        print(f"fitme serve: {error}", file=sys.stderr)
        raise SystemExit(USAGE_ERROR) from error


if __name__ == "__main__":
    main()

"""A server whose engines wait instead of working: `python -m stream.bench.waiting_server`, options as `fitme serve`.

`stream.bench.waiting_engine` describes the engines. They lie in this process, or on the Ray cluster that the settings
name.
"""

import argparse
import functools
import sys
from dataclasses import replace
from pathlib import Path

from fitme.configuration import load_settings
from fitme.errors import FitmeError
from stream.bench.waiting_engine import ROUND_S, WaitingEngine
from stream.engine.cluster.ray_engine import RayEngine
from stream.engine.interface import Engine
from stream.server import LOCAL_ENGINE, run_server
from stream.settings import ServeSettings

USAGE_ERROR = 2


def main() -> None:
    """Run the server; errors that the user can mend end it with one line."""
    parser = argparse.ArgumentParser(description="A server whose engines wait instead of working")
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", required=True)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--round-s", type=float, default=ROUND_S)
    given = parser.parse_args()
    waiting = functools.partial(WaitingEngine, round_s=given.round_s, journal=given.journal)

    def make_engine(settings: ServeSettings) -> Engine:
        return waiting(settings) if settings.engine == LOCAL_ENGINE else RayEngine(settings, waiting)

    try:
        settings = replace(load_settings(ServeSettings, given.config), port=given.port, store=given.store)
        run_server(settings, make_engine)
    except FitmeError as error:
        print(f"waiting server: {error}", file=sys.stderr)
        raise SystemExit(USAGE_ERROR) from error


if __name__ == "__main__":
    main()

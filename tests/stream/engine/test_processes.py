"""Entries of the engine's processes."""

import subprocess
import sys

import pytest

ENTRY = """
import logging, os
import stream.engine.{module} as module
from stream.engine import processes
from stream.settings import ServeSettings

def run(*arguments):
    os.write(2, b"a native library's line\\n")
    logging.getLogger("engine").error("what went wrong")

module.run_{module} = run
processes._run_{name}({pipes}, ServeSettings())
"""


@pytest.mark.parametrize(
    ("name", "module", "pipes"), [("live", "live_process", "None, None"), ("fit", "fit_process", "None")]
)
def test_what_goes_wrong_is_logged_and_native_libraries_are_quiet(name: str, module: str, pipes: str) -> None:
    entry = ENTRY.format(name=name, module=module, pipes=pipes)
    ended = subprocess.run([sys.executable, "-c", entry], capture_output=True, text=True, check=True)
    assert "ERROR engine: what went wrong" in ended.stderr
    assert "native library" not in ended.stderr

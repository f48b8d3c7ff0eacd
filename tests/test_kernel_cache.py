"""Compiled kernels on disk: a file that a crash has cut off is compiled again."""

import subprocess
import sys
from pathlib import Path

import pytest

KERNEL = """
from fitme.kernel_cache import cached_kernel

@cached_kernel
def doubled(x):
    return 2 * x

print(doubled(21), sum(doubled.stats.cache_hits.values()))
"""


def run(folder: Path) -> str:
    """Runs the kernel in a process of its own: its result, and how often it came from the cache."""
    environment = {"NUMBA_CACHE_DIR": str(folder / "cache"), "PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, str(folder / "kernel.py")]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.strip()


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
@pytest.mark.parametrize("kept_bytes", [0, 150])
def test_a_cut_file_is_compiled_again(tmp_path: Path, ending: str, kept_bytes: int):
    (tmp_path / "kernel.py").write_text(KERNEL)
    assert run(tmp_path) == "42 0"
    (file,) = (tmp_path / "cache").rglob(f"*.{ending}")
    file.write_bytes(file.read_bytes()[:kept_bytes])
    assert run(tmp_path) == "42 0"
    assert run(tmp_path) == "42 1"

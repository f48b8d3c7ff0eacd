"""Compiled kernels on disk: a file that a crash has cut off is compiled again, and a folder is found that can be
written."""

import shutil
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


def test_a_read_only_installation_and_home_cache_in_a_temporary_folder(tmp_path: Path):
    """A file in the place of a folder: root, too, can make none there."""
    installed = tmp_path / "installed" / "fitme"
    installed.mkdir(parents=True)
    package = Path(__file__).parents[1] / "fitme"
    for name in ("__init__.py", "kernel_cache.py", "errors.py"):
        shutil.copy(package / name, installed / name)
    (installed / "__init__.py").write_text("")
    (installed / "kernel.py").write_text(KERNEL)
    (installed / "__pycache__").touch()
    (tmp_path / "home").touch()
    (tmp_path / "temporary").mkdir()
    paths = {name: str(tmp_path / "home") for name in ("HOME", "XDG_CACHE_HOME")}
    environment = {**paths, "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(installed.parent)}
    command = [sys.executable, str(tmp_path / "run.py")]
    (tmp_path / "run.py").write_text("import fitme.kernel")
    for hits in (0, 1):
        ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.strip() == f"42 {hits}"
        assert "NUMBA_CACHE_DIR" in ended.stderr
    (folder,) = (tmp_path / "temporary").iterdir()
    assert folder.stat().st_mode & 0o077 == 0
    folder.chmod(0o755)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert "belongs to somebody else" in ended.stderr

"""Wheel: what it installs, and that it runs from a read-only folder without a home."""

import os
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

USE = """
import logging; logging.basicConfig()
import numpy as np
import fitme
from fitme.shape.raster import rasterize
from stream.web.app import CLIENT_FOLDER
corners = np.array([[0.0, 0.0, 1.0], [8.0, 0.0, 1.0], [0.0, 8.0, 1.0]])
print(fitme.__file__, CLIENT_FOLDER / "index.html", (CLIENT_FOLDER / "index.html").is_file())
print(int((rasterize(corners, np.array([[0, 1, 2]]), 8, 8).triangle == 0).sum()))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pytest.importorskip("hatchling")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_wheel_holds_code_page_settings_and_weights_below_two_names(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"fitme", "stream"}
    shipped = {
        "fitme/py.typed", "fitme/shape/default_model.npz", "fitme/configs/fit.yaml", "stream/page/index.html",
        "stream/page/assets/sample.webm",
    }  # fmt: skip
    assert shipped <= set(names)
    assert {f"fitme/configs/{path.name}" for path in (ROOT / "configs").iterdir()} <= set(names)
    assert any(name.startswith("fitme/reflectance/weights/") and name.endswith(".safetensors") for name in names)
    assert not any("__pycache__" in name for name in names)


def test_wheel_runs_where_nothing_can_be_written(wheel: Path, tmp_path: Path):
    installed, temporary = tmp_path / "installed", tmp_path / "temporary"
    temporary.mkdir()
    zipfile.ZipFile(wheel).extractall(installed)
    # Root may write to read-only folders; nobody may write below a file.
    for folder in [installed, *(path for path in installed.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").touch()
    environment = os.environ | {
        "PYTHONPATH": str(installed),
        "HOME": "/dev/null",
        "XDG_CACHE_HOME": "/dev/null",
        "TMPDIR": str(temporary),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    environment.pop("NUMBA_CACHE_DIR", None)
    command = [sys.executable, "-P", "-c", USE]
    for _ in range(2):
        result = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert str(installed / "stream" / "page" / "index.html") in result.stdout
        assert result.stdout.split()[2:] == ["True", "36"]
        assert "NUMBA_CACHE_DIR" in result.stderr
    kernels = temporary / f"fitme-kernels-{os.getuid()}"
    assert stat.S_IMODE(kernels.stat().st_mode) == 0o700
    assert list(kernels.rglob("*.nbc"))
    kernels.chmod(0o777)
    result = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
    assert result.returncode != 0
    assert "belongs to somebody else" in result.stderr

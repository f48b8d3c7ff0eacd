"""The command line: one clear line and code 2 for what the user can mend, files where they were asked for."""

import json
import math
import re
import resource
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from fitme import cli
from fitme.avatar import Avatar
from fitme.bench import command as bench
from fitme.bench.rows import BenchmarkRow
from fitme.export.gltf.glb import read_glb
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage


@pytest.fixture
def run_fitme(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]):
    """Runs the command line in this process: (exit code, standard output, standard error)."""

    def run(*arguments: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fitme", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        output = capfd.readouterr()
        return code, output.out, output.err

    return run


@pytest.fixture(scope="module")
def avatar_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("avatar")
    identity = torch.zeros(load_default_model().identity_count)
    Avatar(identity, ReflectanceMaps.constant((0.5, 0.3, 0.2), 0.5, 32), 1.2, Stage.SKIN).save(
        folder / "avatar.safetensors"
    )
    return folder


def one_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.startswith("fitme: ")]
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def test_help_names_every_command(run_fitme):
    code, out, _ = run_fitme("--help")
    assert code == 0
    for command in ("fit", "render", "export", "drive", "bench", "shape", "train"):
        assert re.search(rf"\b{command}\b", out)


def test_error_is_one_line_and_code_two(tmp_path: Path):
    """In a process of its own, as a user sees it."""
    (tmp_path / "notes.mp4").write_text("not a video\n" * 100)
    command = [sys.executable, "-m", "fitme.cli", "fit", "notes.mp4", "--out", "out"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert run.returncode == 2
    assert "not a video" in one_line(run.stderr)
    assert not (tmp_path / "out").exists()


def test_unusable_inputs_are_named(run_fitme, tmp_path: Path):
    (tmp_path / "cut.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(40))
    for arguments, message in [
        (["fit", tmp_path / "missing.jpg"], "missing.jpg: there is no such file"),
        (["fit", tmp_path / "cut.png"], "cut.png"),
        (["fit"], "name photos or a video"),
        (["fit", tmp_path / "cut.png", "--out", tmp_path / "cut.png"], "cut.png: is a file"),
        (["fit", tmp_path / "missing.jpg", "--device", "abacus"], "use cpu or cuda"),
        (["fit", tmp_path / "missing.jpg", "--device", "cuda"], "--device cuda"),
        (["serve", "--device", "abacus"], "use cpu or cuda"),
        (["serve", "--device", "cuda"], "--device cuda"),
        (["render", tmp_path / "nobody", "--out", tmp_path / "a.png"], "no such avatar"),
        (["export", tmp_path / "nobody", "--out", tmp_path / "a.glb"], "no such avatar"),
        (["export", tmp_path / "nobody", "--out", tmp_path / "a.fbx"], "name a .glb, .vrm or .obj file"),
        (["bench", "nothing-of-the-kind"], "no such benchmark"),
    ]:
        code, _, err = run_fitme(*arguments)
        assert code == 2, arguments
        assert message in one_line(err)


def test_picture_without_a_face_is_reported(run_fitme, tmp_path: Path):
    Image.new("RGB", (320, 240), (90, 120, 90)).save(tmp_path / "meadow.png")
    code, _, err = run_fitme("fit", tmp_path / "meadow.png", "--out", tmp_path / "out", "--seconds", "1")
    assert code == 2
    assert "meadow.png: no face was found" in one_line(err)
    assert not (tmp_path / "out").exists()


def test_messages_of_native_libraries_are_suppressed(tmp_path: Path):
    """MediaPipe logs to standard error; only the program's own messages appear."""
    Image.new("RGB", (320, 240), (90, 120, 90)).save(tmp_path / "meadow.png")
    command = [sys.executable, "-m", "fitme.cli", "fit", "meadow.png", "--out", "out"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=200, check=False)
    assert run.returncode == 2
    assert "no face was found" in one_line(run.stderr)
    assert "W0000" not in run.stderr
    assert "INFO" not in run.stderr


def test_unknown_option_is_explained(run_fitme):
    code, _, err = run_fitme("fit", "--no-such-option")
    assert code == 2
    assert "No such option" in err


def test_render_follows_its_options(run_fitme, avatar_folder: Path, tmp_path: Path):
    images = []
    for name, options in {
        "front": [],
        "turned": ["--yaw", "40"],
        "lit": ["--light", "-80", "0"],
        "open": ["--expression", "jawOpen=1"],
    }.items():
        code, _, err = run_fitme("render", avatar_folder, "--out", tmp_path / f"{name}.png", "--size", "96", *options)
        assert code == 0, err
        images.append(np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int))
    assert all(image.shape == (96, 96, 3) for image in images)
    assert all(np.abs(image - images[0]).mean() > 1.0 for image in images[1:])
    code, _, err = run_fitme("render", avatar_folder, "--out", tmp_path / "a.png", "--expression", "wink=1")
    assert code == 2
    assert "not an ARKit expression" in one_line(err)


def test_export_writes_a_glb_and_an_obj(run_fitme, avatar_folder: Path, tmp_path: Path):
    code, _, err = run_fitme("export", avatar_folder, "--out", tmp_path / "new" / "a.glb")
    assert code == 0, err
    document, _ = read_glb((tmp_path / "new" / "a.glb").read_bytes())
    assert len(document["meshes"][0]["extras"]["targetNames"]) == 52 + 15  # ARKit's and the visemes
    code, _, err = run_fitme("export", avatar_folder, "--out", tmp_path / "a.obj")
    assert code == 0, err
    text = (tmp_path / "a.obj").read_text()
    assert text.count("\no ") > 1, "the head and its parts"
    assert text.count("\nv ") > load_default_model().vertex_count


def test_a_full_disk_ends_in_one_line_and_leaves_nothing(run_fitme, avatar_folder: Path, tmp_path: Path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))  # larger files fail, as on a full disk
    try:
        code, _, err = run_fitme("export", avatar_folder, "--out", tmp_path / "a.glb")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert code == 2
    assert "File too large" in one_line(err)
    assert list(tmp_path.iterdir()) == []


def test_plugins_become_commands(run_fitme, monkeypatch: pytest.MonkeyPatch):
    plugin = EntryPoint("greet", "tests_plugin:greet", cli.COMMAND_GROUP)
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda: print("good morning"))
    monkeypatch.setattr(cli, "entry_points", lambda group: [plugin] if group == cli.COMMAND_GROUP else [])
    code, out, _ = run_fitme("greet")
    assert (code, out.strip()) == (0, "good morning")
    assert "greet" in run_fitme("--help")[1]


def test_benchmark_ends_with_one_line_of_json(run_fitme, monkeypatch: pytest.MonkeyPatch):
    plugin = EntryPoint("nothing", "tests_plugin:nothing", bench.BENCHMARK_GROUP)
    rows = [BenchmarkRow("speed of nothing", 12.5, "1/s", ">= 40"), BenchmarkRow("what never came", math.nan, "s")]
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda: rows)
    monkeypatch.setattr(bench, "entry_points", lambda group: [plugin])
    code, out, err = run_fitme("bench", "nothing", "--json")
    assert code == 0, err
    result = json.loads(out.splitlines()[-1])
    assert result["benchmark"] == "nothing"
    assert {"commit", "seed", "machine"} <= result.keys()
    assert result["rows"][0] == {"name": "speed of nothing", "value": 12.5, "unit": "1/s", "target": ">= 40"}
    assert result["rows"][1]["value"] is None
    assert "speed of nothing" in out.partition("{")[0]
    assert run_fitme("bench")[1].split() == ["nothing"]

    # Only benchmarks that count something take a number.
    code, _, err = run_fitme("bench", "nothing", "--count", "3")
    assert code == 2
    assert "counts nothing" in err
    monkeypatch.setattr(EntryPoint, "load", lambda self: lambda count=10: [BenchmarkRow("counted", count, "")])
    out = run_fitme("bench", "nothing", "--count", "3", "--json")[1]
    assert json.loads(out.splitlines()[-1])["rows"][0]["value"] == 3

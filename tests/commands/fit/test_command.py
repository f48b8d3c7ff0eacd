"""`fitme fit` from a synthetic clip to the whole output folder."""

import json
import math
import os
import signal
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image

from fitme import cli
from fitme.api import keyframes
from fitme.avatar import Avatar
from fitme.export import turntable
from fitme.export.gltf.glb import read_glb
from fitme.export.portrait import draw_portrait, portrait_light, portrait_pose
from fitme.export.video import write_mp4
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.state import RoundReport
from fitme.ingest import selection
from fitme.reflectance.maps import ReflectanceMaps
from fitme.session.store import SessionStore
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region
from fitme.stage import Stage

FRAMES = 18
SIDE_PX = 256
KEYFRAMES = 5
MOVIE_S = 0.2
MAP_RESOLUTION = 128
STALE = ("099.obj", "099_input.png", "holdout/099_input.png")
"""Name of a file of an earlier fit in the folder."""
SKIN, LIPS, EYES = (0.45, 0.26, 0.19), (0.35, 0.11, 0.1), (0.6, 0.6, 0.6)
"""Linear albedos with which the tracker detects a face."""


def painted_maps(model: MorphableModel) -> ReflectanceMaps:
    coverage = uv_raster(model, MAP_RESOLUTION)
    region = model.triangle_region.numpy()[np.maximum(coverage.triangle, 0)]
    diffuse = np.broadcast_to(np.float32(SKIN), (MAP_RESOLUTION, MAP_RESOLUTION, 3)).copy()
    diffuse[region == Region.LIPS], diffuse[region == Region.EYES] = LIPS, EYES
    flat = ReflectanceMaps.constant(SKIN, 0.4, MAP_RESOLUTION)
    return ReflectanceMaps(torch.from_numpy(diffuse)[None], flat.specular, flat.normals)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A head that turns from side to side and opens its mouth."""
    model = load_default_model()
    identity = 0.7 * torch.randn(model.identity_count, generator=torch.Generator().manual_seed(5))
    person = Avatar(identity, painted_maps(model), 1.2, Stage.SKIN)

    def frame(index: int) -> np.ndarray:
        phase = 2.0 * math.pi * index / FRAMES
        expression = {"jawOpen": 0.3 * max(0.0, math.sin(2.0 * phase)), "mouthSmileLeft": 0.2, "mouthSmileRight": 0.2}
        pose = portrait_pose(math.radians(25.0) * math.sin(phase), math.radians(4.0))
        return draw_portrait(person, model, expression, pose, portrait_light(0.3, 0.4), SIDE_PX)

    path = tmp_path_factory.mktemp("clip") / "head.mp4"
    write_mp4(map(frame, range(FRAMES)), 10, path)
    return path


@pytest.fixture(autouse=True, scope="module")
def small():
    """Fewer keyframes and a shorter turntable, to save time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(selection, "KEYFRAMES", KEYFRAMES)
        patch.setattr(turntable, "SECONDS", MOVIE_S)
        yield


def run(*arguments: str | Path) -> int:
    argv, sys.argv = sys.argv, ["fitme", *map(str, arguments)]
    try:
        cli.main()
    except SystemExit as exit_:
        return exit_.code if isinstance(exit_.code, int) else 0
    finally:
        sys.argv = argv
    return 0


@pytest.fixture(scope="module")
def folder(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "ada"
    (out / "holdout").mkdir(parents=True)
    for stale in STALE:
        (out / stale).touch()
    (out / "report.json").write_text(json.dumps({"fitme": "0.1.0", "files": list(STALE)}))
    (out / "notes.txt").write_text("the user's own")
    assert run("fit", clip, "--out", out, "--seconds", "0", "--holdout", "0.25") == 0
    return out


def test_the_folder_contains_all_documented_files(folder: Path):
    names = {path.name for path in folder.iterdir()}
    assert {"avatar.glb", "avatar.safetensors", "report.json", "turntable.mp4", "holdout"} <= names
    assert {"diffuse.png", "specular.png", "normal.png", "observed.png"} <= names
    meshes = sorted(folder.glob("*.obj"))
    assert len(meshes) == KEYFRAMES
    assert "099.obj" not in names, "an earlier fit's files must go"
    for mesh in meshes:
        triple = [np.asarray(Image.open(folder / f"{mesh.stem}_{kind}.png")) for kind in ("input", "render", "mask")]
        assert [image.shape for image in triple] == [
            (SIDE_PX, SIDE_PX, 3),
            (SIDE_PX, SIDE_PX, 3),
            (SIDE_PX, SIDE_PX),
        ]
        assert set(np.unique(triple[2])) <= {0, 255}
        assert 0.02 < (triple[2] > 0).mean() < 0.9
    read_glb((folder / "avatar.glb").read_bytes())
    assert Avatar.load(folder).name == "ada"
    with av.open(str(folder / "turntable.mp4")) as container:
        assert container.streams.video[0].frames == round(MOVIE_S * turntable.RATE_HZ)


def test_the_report_lists_the_written_files(folder: Path):
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    listed = json.loads((folder / "report.json").read_text())["files"]
    assert len(listed) == len(set(listed))
    assert set(listed) == files - {"notes.txt"}


def test_outputs_of_a_fit_are_not_taken_for_photos(folder: Path, clip: Path, capsys: pytest.CaptureFixture[str]):
    assert run("fit", folder, "--out", folder.parent / "other") == 2
    assert "only images that an earlier fit wrote" in capsys.readouterr().err
    assert run("fit", clip, folder, "--out", folder) == 2
    assert "lies in" in capsys.readouterr().err


def test_held_out_frames_are_scored(folder: Path):
    triples = sorted(path.name for path in (folder / "holdout").iterdir())
    assert len(triples) % 3 == 0
    assert len(triples) >= 5 * 3
    assert "099_input.png" not in triples
    held_out = json.loads((folder / "report.json").read_text())["holdout"]
    assert len(held_out["frames"]) == len(triples) // 3
    assert held_out["median"]["psnr_db"] > 10.0
    assert held_out["median"]["covered"] > 0.9


def test_the_report_contains_estimates_and_timings(folder: Path):
    report = json.loads((folder / "report.json").read_text())
    assert report["version"] == 1
    assert report["inputs"] == ["head.mp4"]
    assert {"read and track", "refine", "write avatar", "total"} <= report["timings_s"].keys()
    assert report["rounds"]
    assert report["stage"] in tuple(Stage)[1:]
    assert report["observed"]["map"] == "observed.png"
    for entry in report["keyframes"]:
        assert entry["camera"]["width"] == SIDE_PX
        assert list(entry["expression"]) == list(EXPRESSION_NAMES)
        assert np.linalg.norm(entry["pose"]["rotation_xyzw"]) == pytest.approx(1.0, abs=1e-5)
        assert entry["pose"]["translation_m"][2] < 0
        assert np.array(entry["light"]["sh"]).shape == (9, 3)
        assert "loss" in entry
        assert entry["source"].startswith("head.mp4 frame ")
    yaws = [entry["pose"]["yaw_pitch_roll_deg"][0] for entry in report["keyframes"]]
    assert max(yaws) > 10
    assert min(yaws) < -10


def test_no_held_out_frame_is_a_keyframe(folder: Path):
    report = json.loads((folder / "report.json").read_text())
    fitted = {entry["source"] for entry in report["keyframes"]}
    held_out = {entry["source"] for entry in report["holdout"]["frames"]}
    assert not fitted & held_out


def test_the_projected_mesh_covers_the_mask(folder: Path):
    entry = json.loads((folder / "report.json").read_text())["keyframes"][0]
    lines = (folder / f"{entry['name']}.obj").read_text().splitlines()
    x, y, z = np.array([line.split()[1:] for line in lines if line.startswith("v ")], float).T
    camera = entry["camera"]
    columns = camera["center_px"][0] + camera["focal_px"] * x / z
    rows = camera["center_px"][1] + camera["focal_px"] * y / z
    mask = np.asarray(Image.open(folder / f"{entry['name']}_mask.png")) > 0
    drawn_rows, drawn_columns = np.nonzero(mask)
    inside = (columns >= 0) & (columns < SIDE_PX) & (rows >= 0) & (rows < SIDE_PX)
    assert abs(columns[inside].min() - drawn_columns.min()) < 4
    assert abs(columns[inside].max() - drawn_columns.max()) < 4
    assert abs(rows[inside].min() - drawn_rows.min()) < 4


def test_ctrl_c_writes_the_avatar_so_far(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    refine = IncrementalFitter.refine

    def interrupted(fitter: IncrementalFitter, budget_s: float) -> RoundReport:
        os.kill(os.getpid(), signal.SIGINT)
        return refine(fitter, budget_s)

    handler = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(IncrementalFitter, "refine", interrupted)
    assert run("fit", clip, "--out", tmp_path, "--seconds", "600") == 130
    assert len(json.loads((tmp_path / "report.json").read_text())["rounds"]) == 1
    read_glb((tmp_path / "avatar.glb").read_bytes())
    assert signal.getsignal(signal.SIGINT) is handler


def expression_frames(store: Path) -> list[str]:
    with SessionStore(store) as opened:
        state = opened.read()
    assert state is not None
    return [frame.key for frame in state.expression_frames]


def test_a_session_is_continued(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    store = tmp_path / "session"
    assert run("fit", clip, "--out", tmp_path / "first", "--seconds", "0", "--session", store) == 0
    kept = expression_frames(store)
    assert len(kept) == FRAMES - KEYFRAMES
    monkeypatch.setattr(keyframes, "EXPRESSION_FRAMES", 3)
    assert run("fit", "--out", tmp_path / "second", "--seconds", "0", "--session", store) == 0
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second"))
    assert len(second["rounds"]) > len(first["rounds"]) >= 1
    assert len(second["keyframes"]) == len(first["keyframes"])
    assert len(expression_frames(store)) == 3
    assert set(expression_frames(store)) < set(kept)

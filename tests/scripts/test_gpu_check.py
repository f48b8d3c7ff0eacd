"""The check of the CUDA path, as far as it runs without a GPU."""

import importlib
import json
import sys
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from fitme.fit.keyframe import Keyframe
from fitme.geometry import Camera, HeadPose
from fitme.render.rasterizer import select_backend
from fitme.shape.model_file import load_default_model
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

SCRIPTS = Path(__file__).parents[2] / "scripts"


@pytest.fixture
def gpu_check(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module("gpu_check")


def prepared_clip(gpu_check: ModuleType):
    clips = sys.modules["check_clips"]
    random = np.random.default_rng(0)
    observation = FaceObservation(
        random.random((478, 2), np.float32) * 32,
        random.random(478, np.float32),
        HeadPose(random.random(3, np.float32), random.random(3, np.float32)),
        random.random(52, np.float32),
        Camera.centered(30.0, 32, 24),
        FrameQuality(1.0, 0.5, 0.0, 20.0, 0.0),
        FaceStatus.OK,
        None,
    )
    image = np.full((24, 32, 3), (200, 120, 90), np.uint8)
    mask = np.linspace(0.0, 1.0, 24 * 32, dtype=np.float32).reshape(24, 32)
    frame = clips.PreparedFrame(Keyframe("k", image, observation, 0.5), mask, 1.0 - mask)
    return clips.PreparedClip("somebody", [frame], [], [])


def test_a_prepared_clip_is_read_as_it_was_written(gpu_check: ModuleType, tmp_path: Path):
    clips, clip = sys.modules["check_clips"], prepared_clip(gpu_check)
    clips.save_clip(clip, tmp_path / "clip.npz")
    read = clips.load_clip(tmp_path / "clip.npz")
    (ours,), (theirs,) = clip.keyframes, read.keyframes
    assert (read.name, theirs.keyframe.key, theirs.keyframe.timestamp_s) == ("somebody", "k", 0.5)
    np.testing.assert_array_equal(theirs.keyframe.observation.landmarks, ours.keyframe.observation.landmarks)
    assert theirs.keyframe.observation.camera == ours.keyframe.observation.camera
    np.testing.assert_allclose(theirs.keyframe.image, ours.keyframe.image, atol=3)  # JPEG
    visibility = clips.PreparedVisibility(read)
    np.testing.assert_allclose(visibility.usable_pixels(theirs.keyframe), ours.usable, atol=0.5 / 255 + 1e-6)


def test_the_cpu_agrees_with_itself(gpu_check: ModuleType):
    operators = sys.modules["check_operators"]
    rows = operators.compare_operators(load_default_model(), "cpu", select_backend("cpu"))
    assert {part for part, _, _ in rows} == {"rasterize", "interpolate", "texture", "antialias"}
    assert all(value == 0.0 for _, _, value in rows)


def test_a_part_that_fails_does_not_end_the_check(
    gpu_check: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    clip, fits = prepared_clip(gpu_check), sys.modules["check_fits"]
    sys.modules["check_clips"].save_clip(clip, tmp_path / "clip.npz")
    for name in ("compare_operators", "compare_generators", "compare_training", "DlibEmbedder"):
        monkeypatch.setattr(gpu_check, name, lambda *_, name=name: [(name, "figure", 1.0)])
    monkeypatch.setattr(gpu_check, "compare_renders", lambda *_: 1 // 0)
    monkeypatch.setattr(gpu_check, "fit_clip", lambda *_: fits.FittedClip({"total": 2.0}))
    arguments = Namespace(
        quick=True, device="cpu", clips=[tmp_path / "clip.npz"], identity=None, skins=None, json=tmp_path / "check.json"
    )
    gpu_check.run(arguments)
    found = json.loads((tmp_path / "check.json").read_text())
    assert list(found["failures"]) == ["render"] and "ZeroDivisionError" in found["failures"]["render"]
    assert ["compare_training", "figure", 1.0] in found["rows"]
    assert ["fit somebody", "total on cpu, s", 2.0] in found["rows"]

"""Python API: from an image to renders and files, through a session, in a handful of names."""

import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from threadpoolctl import threadpool_info, threadpool_limits

import fitme
from fitme.export.gltf.glb import read_glb
from fitme.export.video import write_mp4
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def avatar():
    identity = torch.zeros(load_default_model().identity_count)
    return fitme.Avatar(identity, ReflectanceMaps.constant((0.5, 0.3, 0.2), 0.5, 32), 1.2, Stage.SKIN)


def test_all_names_exist():
    for name in fitme.__all__:
        assert getattr(fitme, name) is not None
    assert set(dir(fitme)) >= set(fitme.__all__)
    with pytest.raises(AttributeError, match="no attribute 'fitt'"):
        _ = fitme.fitt


def test_import_loads_no_heavy_package():
    code = "import sys, fitme; print(sorted(sys.modules.keys() & {'torch', 'numba', 'mediapipe', 'numpy', 'zarr'}))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_fit_of_an_array_is_saved_resumed_and_drawn(tmp_path):
    image = skimage_astronaut()
    stages, threads = [], set()

    def note(stage, share):
        stages.append((stage, share))
        threads.update(library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas")

    with threadpool_limits(2, user_api="blas"), fitme.fit_avatar(image, seconds=0.0, on_progress=note) as begun:
        assert threads == {1}
        assert stages[-1][0] == begun.stage
        assert not begun.converged
        while not begun.stage.has_reached(Stage.SKIN):
            begun.refine(0.0)
        begun.save(tmp_path / "session")
        identity = begun.avatar.identity
        assert begun.add(image) == 0, "the same image is no second keyframe"
    with fitme.resume_fit(tmp_path / "session") as resumed:
        assert resumed.stage is Stage.SKIN
        torch.testing.assert_close(resumed.avatar.identity, identity)
        drawn = fitme.render_avatar(resumed.avatar, size=64, light=fitme.key_light(-60.0, 10.0))
    assert drawn.shape == (64, 64, 3)
    assert drawn[16:48, 16:48].std() > 5.0


def skimage_astronaut() -> np.ndarray:
    data = pytest.importorskip("skimage.data")
    return np.ascontiguousarray(data.astronaut())


def test_images_are_added_before_the_first_refinement():
    image = skimage_astronaut()
    with fitme.Fit() as begun:
        assert begun.add(image) == 1
        assert begun.add(image[:, ::-1].copy()) == 1, "the person of the first one"
        assert begun.add(image) == 0


def test_light_and_expression_reach_the_render(avatar):
    right = fitme.render_avatar(avatar, size=64, light=fitme.key_light(azimuth=70.0)).astype(float)
    left = fitme.render_avatar(avatar, size=64, light=fitme.key_light(azimuth=-70.0)).astype(float)
    surrounded = fitme.render_avatar(avatar, size=64, light=fitme.environment_light("overcast")).astype(float)
    assert surrounded[0, 0].mean() > right[0, 0].mean() + 50, "the sky lies behind the head"
    assert right[:, 32:].mean() > left[:, 32:].mean() + 5.0
    opened = fitme.render_avatar(avatar, size=64, expression={"jawOpen": 1.0}).astype(float)
    assert np.abs(opened - fitme.render_avatar(avatar, size=64)).max() > 20.0


def test_version_by_option_and_module():
    for arguments in (["-m", "fitme", "--version"], ["-m", "fitme.cli", "--version"]):
        result = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=True)
        assert result.stdout.strip() == f"fitme {fitme.__version__}"


def test_files_are_written_and_read(avatar, tmp_path):
    avatar.save(tmp_path / "me.safetensors")
    assert torch.equal(fitme.load_avatar(tmp_path / "me.safetensors").identity, avatar.identity)
    fitme.write_glb(avatar, str(tmp_path / "me.glb"))
    content, _ = read_glb((tmp_path / "me.glb").read_bytes())
    assert content["meshes"][0]["extras"]["targetNames"][:52] == list(fitme.EXPRESSION_NAMES)


def run_example(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_example_from_a_photo_to_a_glb(tmp_path):
    Image.fromarray(skimage_astronaut()).save(tmp_path / "astronaut.png")
    assert "landmarks" in run_example("photo_to_glb.py", tmp_path / "astronaut.png", tmp_path / "a.glb", 0)
    content, _ = read_glb((tmp_path / "a.glb").read_bytes())
    assert content["meshes"]


def test_example_with_two_lights(avatar, tmp_path):
    avatar.save(tmp_path / "me.safetensors")
    run_example("two_lights.py", tmp_path / "me.safetensors", tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(float)
    assert sheet.shape == (1024, 1024, 3)
    assert np.abs(sheet[:512, :512] - sheet[:512, 512:]).mean() > 2.0, "the lights differ"
    assert np.abs(sheet[:512] - sheet[512:]).max() > 20.0, "the expressions differ"


def test_example_from_a_clip_to_a_turntable(tmp_path):
    write_mp4([skimage_astronaut()] * 4, 4, tmp_path / "clip.mp4")
    assert "stage landmarks" in run_example("clip_to_turntable.py", tmp_path / "clip.mp4", tmp_path / "turn.mp4", 0)
    with av.open(str(tmp_path / "turn.mp4")) as movie:
        assert movie.streams.video[0].frames > 24


def test_wrong_inputs_are_named(avatar, tmp_path):
    with pytest.raises(fitme.FitmeError, match="smile: not ARKit expressions"):
        fitme.render_avatar(avatar, expression={"smile": 1.0})
    with pytest.raises(fitme.FitmeError, match=r"no such file"):
        fitme.fit_avatar(tmp_path / "nobody.jpg")
    with pytest.raises(fitme.FitmeError, match=r"image 0: give an image \(H, W, 3\) uint8"):
        fitme.fit_avatar(np.zeros((100, 100, 3), np.float32))
    with pytest.raises(fitme.FitmeError, match="image 0: no face was found"):
        fitme.fit_avatar(np.zeros((100, 100, 3), np.uint8))
    with pytest.raises(fitme.FitmeError, match="add images first"):
        fitme.Fit().refine()
    if not torch.cuda.is_available():
        with pytest.raises(fitme.FitmeError, match="CUDA"):
            fitme.Fit(device="cuda")
    with pytest.raises(fitme.FitmeError, match="no such session"):
        fitme.resume_fit(tmp_path / "nothing")

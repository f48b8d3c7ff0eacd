"""Population and scenes of the truth benchmark; most tests need the scan-based population, which is not shipped."""

import dataclasses
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from fitme.bench.truth import dataset as truth_dataset
from fitme.bench.truth import scenes
from fitme.bench.truth import strands as truth_strands
from fitme.bench.truth.dataset import DatasetSize, frame_file, load_mask, load_truth, make_truth, relit_file
from fitme.bench.truth.lights import UnseenLight
from fitme.bench.truth.people import Material, load_scans, smooth_normals
from fitme.bench.truth.scenes import VARIANT_VARIABLE, TruthRenderer, choose_variant, eye_texture
from fitme.bench.truth.subjects import Covering, subject
from fitme.errors import BackendError, ConfigError, InputError
from fitme.geometry import Camera
from fitme.shape.model_file import load_default_model
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region
from fitme.skin.painter import synthesize_skin

SCANS = Path(__file__).parents[4] / "shared" / "data" / "ict_facekit.npz"
VARIANT = "scalar_rgb"
STRANDS = SCANS.parent / "assets" / "strands"
needs_scans = pytest.mark.skipif(not SCANS.exists(), reason="the scan-based population is not part of the project")
needs_strands = pytest.mark.skipif(
    not (SCANS.exists() and STRANDS.is_dir()), reason="neither population nor strands are part of the project"
)
SMALL = Camera.centered(64.0, 64, 48)


@pytest.fixture(scope="module")
def scans():
    return load_scans(SCANS, load_default_model())


@pytest.fixture(scope="module")
def renderer(scans):
    pytest.importorskip("mitsuba", reason="Mitsuba 3 is not installed: it comes with the extra 'truth'")
    drawn = subject(0, 2)
    return TruthRenderer(scans, drawn, synthesize_skin(drawn.skin_seed, 128, attributes=drawn.attributes), VARIANT)


def test_a_missing_population_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="FITME_SCANS"):
        load_scans(tmp_path / "none.npz", load_default_model())


def test_an_unknown_variant_is_a_config_error(monkeypatch):
    monkeypatch.setenv(VARIANT_VARIABLE, "abacus_rgb")
    with pytest.raises(ConfigError, match="scalar_rgb"):
        choose_variant()


def test_a_variant_that_does_not_return_is_passed_over(monkeypatch):
    tried = []

    def run(command, **options):
        tried.append(options["timeout"])
        if "llvm" in command[-1]:
            raise subprocess.TimeoutExpired(command, options["timeout"])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.delenv(VARIANT_VARIABLE, raising=False)
    monkeypatch.setattr(scenes.subprocess, "run", run)
    assert choose_variant() == "scalar_rgb"
    assert tried == [scenes.PROBE_S] * 2


def test_without_a_working_variant_one_is_told_what_to_install(monkeypatch):
    monkeypatch.delenv(VARIANT_VARIABLE, raising=False)
    monkeypatch.setattr(scenes, "_PROBE", "import time\ntime.sleep(60)  # {variant}")
    monkeypatch.setattr(scenes, "PROBE_S", 0.1)
    with pytest.raises(BackendError, match="mitsuba"):
        choose_variant()


@needs_scans
def test_landmarks_of_the_population_fall_on_the_same_features_in_our_layout(scans):
    model = load_default_model()
    corners = model.uv_triangles[model.ibug_triangles].long()
    ours = (model.uv[corners] * model.ibug_barycentric[..., None]).sum(1).numpy()
    distance = np.linalg.norm(scans.uv[scans.landmarks] - ours, axis=1)[27:]
    assert np.median(distance) < 0.008
    assert np.quantile(distance, 0.9) < 0.02  # inner lips touch, and may be taken for each other
    mouth = uv_raster(model, 512)
    lip = scans.uv[scans.landmarks[[51, 57]]]  # middles of the upper and the lower lip's outer edge
    for u, v in lip:
        near = mouth.triangle[int(v * 512) - 8 : int(v * 512) + 9, int(u * 512) - 8 : int(u * 512) + 9]
        assert Region.LIPS in model.triangle_region[torch.from_numpy(near[near >= 0])]


@needs_scans
def test_expressions_move_the_named_parts(scans):
    opened = scans.offsets({"jawOpen": 1.0})
    chin, brow = opened[scans.landmarks[8]], opened[scans.landmarks[19]]
    assert chin[1] < -0.01
    assert np.abs(brow).max() < 0.002
    whole = scans.offsets({"browInnerUp": 1.0})
    sides = scans.offsets({"browInnerUp_L": 1.0}) + scans.offsets({"browInnerUp_R": 1.0})
    assert np.allclose(whole, sides)
    left = scans.offsets({"mouthSmileLeft": 1.0})[scans.landmarks]
    assert np.linalg.norm(left[54]) > 3.0 * np.linalg.norm(left[48])
    with pytest.raises(ValueError, match="no such expression"):
        scans.offsets({"wiggleEars": 1.0})


def test_an_iris_is_of_one_size_on_any_eyeball():
    dark = {}
    for radius_m in (0.0145, 0.0167):
        sclera = eye_texture(subject(0), radius_m)[0, 0]
        iris = np.abs(eye_texture(subject(0), radius_m) - sclera).max(-1) > 0.05
        dark[radius_m] = radius_m * np.sqrt(iris.mean() * 4.0 / np.pi)
    assert dark[0.0145] == pytest.approx(dark[0.0167], rel=0.02)
    assert dark[0.0145] == pytest.approx(subject(0).iris_radius_m, rel=0.02)


@needs_scans
def test_heads_turn_and_shoulders_stay(scans, renderer):
    frame = subject(0, 16).frames[12]
    posed, straight = renderer.posed(frame), renderer.posed(subject(0, 2).frames[0])
    shoulders = np.unique(scans.triangles[Material.CLOTH])
    low = shoulders[renderer.neutral[shoulders, 1] < -0.2]
    moved = (posed - straight)[low]
    assert np.allclose(moved, moved[0], atol=3e-4)  # what an expression does to shoulders, in metres
    true = frame.pose.opencv_extrinsics()
    expected = (renderer.neutral + scans.offsets(frame.expression))[:6706] @ true[:3, :3].T + true[:3, 3]
    assert np.allclose(posed[:6706] * [1.0, -1.0, -1.0], expected, atol=1e-5)


@needs_scans
def test_a_render_has_the_pose_and_the_direction_of_light(renderer, scans):
    frame = subject(0, 2).frames[0]
    right = UnseenLight(0.02, (0.9, 0.1, np.sqrt(1.0 - 0.82)), (1.0, 1.0, 1.0))
    image = renderer.render(frame, right, SMALL, 8).mean(-1)
    assert image.shape == (48, 64)
    pixels = SMALL.project(torch.from_numpy(renderer.posed(frame)[scans.landmarks])).numpy().astype(int)
    cheeks = [image[y - 1 : y + 2, x - 1 : x + 2].mean() for x, y in (pixels[2] + [2, 0], pixels[14] - [2, 0])]
    assert cheeks[1] > 2.0 * cheeks[0]  # 14 is on the image's right
    assert image[:6, :6].mean() == pytest.approx(0.02, abs=1e-3)  # ambient light alone


@needs_scans
def test_the_unseen_light_has_the_scale_of_the_project_s_renderer(renderer, scans):
    """Under uniform light of radiance 1, the plain clothes have the radiance of their albedo."""
    frame = subject(0, 2).frames[0]
    image = renderer.render(frame, UnseenLight(1.0, (0.0, 0.0, 1.0), (0.0, 0.0, 0.0)), SMALL, 8)
    cloth = image[-3:, 28:36].mean((0, 1))
    assert np.allclose(cloth, subject(0).cloth_color, rtol=0.35)


@needs_strands
def test_a_set_is_made_once_and_read_back(tmp_path, monkeypatch):
    pytest.importorskip("mitsuba", reason="Mitsuba 3 is not installed: it comes with the extra 'truth'")
    monkeypatch.setenv(VARIANT_VARIABLE, VARIANT)
    monkeypatch.setattr(truth_dataset, "DEFAULT_SCANS", SCANS.parent)
    monkeypatch.delenv(truth_dataset.SCANS_VARIABLE, raising=False)
    monkeypatch.setattr(truth_strands, "DEFAULT_STRANDS", STRANDS)
    monkeypatch.delenv(truth_strands.STRANDS_VARIABLE, raising=False)
    tiny = DatasetSize(subjects=1, frames=2, samples=1, width=64, height=48)
    messages: list[str] = []
    make_truth(tmp_path, tiny, [0], messages.append)
    assert VARIANT in messages[0]
    truth = load_truth(tmp_path, 0, 2)
    assert truth.tone == subject(0).tone
    assert truth.scan.shape == (4000, 3)
    assert np.allclose(np.linalg.norm(truth.scan_normals, axis=1), 1.0, atol=1e-3)
    assert truth.held_out.tolist() == [False, True]
    assert np.array_equal(truth.pose(1).rotation, subject(0, 2).frames[1].pose.rotation)
    assert relit_file(tmp_path, 0, 1).is_file()
    assert load_mask(tmp_path, 0, 1).shape == (48, 64)
    written = frame_file(tmp_path, 0, 0).stat().st_mtime_ns
    make_truth(tmp_path, dataclasses.replace(tiny), [0], messages.append)
    assert frame_file(tmp_path, 0, 0).stat().st_mtime_ns == written
    assert not list(tmp_path.rglob("*.partial"))


@needs_strands
def test_strands_grow_from_the_scalp_and_stay_outside_of_the_body(scans, monkeypatch):
    monkeypatch.setattr(truth_strands, "DEFAULT_STRANDS", STRANDS)
    covered = dataclasses.replace(subject(1, 2), hair_style="Eve", covering=Covering.HAIR)
    strands = truth_dataset.subject_strands(scans, covered)
    neutral = scans.neutral(np.array(covered.identity))
    body = np.concatenate([scans.triangles[Material.SKIN], scans.triangles[Material.CLOTH]])
    normals = smooth_normals(neutral, body)
    outside = np.unique(body)
    distance, nearest = cKDTree(neutral[outside]).query(strands.reshape(-1, 3))
    height = ((strands.reshape(-1, 3) - neutral[outside][nearest]) * normals[outside][nearest]).sum(1)
    assert np.quantile(distance.reshape(strands.shape[:2])[:, 0], 0.95) < 0.01
    assert (height[distance < 0.01] < 0.0).mean() < 0.01
    assert strands[..., 1].min() < -0.2  # long hair


@needs_strands
def test_a_cap_has_no_strands(scans):
    assert truth_dataset.subject_strands(scans, dataclasses.replace(subject(1, 2), covering=Covering.CAP)) is None


@needs_scans
def test_a_mask_is_what_the_person_covers(renderer, scans):
    frame = subject(0, 2).frames[0]
    mask = renderer.mask(frame, SMALL)
    pixels = SMALL.project(torch.from_numpy(renderer.posed(frame)[scans.landmarks])).numpy().astype(int)
    assert mask.shape == (48, 64)
    assert (mask[pixels[:, 1], pixels[:, 0]] > 0.9).mean() > 0.9
    assert mask[:4].max() < 0.05
    assert ((mask > 0.05) & (mask < 0.95)).any()

"""Clips of synthetic heads: repeatability, ground truth against a face tracker, motion, clothes, file formats."""

from pathlib import Path

import av
import numpy as np
import pytest
import torch

from fitme.errors import InputError
from fitme.geometry import rotation_matrix
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from fitme.synthetic.clip import ClipSettings, clip_frames, clip_identity, expression_at, pose_at, write_clip
from fitme.synthetic.clothes import NECK_PIVOT_M, add_clothes
from fitme.track.mediapipe_tasks import TasksBackend

SAMPLE = Path(__file__).resolve().parent.parent.parent / "client" / "assets" / "sample.webm"
SHORT = ClipSettings(seed=7, seconds=12.0, rate_hz=1)


@pytest.fixture(scope="module")
def clip():
    return list(clip_frames(SHORT))


@pytest.fixture
def face_mesh():
    with TasksBackend() as backend:
        yield backend


def _found(face_mesh, image):
    """Landmarks (478, 2) in pixels, or None without a face."""
    faces = face_mesh.mesh(image)
    return faces[0].landmarks if faces else None


def test_frames_have_the_requested_size(clip):
    assert len(clip) == 12
    assert all(frame.image.shape == (480, 640, 3) and frame.image.dtype == np.uint8 for frame in clip)


def test_the_same_seed_gives_the_same_clip(clip):
    again = next(clip_frames(SHORT))
    assert np.array_equal(again.image, clip[0].image)
    other = next(clip_frames(ClipSettings(seed=8, rate_hz=1)))
    assert np.abs(other.image.astype(int) - clip[0].image).mean() > 3.0


def test_ground_truth_agrees_with_an_independent_tracker(clip, face_mesh):
    """MediaPipe finds a face in every frame, with landmarks near the ground truth's projection."""
    model = load_default_model()
    identity = clip_identity(SHORT.seed, model)[None]
    for frame in clip:
        found = _found(face_mesh, frame.image)
        assert found is not None
        vertices = model.vertices(identity, torch.from_numpy(frame.expression)[None])
        rotation = rotation_matrix(torch.from_numpy(frame.pose.rotation))
        points = model.landmarks(vertices)[0] @ rotation.T + torch.from_numpy(frame.pose.translation)
        expected = frame.camera.project(points).numpy()
        eyes_px = np.linalg.norm(expected[473] - expected[468])
        error = np.linalg.norm(found - expected, axis=1)[model.mediapipe_valid.numpy()]
        assert np.median(error) < 0.12 * max(eyes_px, 60.0)


def test_the_head_turns_to_all_sides_and_the_clip_loops():
    shares = np.linspace(0.0, 1.0, 200, endpoint=False)
    yaws, pitches, _ = np.degrees([pose_at(share).yaw_pitch_roll() for share in shares]).T
    assert yaws.min() < -40.0
    assert yaws.max() > 40.0
    assert pitches.min() < -11.0
    assert pitches.max() > 13.0
    assert np.abs(np.diff(yaws)).max() < 5.0
    for end, begin in zip(pose_at(0.9999).yaw_pitch_roll(), pose_at(0.0).yaw_pitch_roll(), strict=True):
        assert end == pytest.approx(begin, abs=0.01)


def test_the_face_blinks_smiles_and_opens_its_mouth():
    expressions = np.array([expression_at(share) for share in np.linspace(0.0, 1.0, 400)])
    assert expressions.min() >= 0.0
    assert expressions.max() <= 1.0
    for name in ("eyeBlinkLeft", "mouthSmileRight", "jawOpen", "browInnerUp"):
        series = expressions[:, EXPRESSION_NAMES.index(name)]
        assert series.max() > 0.35
        assert series.min() < 0.2


def test_clothes_stay_while_the_head_turns():
    model = load_default_model()
    head = model.mean.numpy()
    mesh = add_clothes(model, head)
    turn = rotation_matrix(torch.tensor([0.0, 0.6, 0.0])).numpy()
    still = np.eye(3, dtype=np.float32)
    vertices = mesh.vertices(head, turn, still)
    pivot = np.array(NECK_PIVOT_M, np.float32)
    seen = (vertices - pivot) @ turn.T + pivot
    np.testing.assert_allclose(seen[model.vertex_count :], mesh.body, atol=1e-5)
    face = head[:, 1] > -0.07
    np.testing.assert_array_equal(vertices[: model.vertex_count][face], head[face])
    assert mesh.triangles.max() == len(vertices) - 1
    assert mesh.uv_triangles.max() == len(mesh.uv) - 1
    assert 0.0 <= mesh.uv.min() <= mesh.uv.max() <= 1.0


@pytest.mark.parametrize("ending", [".webm", ".mp4", ".mjpeg", ".y4m"])
def test_clips_are_read_back(clip, tmp_path, ending):
    path = tmp_path / f"clip{ending}"
    write_clip(clip[:4], 30, path)
    with av.open(str(path)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 4
    difference = np.abs(images[2].astype(int) - clip[2].image)
    assert difference.mean() < 6.0


def test_an_unknown_ending_is_refused_with_the_file_s_name(clip, tmp_path):
    with pytest.raises(InputError, match=r"clip\.gif"):
        write_clip(clip, 30, tmp_path / "clip.gif")


def test_the_shipped_sample_shows_a_face(face_mesh):
    assert SAMPLE.stat().st_size < 1_500_000
    with av.open(str(SAMPLE)) as container:
        stream = container.streams.video[0]
        assert (stream.width, stream.height, int(stream.average_rate)) == (640, 480, 30)
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) >= 300
    chosen = images[::15]
    assert np.mean([_found(face_mesh, image) is not None for image in chosen]) >= 0.95

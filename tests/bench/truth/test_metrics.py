"""Metrics of the truth benchmark on cases with known errors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.bench.truth.metrics import (
    Similarity,
    align_to_mesh,
    pose_error_deg,
    score_albedo,
    score_shape,
    similarity_of,
)
from fitme.bench.truth.scores import outer_triangles, skin_texels
from fitme.geometry import HeadPose, rotation_matrix
from fitme.shape.model_file import load_default_model
from fitme.shape.normals import vertex_normals


class _Face:
    """The model's mean face as a scan of itself."""

    def __init__(self):
        self.model = load_default_model()
        self.vertices = self.model.mean.double().numpy()
        self.normals = vertex_normals(self.model.mean[None], self.model.triangles)[0].double().numpy()
        self.triangles = self.model.triangles.numpy().astype(np.int64)
        self.allowed = outer_triangles(self.model)
        self.points = np.intersect1d(self.model.face_vertices.numpy(), np.unique(self.triangles[self.allowed]))[::2]
        self.landmarks = self.model.ibug_landmarks(self.model.mean[None])[0].double().numpy()[27:]

    def score(self, motion, vertices=None):
        """Score of a head's vertices against the moved face as a scan."""
        vertices = self.vertices if vertices is None else vertices
        return score_shape(
            motion.apply(self.vertices[self.points]), self.normals[self.points] @ motion.rotation.T,
            motion.apply(self.landmarks), vertices, self.normals, self.triangles, self.allowed, self.landmarks,
        )  # fmt: skip


@pytest.fixture(scope="module")
def face():
    return _Face()


def test_a_larger_head_does_not_slide(face):
    score, _ = face.score(_motion(1.12, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]))
    by_landmarks = similarity_of(1.12 * face.landmarks, face.landmarks, free_scale=False).apply(1.12 * face.landmarks)
    at_best = 1000.0 * np.linalg.norm(by_landmarks - face.landmarks, axis=1).mean()
    assert score.landmark_mm < at_best + 3.0


def _motion(scale, axis_angle, translation):
    rotation = rotation_matrix(torch.tensor(axis_angle, dtype=torch.float64)).numpy()
    return Similarity(scale, rotation, np.array(translation))


def test_a_face_against_itself_has_no_error(face):
    score, motion = face.score(_motion(1.0, [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]))
    assert score.scan_mm < 1e-3
    assert score.scan_free_mm < 1e-3
    assert score.landmark_mm < 1e-3
    assert score.normal_deg < 0.1
    assert np.allclose(motion.rotation, np.eye(3), atol=1e-6)


def test_a_moved_face_is_aligned(face):
    moved = _motion(1.0, [0.3, -0.5, 0.2], [0.1, 0.2, -0.6])
    score, motion = face.score(moved)
    assert score.scan_mm < 1e-2
    assert score.normal_deg < 0.1
    assert np.allclose(motion.rotation @ moved.rotation, np.eye(3), atol=1e-4)


def test_a_scaled_face_is_wrong_at_known_scale_and_right_at_free_scale(face):
    score, _ = face.score(_motion(1.08, [0.0, 0.1, 0.0], [0.0, 0.0, 0.02]))
    assert score.scan_mm > 0.5
    assert score.scan_free_mm < 0.02


def test_an_alignment_ignores_outliers(face):
    """A twenty-fifth of the points is off the surface."""
    scan = face.vertices[face.points].copy()
    lifted = np.arange(len(scan)) % 25 == 0
    scan[lifted] += 0.002 * face.normals[face.points][lifted]
    pairs = (face.landmarks, face.landmarks)
    motion = align_to_mesh(scan, face.vertices, face.triangles, face.allowed, pairs, free_scale=False)
    assert np.allclose(motion.apply(scan), scan, atol=2e-5)


@settings(max_examples=25, deadline=None)
@given(
    scale=st.floats(0.5, 2.0),
    turn=st.tuples(*[st.floats(-1.5, 1.5)] * 3),
    shift=st.tuples(*[st.floats(-1.0, 1.0)] * 3),
)
def test_similarity_is_recovered(scale, turn, shift):
    points = np.random.default_rng(1).normal(size=(20, 3))
    true = _motion(scale, list(turn), list(shift))
    found = similarity_of(points, true.apply(points), free_scale=True)
    assert found.scale == pytest.approx(scale, rel=1e-9)
    assert np.allclose(found.rotation, true.rotation, atol=1e-9)
    assert np.allclose(found.translation, true.translation, atol=1e-9)


def test_pose_error_is_the_angle_between_poses_whatever_the_frames():
    frame = _motion(1.0, [0.2, 0.4, -0.1], [0.01, 0.0, 0.0])
    turn = rotation_matrix(torch.tensor([0.0, 0.6, 0.1], dtype=torch.float64)).numpy()
    true = HeadPose(_axis_angle(turn), np.zeros(3, np.float32))
    off = rotation_matrix(torch.tensor([np.radians(7.0), 0.0, 0.0], dtype=torch.float64)).numpy()
    found = HeadPose(_axis_angle(off @ turn @ frame.rotation.T), np.zeros(3, np.float32))
    assert pose_error_deg(found, true, frame) == pytest.approx(7.0, abs=1e-3)


def _axis_angle(matrix):
    from fitme.geometry import axis_angle_from_matrix

    return axis_angle_from_matrix(torch.from_numpy(np.ascontiguousarray(matrix))).numpy().astype(np.float32)


def test_albedo_errors_separate_bias_from_hue():
    true = np.random.default_rng(0).uniform(0.1, 0.5, (500, 3))
    darker = score_albedo(0.8 * true, true)
    assert darker.hue == pytest.approx(0.0, abs=1e-9)
    assert darker.bias == pytest.approx(-0.2 * true.mean())
    assert darker.error == pytest.approx(0.2 * true.mean())
    assert darker.relative == pytest.approx(0.2)
    shifted = score_albedo(true + 0.05, true)
    assert shifted.error == pytest.approx(0.05)
    assert shifted.bias == pytest.approx(0.05)
    assert score_albedo(true, true).ita_deg == 0.0
    assert darker.ita_deg > 3.0


def test_skin_texels_are_skin_of_the_face():
    model = load_default_model()
    mask = skin_texels(model, 128)
    assert 0.05 < mask.mean() < 0.6
    assert not mask[0].any()

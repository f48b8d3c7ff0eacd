"""Rotations as a group, poses with readable angles, cameras that agree with each other."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fitme.geometry import (
    Camera,
    HeadPose,
    axis_angle_from_matrix,
    axis_angle_from_quaternion,
    cross_matrix,
    head_rotation,
    quaternion_from_axis_angle,
    quaternion_from_matrix,
    rotation_matrix,
    transform,
    unit_vectors,
)

Vector = tuple[float, float, float]
vectors = st.tuples(*[st.floats(-1.7, 1.7)] * 3)
"""Axis-angle vectors of less than pi."""


def tensor(vector: Vector) -> torch.Tensor:
    return torch.tensor(vector, dtype=torch.float64)


@given(vectors)
def test_rotations_are_orthonormal_and_proper(vector: Vector) -> None:
    matrix = rotation_matrix(tensor(vector))
    torch.testing.assert_close(matrix @ matrix.T, torch.eye(3, dtype=torch.float64))
    assert float(torch.linalg.det(matrix)) == pytest.approx(1.0)


@given(vectors)
def test_a_rotation_keeps_its_axis_and_undoes_its_opposite(vector: Vector) -> None:
    axis = tensor(vector)
    torch.testing.assert_close(rotation_matrix(axis) @ axis, axis)
    both = rotation_matrix(axis) @ rotation_matrix(-axis)
    torch.testing.assert_close(both, torch.eye(3, dtype=torch.float64))


@given(vectors)
def test_representations_agree(vector: Vector) -> None:
    axis = tensor(vector)
    quaternion = quaternion_from_axis_angle(axis)
    torch.testing.assert_close(axis_angle_from_quaternion(quaternion), axis, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(axis_angle_from_matrix(rotation_matrix(axis)), axis, atol=1e-6, rtol=1e-6)
    assert float(quaternion.norm()) == pytest.approx(1.0)
    assert torch.allclose(quaternion_from_matrix(rotation_matrix(axis)), quaternion, atol=1e-7)


@given(vectors)
def test_arrays_and_tensors_have_one_formula(vector: Vector) -> None:
    stack = np.array([vector, (0.0, 0.0, 0.0), (1e-6, 0.0, -2e-6)])
    matrices = rotation_matrix(stack)
    np.testing.assert_allclose(matrices, rotation_matrix(torch.from_numpy(stack)).numpy(), atol=1e-15)
    np.testing.assert_allclose(matrices, Rotation.from_rotvec(stack).as_matrix(), atol=1e-14)
    np.testing.assert_array_equal(rotation_matrix(stack[0]), matrices[0])


def test_the_cross_matrix_multiplies_like_the_cross_product() -> None:
    a, b = np.random.default_rng(0).normal(size=(2, 5, 3))
    np.testing.assert_allclose((cross_matrix(a) @ b[..., None])[..., 0], np.cross(a, b), atol=1e-14)


def test_gradients_near_zero() -> None:
    for scale in (0.0, 1e-9, 1e-4, 0.7):
        axis = (torch.tensor([0.3, -0.5, 0.8], dtype=torch.float64) * scale).requires_grad_()
        assert torch.autograd.gradcheck(rotation_matrix, (axis,))


@given(st.floats(-80, 80), st.floats(-60, 60), st.floats(-60, 60))
def test_angles_of_a_pose_are_those_it_was_made_of(yaw_deg: float, pitch_deg: float, roll_deg: float) -> None:
    yaw, pitch, roll = (math.radians(angle) for angle in (yaw_deg, pitch_deg, roll_deg))
    rotation = axis_angle_from_matrix(torch.from_numpy(head_rotation(yaw, pitch, roll))).float().numpy()
    pose = HeadPose(rotation, np.zeros(3, np.float32))
    assert pose.yaw_pitch_roll() == pytest.approx((yaw, pitch, roll), abs=1e-4)


def test_directions_are_the_viewers() -> None:
    right = HeadPose(np.array([0.0, 0.5, 0.0], np.float32), np.zeros(3, np.float32))
    up = HeadPose(np.array([-0.5, 0.0, 0.0], np.float32), np.zeros(3, np.float32))
    nose = torch.tensor([[0.0, 0.0, 0.1]])
    assert right.yaw_pitch_roll()[0] > 0.0
    assert float(transform(torch.from_numpy(right.rotation), torch.zeros(3), nose)[0, 0]) > 0.0
    assert up.yaw_pitch_roll()[1] > 0.0
    assert float(transform(torch.from_numpy(up.rotation), torch.zeros(3), nose)[0, 1]) > 0.0


CAMERA = Camera(500.0, 330.0, 230.0, 640, 480)
points = st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3), st.floats(-2.0, -0.2))


@given(points)
def test_clip_space_lands_on_the_same_pixel(point: Vector) -> None:
    view = tensor(point)
    x, y, z, w = CAMERA.clip(view).tolist()
    pixel = CAMERA.project(view)
    assert (x / w + 1.0) / 2.0 * CAMERA.width == pytest.approx(float(pixel[0]), abs=1e-6)
    assert (y / w + 1.0) / 2.0 * CAMERA.height == pytest.approx(float(pixel[1]), abs=1e-6)
    assert -1.0 <= z / w <= 1.0


@given(points)
def test_a_window_sees_the_same_point_where_it_was_cut(point: Vector) -> None:
    view = tensor(point)
    whole = CAMERA.project(view)
    window = CAMERA.window(100.0, 50.0, 320.0, 256)
    expected = (whole - torch.tensor([100.0, 50.0])) * (256 / 320.0)
    torch.testing.assert_close(window.project(view), expected)


def test_opencv_extrinsics_project_to_the_same_pixel() -> None:
    pose = HeadPose(np.array([0.1, -0.4, 0.2], np.float32), np.array([0.02, -0.03, -0.6], np.float32))
    model = torch.tensor([[0.03, 0.05, 0.08]])
    view = transform(torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation), model)
    x, y, z, _ = pose.opencv_extrinsics() @ np.append(model[0].numpy(), 1.0)
    assert z > 0.0
    expected = CAMERA.project(view)[0].numpy()
    assert 500.0 * x / z + 330.0 == pytest.approx(expected[0], abs=1e-3)
    assert 500.0 * y / z + 230.0 == pytest.approx(expected[1], abs=1e-3)


@pytest.mark.parametrize("precision", [np.float32, np.float64])
def test_vectors_are_scaled_to_unit_length_and_zero_stays_zero(precision: type) -> None:
    unit = unit_vectors(np.array([[[3.0, 0.0, -4.0], [0.0, 0.0, 0.0]]], precision))
    np.testing.assert_allclose(unit, [[[0.6, 0.0, -0.8], [0.0, 0.0, 0.0]]], rtol=1e-6)
    assert unit.dtype == precision

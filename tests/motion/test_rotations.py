"""Quaternions and head angles, against SciPy and the project's geometry."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fitme.geometry import head_rotation
from fitme.motion.rotations import (
    angles_of_rotation,
    mirrored_in_x,
    multiplied,
    rotation_of_angles,
    unit,
)

angle = st.floats(-1.5, 1.5)
component = st.floats(-1.0, 1.0)
quaternion = st.tuples(component, component, component, component)


@given(angle, angle, angle)
def test_angles_and_back(yaw, pitch, roll):
    rotation = rotation_of_angles(yaw, pitch, roll)
    assert angles_of_rotation(rotation) == pytest.approx((yaw, pitch, roll), abs=1e-6)
    # The project's head angles have pitch > 0 up.
    np.testing.assert_allclose(Rotation.from_quat(rotation).as_matrix(), head_rotation(yaw, -pitch, roll), atol=1e-9)


@given(quaternion, quaternion)
def test_products_are_scipys(first, second):
    first, second = unit(first), unit(second)
    expected = (Rotation.from_quat(first) * Rotation.from_quat(second)).as_matrix()
    np.testing.assert_allclose(Rotation.from_quat(multiplied(first, second)).as_matrix(), expected, atol=1e-9)


@given(quaternion)
def test_mirrored_rotation_moves_mirrored_points_to_the_same_place(rotation):
    rotation, mirror = unit(rotation), np.diag([-1.0, 1.0, 1.0])
    expected = mirror @ Rotation.from_quat(rotation).as_matrix() @ mirror
    np.testing.assert_allclose(Rotation.from_quat(mirrored_in_x(rotation)).as_matrix(), expected, atol=1e-9)
    assert mirrored_in_x(mirrored_in_x(rotation)) == rotation

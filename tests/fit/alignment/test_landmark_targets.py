import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fitme.fit.alignment.landmark_targets import turn_of


@given(st.floats(-80.0, 80.0), st.floats(-180.0, 180.0))
def test_the_turn_is_yaw_whatever_the_roll(yaw_deg, roll_deg):
    rotation = (
        Rotation.from_euler("z", roll_deg, degrees=True) * Rotation.from_euler("y", yaw_deg, degrees=True)
    ).as_matrix()
    assert turn_of(rotation) == pytest.approx(abs(yaw_deg), abs=1e-4)


def test_a_rotation_a_hair_beyond_unit_length_has_no_turn():
    assert turn_of(np.eye(3) * (1.0 + 1e-9)) == 0.0

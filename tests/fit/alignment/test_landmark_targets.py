from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fitme.fit.alignment.aligner import HeadAligner, camera_of, keyframe_estimate, posed_vertices
from fitme.fit.alignment.landmark_targets import turn_of
from fitme.fit.alignment.settings import AlignmentSettings
from fitme.fit.estimate import Illumination
from fitme.fit.solver.joint_estimate import IDENTITY_FIXED
from fitme.render.rasterizer import select_backend
from fitme.shape.expressions import expression_index
from fitme.track.pose import EYELID_PAIRS


@given(st.floats(-80.0, 80.0), st.floats(-180.0, 180.0))
def test_the_turn_is_yaw_whatever_the_roll(yaw_deg, roll_deg):
    rotation = (
        Rotation.from_euler("z", roll_deg, degrees=True) * Rotation.from_euler("y", yaw_deg, degrees=True)
    ).as_matrix()
    assert turn_of(rotation) == pytest.approx(abs(yaw_deg), abs=1e-4)


def test_a_rotation_a_hair_beyond_unit_length_has_no_turn():
    assert turn_of(np.eye(3) * (1.0 + 1e-9)) == 0.0


def test_lids_are_as_far_apart_as_their_landmarks_on_another_head(photograph, model):
    keyframe = photograph("narrow eyes")
    landmarks = keyframe.observation.landmarks.copy()
    for upper, lower in EYELID_PAIRS:
        landmarks[upper] += 0.3 * (landmarks[lower] - landmarks[upper])
    keyframe = replace(keyframe, observation=replace(keyframe.observation, landmarks=landmarks))
    aligner = HeadAligner(model, select_backend("cpu"), AlignmentSettings())
    mean = np.zeros(model.identity_count, np.float32)
    found = aligner.by_landmarks([keyframe], {}, 1.0, mean, IDENTITY_FIXED)
    head = posed_vertices(model, keyframe_estimate(found, 0, Illumination(np.zeros((9, 3), np.float32))), mean)
    seen = camera_of(keyframe.observation.camera, found.focal).project(model.landmarks(head[None])[0]).numpy()
    for upper, lower in EYELID_PAIRS:
        opening = landmarks[lower, 1] - landmarks[upper, 1]
        assert seen[lower, 1] - seen[upper, 1] == pytest.approx(opening, rel=0.2)


@pytest.mark.parametrize("name", ["tongueOut", "cheekPuff"])
def test_what_landmarks_do_not_show_stays_as_it_was_tracked(photograph, model, name):
    keyframe = photograph(name)
    shown = keyframe.observation.expression.copy()
    shown[expression_index(name)] = 0.9
    keyframe = replace(keyframe, observation=replace(keyframe.observation, expression=shown))
    aligner = HeadAligner(model, select_backend("cpu"), AlignmentSettings())
    mean = np.zeros(model.identity_count, np.float32)
    found = aligner.by_landmarks([keyframe], {}, 1.0, mean, IDENTITY_FIXED)
    assert found.expressions[0, expression_index(name)] == pytest.approx(0.9)

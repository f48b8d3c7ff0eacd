"""Motion of observations, against the project's geometry and the morphable model."""

import numpy as np
import pytest
import torch

from fitme.geometry import Camera, HeadPose, quaternion_from_axis_angle
from fitme.motion.motion import Motion
from fitme.motion.rotations import axis_angle_of_rotation
from fitme.shape.model_file import load_default_model
from fitme.track.motion import motion_of
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality


def test_motion_of_an_observation():
    draw = np.random.default_rng(3)
    pose = HeadPose(np.array([0.3, -0.4, 0.1], np.float32), np.array([0.02, 0.01, -0.55], np.float32))
    expression = draw.random(52).astype(np.float32)
    quality = FrameQuality(1.0, 0.5, 0.0, 200.0, 0.0)
    landmarks, depth = np.zeros((478, 2), np.float32), np.zeros(478, np.float32)
    camera = Camera.centered(700.0, 640, 480)
    observation = FaceObservation(landmarks, depth, pose, expression, camera, quality, FaceStatus.OK, None)
    motion = motion_of(observation, 1.5)
    assert (motion.time_s, motion.tracked) == (1.5, True)
    expected = quaternion_from_axis_angle(torch.from_numpy(pose.rotation).double()).tolist()
    assert motion.rotation == pytest.approx(expected, abs=1e-7)
    assert axis_angle_of_rotation(motion.rotation) == pytest.approx(pose.rotation.tolist(), abs=1e-6)
    assert motion.position == pytest.approx(pose.translation.tolist())
    assert motion.weights == pytest.approx(expression.tolist())
    left, right = load_default_model().eye_rotations(torch.from_numpy(expression)[None])
    eyes = [float(left[0, 1]), float(left[0, 0]), float(right[0, 1]), float(right[0, 0])]
    assert motion.gaze == pytest.approx(eyes, abs=1e-6)
    assert motion_of(None, 2.0) == Motion(2.0, tracked=False)

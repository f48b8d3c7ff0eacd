from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch

from fitme.fit.alignment.aligner import tracked_pose
from fitme.fit.alignment.focal_prior import CameraDistanceSettings, FocalPrior, focal_prior_of
from fitme.geometry import Camera, HeadPose, transform
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

WEBCAM = FocalPrior(1.1, 0.2)
SETTINGS = CameraDistanceSettings()


def seen(distance_m, focal=1.1, width=640, height=480, shift=0.0):
    camera = Camera.centered(focal * max(width, height), width, height)
    pose = HeadPose(np.array([0.1, 0.3, 0.0], np.float32), np.array([shift, 0.02, -distance_m], np.float32))
    landmarks, quality = np.zeros((478, 2), np.float32), FrameQuality(1.0, 0.5, 0.0, 200.0, 0.0)
    expression = np.zeros(52, np.float32)
    return FaceObservation(landmarks, landmarks[:, 0], pose, expression, camera, quality, FaceStatus.OK, None)


def test_a_camera_at_a_usual_distance_keeps_its_prior():
    assert focal_prior_of([seen(0.9)], WEBCAM, SETTINGS) == WEBCAM


def test_the_nearer_the_face_the_longer_the_lens():
    focals = [focal_prior_of([seen(distance_m)], WEBCAM, SETTINGS).focal for distance_m in (0.7, 0.5, 0.3, 0.1)]
    assert WEBCAM.focal < focals[0] < focals[1] < focals[2] < focals[3]


def test_the_median_balances_distance_and_lens():
    found = focal_prior_of([seen(0.3)], WEBCAM, SETTINGS)
    # At the maximum of the product of the two densities their slopes cancel.
    of_lens = log(found.focal / WEBCAM.focal) / SETTINGS.focal_log_sigma**2
    of_distance = log(0.3 * found.focal / WEBCAM.focal / SETTINGS.usual_m) / SETTINGS.log_sigma**2
    assert of_lens + of_distance == pytest.approx(0.0, abs=1e-5)
    assert found.log_sigma < min(SETTINGS.log_sigma, SETTINGS.focal_log_sigma)


def test_the_prior_does_not_depend_on_the_focal_length_of_tracking():
    near, far = seen(0.4, focal=1.1), seen(1.2, focal=3.3)
    assert focal_prior_of([near], WEBCAM, SETTINGS).focal == pytest.approx(
        focal_prior_of([far], WEBCAM, SETTINGS).focal
    )


def test_a_window_of_an_image_has_the_prior_of_the_whole():
    # The whole image is four times as large as the window round the face, in the window's pixels.
    whole, window = seen(0.4, width=2560, height=1920), seen(0.4)
    camera = replace(window.camera, focal_px=whole.camera.focal_px, whole_side_px=2560.0)
    part = replace(window, camera=camera)
    assert focal_prior_of([part], WEBCAM, SETTINGS) == focal_prior_of([whole], WEBCAM, SETTINGS)


def test_one_near_image_among_usual_ones_does_not_count():
    assert focal_prior_of([seen(0.2), seen(0.9), seen(1.0)], WEBCAM, SETTINGS) == WEBCAM


def test_a_tracked_pose_under_another_focal_length_keeps_the_size_of_the_face():
    observation = seen(0.5, shift=0.1)
    points = torch.tensor([[[0.05, 0.0, 0.0], [-0.05, 0.0, 0.0]]])

    def width_px(pose, camera):
        view = transform(torch.from_numpy(pose.rotation)[None], torch.from_numpy(pose.translation)[None], points)
        pixels = camera.project(view)[0]
        return float((pixels[0] - pixels[1]).norm())

    before = width_px(observation.pose, observation.camera)
    moved = tracked_pose(observation, 3.0)
    assert moved.translation[2] == pytest.approx(-0.5 * 3.0 / 1.1)
    after = width_px(moved, Camera.centered(3.0 * 640, 640, 480))
    # Perspective within the face differs, its size hardly.
    assert after == pytest.approx(before, rel=0.05)

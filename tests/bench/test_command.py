"""Scores of renders, and the baseline that fits are measured against."""

import numpy as np
import pytest
import torch

from fitme.avatar import Avatar
from fitme.bench.truth.baseline import BaselineFit
from fitme.export.portrait import draw_portrait, portrait_light, portrait_pose
from fitme.ingest.frame import Frame
from fitme.ingest.person_tracking import TrackedFrame
from fitme.metrics.frame_scores import FrameScore, median_score, score_frame
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from fitme.track.factory import dlib_embedder
from fitme.track.tracker import FrameTracker

SIDE_PX = 256
YAWS_RAD = (-0.3, -0.1, 0.1, 0.3)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="module")
def tracked_frames(model: MorphableModel) -> list[TrackedFrame]:
    identity = 0.7 * torch.randn(model.identity_count, generator=torch.Generator().manual_seed(11))
    person = Avatar(identity, ReflectanceMaps.constant((0.45, 0.28, 0.2), 0.4, 16), 1.2, Stage.SKIN)
    tracker = FrameTracker(model)
    found = []
    for yaw in (*YAWS_RAD, 0.0):
        image = draw_portrait(person, model, {}, portrait_pose(yaw), portrait_light(0.2, 0.4), SIDE_PX)
        observation = tracker.analyse(image)
        assert observation is not None
        found.append(TrackedFrame(Frame(image, 0.0, None, 0, f"yaw {yaw}"), observation))
    return found


def test_a_perfect_render_scores_perfectly(tracked_frames: list[TrackedFrame]):
    image, observation = tracked_frames[0].frame.image, tracked_frames[0].observation
    full = np.full(image.shape[:2], 255, np.uint8)
    score = score_frame(observation, image, image, full, dlib_embedder())
    assert score.psnr_db > 100
    assert score.identity < 1e-6
    assert score.covered == 1.0


def test_an_error_of_ten_codes_is_28_decibels(tracked_frames: list[TrackedFrame]):
    image, observation = tracked_frames[0].frame.image, tracked_frames[0].observation
    full = np.full(image.shape[:2], 255, np.uint8)
    score = score_frame(observation, np.minimum(image, 245), np.minimum(image, 245) + 10, full, dlib_embedder())
    assert score.psnr_db == pytest.approx(20.0 * np.log10(255.0 / 10.0), abs=1e-3)


def test_uncovered_pixels_count_as_black(tracked_frames: list[TrackedFrame]):
    image, observation = tracked_frames[0].frame.image, tracked_frames[0].observation
    nothing = np.zeros(image.shape[:2], np.uint8)
    score = score_frame(observation, image, image, nothing, dlib_embedder())
    assert score.covered == 0.0
    assert score.psnr_db < 15
    assert score.identity > 0.3


def test_median_of_scores():
    scores = [FrameScore(20.0, 0.1, 0.4, 1.0), FrameScore(30.0, 0.9, 0.3, 0.5), FrameScore(25.0, 0.2, 0.5, 0.9)]
    assert median_score(scores) == FrameScore(25.0, 0.2, 0.4, 0.9)
    with pytest.raises(ValueError, match="no frames"):
        median_score([])


def test_baseline_renders_a_view_between_those_it_was_fitted_to(
    model: MorphableModel, tracked_frames: list[TrackedFrame]
):
    *fitted, between = tracked_frames
    fitting = BaselineFit(model)
    score = fitting.score(fitting.fit(fitted), between, dlib_embedder())
    assert score.psnr_db > 22
    assert score.covered > 0.97

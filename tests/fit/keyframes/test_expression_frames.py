"""Which pictures wait to be studied."""

import numpy as np
import pytest

from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.expression_frames import ExpressionFrames
from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.geometry import Camera, HeadPose
from fitme.shape import MorphableModel
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

NEUTRAL = np.zeros(EXPRESSION_COUNT, np.float32)
EMPTY = ViewAlbedo(np.zeros(0, np.int32), np.zeros((0, 3), np.float16), np.zeros(0, np.float16))


def picture(key: str) -> Keyframe:
    observation = FaceObservation(
        np.zeros((478, 2), np.float32),
        np.zeros(478, np.float32),
        HeadPose(np.zeros(3, np.float32), np.zeros(3, np.float32)),
        NEUTRAL,
        Camera.centered(64.0, 64, 48),
        FrameQuality(1.0, 0.5, 0.0, 30.0, 0.0),
        FaceStatus.OK,
        None,
    )
    return Keyframe(key, np.zeros((48, 64, 3), np.uint8), observation, 0.0)


def view(sharpness: float = 1.0) -> ExpressionView:
    return ExpressionView(EMPTY, NEUTRAL, sharpness)


@pytest.fixture
def studies(model: MorphableModel) -> ExpressionFrames:
    """Three pictures wait."""
    held = ExpressionFrames(model)
    for key in ("first", "second", "third"):
        held.add(picture(key))
    return held


def expression_frames_in_turn(studies: ExpressionFrames, identity: np.ndarray) -> list[str]:
    keys = []
    while (waiting := studies.next) is not None:
        keys.append(waiting.key)
        studies.learn(waiting.key, view(), identity)
    return keys


def test_each_is_studied_once_in_order(studies: ExpressionFrames, model: MorphableModel) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    assert expression_frames_in_turn(studies, mean) == ["first", "second", "third"]
    studies.add(picture("fourth"))
    studies.remove("second")
    studies.remove("unknown")
    assert expression_frames_in_turn(studies, mean) == ["fourth"]
    assert [held.key for held in studies.pictures] == ["first", "third", "fourth"]
    assert len(studies.views) == 3
    assert "second" not in studies


def test_a_head_of_another_shape_is_studied_again(studies: ExpressionFrames, model: MorphableModel) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    expression_frames_in_turn(studies, mean)
    nearly, other = mean.copy(), mean.copy()
    nearly[0], other[0] = 0.01, 1.0
    studies.move_to(nearly)
    assert studies.next is None
    studies.move_to(other)
    assert len(studies.views) == 3  # they count until then
    assert expression_frames_in_turn(studies, other) == ["first", "second", "third"]
    studies.move_to(other)
    assert studies.next is None
    assert len(studies.views) == 3


def test_a_head_that_returns_needs_no_study(studies: ExpressionFrames, model: MorphableModel) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    expression_frames_in_turn(studies, mean)
    other = mean.copy()
    other[0] = 1.0
    studies.move_to(other)
    studies.move_to(mean)
    assert studies.next is None

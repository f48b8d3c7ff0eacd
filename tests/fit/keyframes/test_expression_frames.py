"""Expression frames: order of extraction, and which views are outdated by a new identity."""

import numpy as np
import pytest

from fitme.fit.keyframe import Keyframe
from fitme.fit.keyframes.expression_frames import ExpressionFrames
from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.expression_correctives import ExpressionView
from fitme.geometry import Camera, HeadPose
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

NEUTRAL = np.zeros(EXPRESSION_COUNT, np.float32)
EMPTY = ViewAlbedo(np.zeros(0, np.int32), np.zeros((0, 3), np.float16), np.zeros(0, np.float16))


def frame(key: str) -> Keyframe:
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
def held(model: MorphableModel) -> ExpressionFrames:
    """Three frames without views."""
    frames = ExpressionFrames(model)
    for key in ("first", "second", "third"):
        frames.add(frame(key))
    return frames


def extract_all(held: ExpressionFrames, identity: np.ndarray) -> list[str]:
    keys = []
    while waiting := held.waiting(2):
        for each in waiting:
            keys.append(each.key)
            held.set_view(each.key, view(), identity)
    return keys


def test_each_view_is_extracted_once_in_order(held: ExpressionFrames, model: MorphableModel) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    assert extract_all(held, mean) == ["first", "second", "third"]
    held.add(frame("fourth"))
    held.remove("second")
    held.remove("unknown")
    assert extract_all(held, mean) == ["fourth"]
    assert [each.key for each in held.frames] == ["first", "third", "fourth"]
    assert len(held.views) == 3
    assert "second" not in held


def test_another_identity_outdates_views(held: ExpressionFrames, model: MorphableModel) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    extract_all(held, mean)
    nearly, other = mean.copy(), mean.copy()
    nearly[0], other[0] = 0.01, 1.0
    held.update_identity(nearly)
    assert not held.waiting(1)
    held.update_identity(other)
    assert len(held.views) == 3  # in use until then
    assert extract_all(held, other) == ["first", "second", "third"]
    held.update_identity(other)
    assert not held.waiting(1)
    assert len(held.views) == 3


def test_views_of_the_same_identity_are_not_outdated(held: ExpressionFrames, model: MorphableModel) -> None:
    mean = np.zeros(model.identity_count, np.float32)
    extract_all(held, mean)
    other = mean.copy()
    other[0] = 1.0
    held.update_identity(other)
    held.update_identity(mean)
    assert not held.waiting(1)

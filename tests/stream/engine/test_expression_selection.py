"""Which frames are studied for their expression: a set that stays bounded, grows more diverse, and comes to rest."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.fit.keyframe import Keyframe
from fitme.fit.texture.expression_distance import displacements, expression_gram
from fitme.geometry import Camera, HeadPose
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality
from stream.engine.expression_selection import NOT_KEPT, ExpressionSelector
from stream.settings import ExpressionSettings, ServeSettings

MODEL = load_default_model()
GRAM = expression_gram(MODEL).double().numpy()
IMAGE = np.zeros((48, 64, 3), np.uint8)
GOOD = FrameQuality(sharpness=1.0, exposure=0.5, clipped=0.0, face_size_px=200.0, occlusion=0.0)
SETTINGS = ExpressionSettings()
COUNT = 4
EXPRESSION_FRAMES = ServeSettings().fit.expression_frames


def same_person(observation: FaceObservation) -> FaceObservation:
    return observation


def seen(*, yaw_deg=0.0, quality=GOOD, status=FaceStatus.OK, **coefficients):
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    for name, value in coefficients.items():
        expression[EXPRESSION_NAMES.index(name)] = value
    pose = HeadPose(np.array([0.0, math.radians(yaw_deg), 0.0], np.float32), np.array([0.0, 0.0, -0.6], np.float32))
    landmarks, depth = np.zeros((478, 2), np.float32), np.zeros(478, np.float32)
    return FaceObservation(landmarks, depth, pose, expression, Camera.centered(700.0, 640, 480), quality, status, None)


NEUTRAL = (Keyframe("live-000000", IMAGE, seen(), 0.0),)


def offer_all(selector, observations, keyframes=NEUTRAL):
    """The decisions, frames half a second apart."""
    return [selector.offer(IMAGE, seen, 0.5 * index, keyframes, same_person) for index, seen in enumerate(observations)]


def novelties_m(expressions):
    """Of each expression (N, 52), beside all others and the neutral one."""
    known = [*expressions, np.zeros(EXPRESSION_COUNT)]
    return [
        displacements(np.stack([*known[:index], *known[index + 1 :]]), known[index], GRAM).min()
        for index in range(len(expressions))
    ]


observations = st.builds(
    lambda jaw, smile, pucker, brow: seen(
        jawOpen=jaw, mouthSmileLeft=smile, mouthSmileRight=smile, mouthPucker=pucker, browInnerUp=brow
    ),
    *[st.floats(0.0, 1.0)] * 4,
)


@settings(max_examples=40, deadline=None)
@given(frames=st.lists(observations, max_size=60))
def test_the_set_is_bounded_and_only_becomes_more_diverse(frames):
    selector = ExpressionSelector(MODEL, COUNT)
    kept: dict[str, np.ndarray] = {}
    least_m = SETTINGS.novelty_m
    for index, frame in enumerate(frames):
        kept_frame, dropped = selector.offer(IMAGE, frame, 0.5 * index, NEUTRAL, same_person)
        assert len(dropped) <= (kept_frame is not None)
        for key in dropped:
            del kept[key]
        if kept_frame is not None:
            assert kept_frame.key not in kept
            kept[kept_frame.key] = kept_frame.observation.expression.astype(np.float64)
        assert selector.keys == tuple(kept)
        assert len(kept) <= COUNT
        if kept:
            assert min(novelties_m(list(kept.values()))) >= least_m - 1e-9
        if dropped:
            least_m = max(least_m, min(novelties_m(list(kept.values()))))


def talking(seed):
    """Ten minutes of an ever moving mouth, two frames a second."""
    mouths = np.random.default_rng(seed).random((1200, 3))
    return [seen(jawOpen=jaw, mouthPucker=pucker, mouthFunnel=funnel) for jaw, pucker, funnel in mouths]


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_exchanges_are_bounded_by_how_much_the_face_can_differ(seed):
    """Until the least novelty has grown by `gain`, each exchange leaves one frame less that is under that."""
    frames = talking(seed)
    points = np.stack([frame.expression.astype(np.float64) for frame in frames])
    farthest_m = 2 * displacements(points, points[0], GRAM).max()
    growths = math.ceil(math.log(farthest_m / SETTINGS.novelty_m, SETTINGS.gain))
    decisions = offer_all(ExpressionSelector(MODEL, EXPRESSION_FRAMES), frames)
    assert sum(bool(decision.dropped) for decision in decisions) <= EXPRESSION_FRAMES * growths


@pytest.mark.parametrize("seed", range(4))
def test_it_comes_to_rest_while_somebody_talks_on(seed):
    kept = [
        decision.keyframe is not None
        for decision in offer_all(ExpressionSelector(MODEL, EXPRESSION_FRAMES), talking(seed))
    ]
    assert EXPRESSION_FRAMES <= sum(kept) < 5 * EXPRESSION_FRAMES
    assert sum(kept[600:]) <= 0.05 * sum(kept)


@settings(max_examples=10, deadline=None)
@given(frames=st.lists(observations, max_size=30))
def test_the_same_frames_give_the_same_choice(frames):
    chosen = []
    for _ in range(2):
        decisions = offer_all(ExpressionSelector(MODEL, COUNT), frames)
        chosen.append([(d.keyframe and d.keyframe.key, d.dropped) for d in decisions])
    assert chosen[0] == chosen[1]


@pytest.mark.parametrize(
    "frame",
    [
        seen(jawOpen=0.5, status=FaceStatus.OTHER_PERSON),
        seen(jawOpen=0.5, quality=replace(GOOD, occlusion=0.3)),
        seen(jawOpen=0.5, quality=replace(GOOD, sharpness=0.5)),
        seen(jawOpen=0.5, yaw_deg=40.0),
        seen(jawOpen=0.01),
    ],
    ids=["another person", "covered", "less sharp than the keyframes", "turned away", "as a keyframe"],
)
def test_a_frame_that_teaches_nothing_is_not_kept(frame):
    selector = ExpressionSelector(MODEL, COUNT)
    assert selector.offer(IMAGE, frame, 0.0, NEUTRAL, same_person) == NOT_KEPT
    assert selector.offer(IMAGE, seen(jawOpen=0.5), 1.0, NEUTRAL, same_person).keyframe is not None


def test_nothing_is_kept_before_the_first_keyframe_or_where_nothing_is_wanted():
    assert offer_all(ExpressionSelector(MODEL, COUNT), [seen(jawOpen=0.5)], ()) == [NOT_KEPT]
    assert offer_all(ExpressionSelector(MODEL, 0), [seen(jawOpen=0.5)]) == [NOT_KEPT]


def test_frames_in_quick_succession_are_not_all_kept():
    selector = ExpressionSelector(MODEL, COUNT)
    assert selector.offer(IMAGE, seen(jawOpen=0.3), 1.0, NEUTRAL, same_person).keyframe is not None
    assert selector.offer(IMAGE, seen(jawOpen=0.9), 1.1, NEUTRAL, same_person) == NOT_KEPT
    assert selector.offer(IMAGE, seen(jawOpen=0.9), 1.5, NEUTRAL, same_person).keyframe is not None


def test_the_least_novel_makes_room_for_a_clearly_more_novel_one():
    selector = ExpressionSelector(MODEL, 2)
    near, far = offer_all(selector, [seen(browInnerUp=1.0), seen(jawOpen=0.5)])
    assert selector.offer(IMAGE, seen(browInnerUp=1.0, noseSneerLeft=0.6), 4.0, NEUTRAL, same_person) == NOT_KEPT
    _, dropped = selector.offer(IMAGE, seen(mouthPucker=1.0), 5.0, NEUTRAL, same_person)
    assert dropped == (near.keyframe.key,)
    assert far.keyframe.key in selector.keys


def test_restored_frames_are_kept_and_their_keys_are_not_used_again():
    old = ExpressionSelector(MODEL, COUNT)
    kept = offer_all(old, [seen(jawOpen=0.3), seen(jawOpen=0.7)])
    fresh = ExpressionSelector(MODEL, COUNT)
    for decision in kept:
        fresh.restore(decision.keyframe)
    assert fresh.keys == old.keys
    assert offer_all(fresh, [seen(jawOpen=0.7)]) == [NOT_KEPT]
    added = fresh.offer(IMAGE, seen(mouthPucker=0.9), 10.0, NEUTRAL, same_person)
    assert added.keyframe.key not in old.keys


def test_kept_image_is_a_copy():
    image = IMAGE.copy()
    kept_frame = ExpressionSelector(MODEL, COUNT).offer(image, seen(jawOpen=0.5), 0.0, NEUTRAL, same_person).keyframe
    image[:] = 255
    assert kept_frame.image.max() == 0

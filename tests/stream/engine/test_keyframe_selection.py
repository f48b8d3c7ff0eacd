import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.geometry import Camera, HeadPose
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality
from stream.engine.keyframe_selection import WANTED, KeyframeSelector, Reason, worth
from stream.protocol.events import CoverageEvent
from stream.protocol.protocol import PromptCode
from stream.settings import SelectorSettings

IMAGE = np.zeros((48, 64, 3), np.uint8)
GOOD = FrameQuality(sharpness=1.0, exposure=0.5, clipped=0.0, face_size_px=200.0, occlusion=0.0)


def same_person(observation: FaceObservation) -> FaceObservation:
    return observation


def seen(yaw_deg=0.0, pitch_deg=0.0, quality=GOOD, status=FaceStatus.OK, **coefficients):
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    for name, value in coefficients.items():
        expression[EXPRESSION_NAMES.index(name)] = value
    rotation = np.array([-math.radians(pitch_deg), math.radians(yaw_deg), 0.0], np.float32)
    pose = HeadPose(rotation, np.array([0.0, 0.0, -0.6], np.float32))
    landmarks, depth = np.zeros((478, 2), np.float32), np.zeros(478, np.float32)
    return FaceObservation(landmarks, depth, pose, expression, Camera.centered(700.0, 640, 480), quality, status, None)


def offer_all(selector, observations):
    """The decisions, frames half a second apart."""
    return [
        selector.offer(IMAGE, observation, 0.5 * index, same_person) for index, observation in enumerate(observations)
    ]


observations = st.builds(
    lambda yaw, pitch, sharpness, jaw, smile: seen(
        yaw, pitch, replace(GOOD, sharpness=sharpness), jawOpen=jaw, mouthSmileLeft=smile, mouthSmileRight=smile
    ),
    st.floats(-50.0, 50.0),
    st.floats(-25.0, 25.0),
    st.floats(0.1, 2.0),
    st.floats(0.0, 1.0),
    st.floats(0.0, 1.0),
)


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(observations, max_size=60))
def test_the_set_is_bounded_and_the_decisions_add_up_to_it(frames):
    selector = KeyframeSelector(SelectorSettings(count=8))
    kept: set[str] = set()
    for index, frame in enumerate(frames):
        decision = selector.offer(IMAGE, frame, 0.5 * index, same_person)
        kept -= set(decision.dropped)
        if decision.keyframe is not None:
            assert decision.keyframe.key not in kept
            kept.add(decision.keyframe.key)
        assert {keyframe.key for keyframe in selector.keyframes} == kept
        assert len(kept) <= 8


@settings(max_examples=60, deadline=None)
@given(frames=st.lists(observations, max_size=60))
def test_the_best_frame_of_a_wanted_direction_only_gets_better(frames):
    selector = KeyframeSelector(SelectorSettings(count=8))
    best: dict[tuple[int, int], float] = {}
    for index, frame in enumerate(frames):
        selector.offer(IMAGE, frame, 0.5 * index, same_person)
        now: dict[tuple[int, int], float] = {}
        for held in selector._held.values():
            now[held.cell] = max(now.get(held.cell, 0.0), held.worth)
        for cell, _ in WANTED:
            assert now.get(cell, 0.0) >= best.get(cell, 0.0)
        best = now


@settings(max_examples=20, deadline=None)
@given(frames=st.lists(observations, max_size=40))
def test_the_same_frames_give_the_same_choice(frames):
    first, second = KeyframeSelector(), KeyframeSelector()
    chosen = [[(d.keyframe and d.keyframe.key, d.dropped) for d in offer_all(s, frames)] for s in (first, second)]
    assert chosen[0] == chosen[1]
    assert first.coverage() == second.coverage()


def test_the_set_comes_to_rest_while_the_person_moves_on_and_on():
    generator = np.random.default_rng(0)
    phase = np.linspace(0.0, 2.0 * np.pi, 150, endpoint=False)
    selector, changes = KeyframeSelector(), []
    for turn in range(12):
        changes.append(0)
        for index, angle in enumerate(phase):
            noise = generator.normal(0.0, 1.0, 5)
            frame = seen(
                45.0 * np.sin(angle) + 0.5 * noise[0],
                20.0 * np.sin(2.0 * angle) + 0.5 * noise[1],
                replace(GOOD, sharpness=1.0 + 0.1 * noise[2]),
                jawOpen=float(np.clip(0.5 + 0.5 * np.sin(3.0 * angle) + 0.02 * noise[3], 0.0, 1.0)),
                mouthSmileLeft=float(np.clip(0.4 * np.cos(5.0 * angle) + 0.02 * noise[4], 0.0, 1.0)),
            )
            time_s = (turn * len(phase) + index) / 30.0
            changes[-1] += selector.offer(IMAGE, frame, time_s, same_person).keyframe is not None
    assert len(selector.keyframes) == selector._settings.count
    assert selector.coverage().fraction > 0.8
    assert sum(changes[6:]) <= 2, changes


@pytest.mark.parametrize(
    ("frame", "reason", "prompt"),
    [
        (seen(status=FaceStatus.OTHER_PERSON), Reason.NOT_THE_PERSON, PromptCode.LOOK_STRAIGHT),
        (seen(status=FaceStatus.SEVERAL_FACES), Reason.NOT_THE_PERSON, PromptCode.LOOK_STRAIGHT),
        (seen(quality=replace(GOOD, face_size_px=30.0)), Reason.TOO_SMALL, PromptCode.COME_CLOSER),
        (seen(quality=replace(GOOD, face_size_px=470.0)), Reason.TOO_CLOSE, PromptCode.MOVE_BACK),
        (seen(quality=replace(GOOD, exposure=0.03)), Reason.TOO_DARK, PromptCode.MORE_LIGHT),
        (seen(quality=replace(GOOD, clipped=0.6)), Reason.TOO_BRIGHT, PromptCode.LESS_LIGHT),
        (seen(quality=replace(GOOD, sharpness=0.1)), Reason.BLURRED, PromptCode.HOLD_STILL),
        (seen(quality=replace(GOOD, occlusion=0.3)), Reason.OCCLUDED, PromptCode.LOOK_STRAIGHT),
    ],
)
def test_a_flawed_frame_is_refused_with_its_reason(frame, reason, prompt):
    selector = KeyframeSelector()
    assert selector.offer(IMAGE, frame, 0.0, same_person) == (None, ())
    assert selector.reason is reason
    assert selector.prompt() is prompt
    assert selector.keyframes == ()


def test_a_clearly_better_frame_takes_the_place_of_one_like_it():
    selector = KeyframeSelector()
    dull, alike, sharp = (seen(1.0, quality=replace(GOOD, sharpness=s)) for s in (0.5, 0.55, 1.0))
    first, second, third = offer_all(selector, [dull, alike, sharp])
    assert second.keyframe is None
    assert third.dropped == (first.keyframe.key,)
    assert [keyframe.observation for keyframe in selector.keyframes] == [sharp]


def test_frames_in_quick_succession_are_not_all_kept():
    selector = KeyframeSelector()
    selector.offer(IMAGE, seen(0.0), 1.0, same_person)
    assert selector.offer(IMAGE, seen(20.0), 1.01, same_person).keyframe is None
    assert selector.reason is Reason.TOO_SOON
    assert selector.offer(IMAGE, seen(20.0), 1.5, same_person).keyframe is not None


def test_expressions_count_as_different():
    selector = KeyframeSelector()
    decisions = offer_all(selector, [seen(), seen(jawOpen=0.6), seen(mouthSmileLeft=0.7, mouthSmileRight=0.7)])
    assert all(decision.keyframe is not None for decision in decisions)


def test_coverage_asks_for_what_is_missing_until_nothing_is():
    selector = KeyframeSelector()
    event = selector.coverage()
    assert (event.fraction, event.keyframes, event.prompt) == (0.0, 0, PromptCode.LOOK_STRAIGHT)
    frames = {
        PromptCode.LOOK_STRAIGHT: iter([seen()]),
        PromptCode.TURN_LEFT: iter([seen(20.0), seen(40.0)]),
        PromptCode.TURN_RIGHT: iter([seen(-20.0), seen(-40.0)]),
        PromptCode.LOOK_UP: iter([seen(0.0, 18.0)]),
        PromptCode.LOOK_DOWN: iter([seen(0.0, -18.0)]),
        PromptCode.SMILE: iter([seen(mouthSmileLeft=0.8, mouthSmileRight=0.8)]),
        PromptCode.OPEN_MOUTH: iter([seen(jawOpen=0.8)]),
    }
    time_s, fractions = 0.0, []
    while (prompt := selector.coverage().prompt) is not None:
        time_s += 1.0
        assert selector.offer(IMAGE, next(frames[PromptCode(prompt)]), time_s, same_person).keyframe is not None
        fractions.append(selector.coverage().fraction)
    assert fractions == sorted(fractions)
    event = selector.coverage()
    assert event.fraction == 1.0
    assert all(direction.seen for direction in event.directions if direction.wanted)
    assert isinstance(event, CoverageEvent)


def test_restored_keyframes_are_kept_and_their_keys_are_not_used_again():
    old = KeyframeSelector()
    kept = offer_all(old, [seen(), seen(20.0)])
    fresh = KeyframeSelector()
    for decision in kept:
        fresh.restore(decision.keyframe)
    assert fresh.coverage() == old.coverage()
    added = fresh.offer(IMAGE, seen(-20.0), 0.0, same_person)
    assert added.keyframe.key not in {decision.keyframe.key for decision in kept}


def test_kept_image_is_a_copy():
    selector, image = KeyframeSelector(), IMAGE.copy()
    keyframe = selector.offer(image, seen(), 0.0, same_person).keyframe
    image[:] = 255
    assert keyframe.image.max() == 0


def test_closed_eyes_are_worth_less():
    assert worth(seen(eyeBlinkLeft=1.0)) < worth(seen())


def test_too_small_a_set_is_refused():
    with pytest.raises(ValueError, match="at least"):
        KeyframeSelector(SelectorSettings(count=3))

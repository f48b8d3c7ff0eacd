"""Takes and motion as JSON."""

import json

import pytest

from fitme.motion.endpoints import TakeSource
from fitme.motion.messages import MotionMessageError, motion_json, motion_of_json
from fitme.motion.motion import FRONTAL, NEUTRAL_WEIGHTS, USUAL_POSITION, Motion
from fitme.motion.take import Take, TakeError, TakeWriter, read_take


def test_motion_as_json_and_back(moving):
    motion = moving(0.5)
    text = motion_json(motion)
    content = json.loads(text)
    assert content["type"] == "motion"
    assert content["weights"]["jawOpen"] == pytest.approx(motion.weights[24], abs=1e-5)
    read = motion_of_json(text)
    assert read.weights == pytest.approx(motion.weights, abs=1e-5)
    assert read.rotation == pytest.approx(motion.rotation, abs=2e-5)
    assert read.position == pytest.approx(motion.position, abs=1e-5)
    assert read.gaze == pytest.approx(motion.gaze, abs=1e-5)


def test_what_is_left_out_is_neutral():
    motion = motion_of_json('{"type": "motion", "time": 1, "tracked": false, "new": [1]}')
    assert motion == Motion(1.0, False, FRONTAL, USUAL_POSITION, weights=NEUTRAL_WEIGHTS)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "JSON"),
        ("[1, 2", "JSON"),
        ('{"type": "motion", "time": 0}', "tracked"),
        ('{"type": "take", "version": 1}', "take"),
        ('{"type": "motion", "time": 0, "tracked": true, "weights": {"jawOpenn": 1}}', "jawOpenn"),
        ('{"type": "motion", "time": 0, "tracked": true, "rotation": [0, 0, 1]}', "rotation"),
        ('{"type": "motion", "time": 1e999, "tracked": true}', "finite|range"),
    ],
)
def test_messages_that_are_no_motion(text, words):
    with pytest.raises(MotionMessageError, match=words):
        motion_of_json(text)


def test_a_take_is_read_as_it_was_recorded(tmp_path, moving):
    path = tmp_path / "takes" / "hello.jsonl"
    with TakeWriter(path, "camera") as writer:
        for frame in range(10):
            writer.write(moving(5.0 + frame / 30.0))
            writer.write(moving(5.0 + frame / 30.0))  # the same time: dropped
        assert len(read_take(path).motions) == 10, "it can be read while it is recorded"
    take = read_take(path)
    assert take.source == "camera"
    assert [motion.time_s for motion in take.motions] == pytest.approx([frame / 30.0 for frame in range(10)], abs=1e-5)
    assert take.duration_s == pytest.approx(0.3, abs=1e-5)
    assert take.motions[3].weights == pytest.approx(moving(5.1).weights, abs=1e-5)


def test_a_recording_that_broke_off(tmp_path, moving):
    path = tmp_path / "hello.jsonl"
    with TakeWriter(path, "camera") as writer:
        for frame in range(3):
            writer.write(moving(frame / 30.0))
    path.write_text(path.read_text()[:-40])
    assert len(read_take(path).motions) == 2


MOTION = '{"type": "motion", "time": %s, "tracked": false}\n'


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "first line"),
        (b"\xff\xfe", "cannot be read"),
        (b"hello\n", "first line"),
        (b'{"type": "take", "version": 9}\n', "version 9"),
        (b'{"type": "take", "version": 1}\n', "without motion"),
        (b'{"type": "take", "version": 1}\n' + (MOTION % 1 + MOTION % 1).encode(), "line 3: times must grow"),
        (b'{"type": "take", "version": 1}\nnonsense\n' + (MOTION % 1).encode(), "line 2"),
    ],
)
def test_files_that_are_no_takes(tmp_path, content, words):
    path = tmp_path / "take.jsonl"
    path.write_bytes(content)
    with pytest.raises(TakeError, match=words):
        read_take(path)


def test_a_take_that_is_not_there(tmp_path):
    with pytest.raises(TakeError, match="cannot be read"):
        read_take(tmp_path / "none.jsonl")


async def test_a_take_is_played_in_real_time_and_again():
    take = Take("test", tuple(Motion(0.01 * index, True) for index in range(5)))
    once = TakeSource(take)
    played = []
    while (motion := await once.take()) is not None:
        played.append(motion.time_s)
    assert played[-1] == 0.04
    assert played == sorted(set(played))
    forever = TakeSource(take, repeat=True)
    played = [(await forever.take()).time_s for _ in range(12)]
    assert played == sorted(set(played)), "times grow from round to round"
    await forever.close()
    assert await forever.take() is None

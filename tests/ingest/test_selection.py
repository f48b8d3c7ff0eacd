"""Selection of keyframes and expression frames."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from skimage import data

from fitme.geometry import axis_angle_from_matrix, head_rotation
from fitme.ingest.candidates import Candidate, gather
from fitme.ingest.frame import Frame
from fitme.ingest.monochrome import is_monochrome
from fitme.ingest.person_tracking import PersonTracker, TrackedFrame
from fitme.ingest.prefetch import Prefetcher
from fitme.ingest.selection import EXPRESSION_FRAMES, KEYFRAMES, choose
from fitme.shape.model_file import load_default_model
from fitme.track.observation import FaceObservation
from fitme.track.tracker import FrameTracker


class StoredFrames(PersonTracker):
    """Person tracker with given tracked frames."""

    frames: dict[int, TrackedFrame]

    def tracked_frames(
        self, candidates: Sequence[Candidate], prefetcher: Prefetcher | None = None
    ) -> Iterator[tuple[Candidate, TrackedFrame]]:
        for candidate in candidates:
            if candidate.frame in self.frames:
                yield candidate, self.frames[candidate.frame]


@pytest.fixture(scope="module")
def observation() -> FaceObservation:
    observed = FrameTracker(load_default_model()).analyse(data.astronaut())
    assert observed is not None
    return observed


def stored_frames(observation: FaceObservation, sharpness: list[float | None]) -> tuple[StoredFrames, list[Candidate]]:
    """Candidates; those with a sharpness show the person."""
    candidates = [Candidate(Path("clip.mp4"), None, index) for index in range(len(sharpness))]
    observer = StoredFrames(load_default_model())
    observer.frames = {
        index: TrackedFrame(
            Frame(np.zeros((2, 2, 3), np.uint8), float(index), None, index, str(index)),
            replace(observation, quality=replace(observation.quality, sharpness=value)),
        )
        for index, value in enumerate(sharpness)
        if value is not None
    }
    return observer, candidates


def turned(tracked_frame: TrackedFrame, yaw_deg: float, pitch_deg: float = 0.0) -> TrackedFrame:
    """The frame with the head in another direction."""
    matrix = torch.from_numpy(head_rotation(np.radians(yaw_deg), np.radians(pitch_deg)))
    pose = replace(tracked_frame.observation.pose, rotation=axis_angle_from_matrix(matrix).numpy().astype(np.float32))
    return replace(tracked_frame, observation=replace(tracked_frame.observation, pose=pose))


@settings(max_examples=40, deadline=None)
@given(sharpness=st.lists(st.none() | st.floats(0.1, 2.0), min_size=1, max_size=90))
def test_no_frame_is_selected_twice(observation: FaceObservation, sharpness: list[float | None]) -> None:
    choice = choose(*stored_frames(observation, sharpness))
    keyframes, expression_frames = (
        [s.frame.index for s in part] for part in (choice.keyframes, choice.expression_frames)
    )
    assert len(keyframes) <= KEYFRAMES
    assert len(expression_frames) <= EXPRESSION_FRAMES
    assert keyframes == sorted(set(keyframes))
    assert expression_frames == sorted(set(expression_frames))
    assert not set(keyframes) & set(expression_frames)
    assert bool(keyframes) == any(value is not None for value in sharpness)
    if len(sharpness) <= KEYFRAMES:
        assert keyframes == [index for index, value in enumerate(sharpness) if value is not None]
        assert not expression_frames


def test_a_head_that_turned_for_moments_is_seen_from_there(observation: FaceObservation) -> None:
    observer, candidates = stored_frames(observation, [1.0] * 360)
    straight = {index: turned(frame, 0.0) for index, frame in observer.frames.items()}
    views = {50: (42.0, 0.0), 52: (21.0, 0.0), 200: (-44.0, 1.0), 300: (0.0, 17.0)}
    blurred = {330: (1.0, -20.0)}
    for index, direction in (views | blurred).items():
        quality = replace(observation.quality, sharpness=0.9 if index in views else 0.2)
        frame = turned(straight[index], *direction)
        straight[index] = replace(frame, observation=replace(frame.observation, quality=quality))
    observer.frames = straight
    keyframes = [s.frame.index for s in choose(observer, candidates).keyframes]
    assert len(keyframes) == KEYFRAMES
    assert keyframes == sorted(keyframes)
    assert set(views) <= set(keyframes)
    assert not set(blurred) & set(keyframes)


def test_the_best_frame_of_each_segment_is_a_keyframe(observation: FaceObservation) -> None:
    sharpness = [1.0 + (index % 30 == 7) - 0.5 * (index % 2) for index in range(360)]
    choice = choose(*stored_frames(observation, sharpness))
    assert [s.frame.index for s in choice.keyframes] == list(range(7, 360, 30))
    assert len(choice.expression_frames) == EXPRESSION_FRAMES
    expression_frames = np.array([s.frame.index for s in choice.expression_frames])
    assert (expression_frames % 2 == 0).mean() > 0.9  # the sharper ones
    assert np.diff(expression_frames).max() < 20  # all over the clip


@pytest.mark.parametrize(("coloured", "warned"), [((), True), ((3,), False)])
def test_black_and_white_images_are_told(observation: FaceObservation, coloured: tuple[int, ...], warned: bool) -> None:
    person, candidates = stored_frames(observation, [1.0] * 4)
    colour = data.astronaut()
    grey = np.repeat(np.asarray(Image.fromarray(colour).convert("L"))[..., None], 3, 2)
    for index, tracked in person.frames.items():
        image = colour if index in coloured else grey
        person.frames[index] = replace(tracked, frame=replace(tracked.frame, image=image))
    choose(person, candidates)
    assert any("black and white" in warning for warning in person.warnings) == warned


def test_infrared_tint_is_no_colour() -> None:
    colour = data.astronaut().astype(np.float32)
    grey = colour.mean(-1, keepdims=True)
    noise = np.random.default_rng(0).normal(0.0, 1.0, colour.shape)
    tinted = np.clip(grey * (0.9, 0.7, 0.95) + noise, 0, 255).astype(np.uint8)
    assert is_monochrome(tinted)
    assert not is_monochrome(np.zeros((8, 8, 3), np.uint8)), "the dark tells nothing"
    assert not is_monochrome(data.astronaut())
    assert not is_monochrome(np.clip(grey + 0.3 * (colour - grey), 0, 255).astype(np.uint8)), "pale, not grey"


def test_what_covers_the_face_in_some_images_is_named(tmp_path: Path):
    portrait = data.astronaut()
    for index in range(4):
        image = np.roll(portrait, 4 * index, 1).copy()
        if index == 0:
            image[150:215, 195:260] = (20, 60, 180)  # a cup before mouth and chin
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    person = PersonTracker(load_default_model())
    assert len(choose(person, gather([tmp_path])).keyframes) == 4
    (warning,) = person.warnings
    assert warning == "something covers the face in 1 of 4 images, and is left out there: 0.png"

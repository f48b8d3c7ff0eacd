"""Frames of two people before one camera: the fit gets those of the first alone."""

import math
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from fitme.fit.keyframe import Keyframe
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.track.tracker import FrameTracker
from stream.engine.frame_selection import DISCARDED_S, FrameSelection
from stream.engine.messages import AddExpressionFrame, AddKeyframe, DiscardFrames, RemoveExpressionFrame, RemoveKeyframe
from stream.settings import ServeSettings
from stream.web.app import CLIENT_FOLDER

CLIPS = Path(__file__).resolve().parents[4] / "shared" / "data" / "clips"
PEOPLE = ("liveportrait_d18.mp4", "liveportrait_d20.mp4", "liveportrait_d6.mp4")
SIZE_PX = (480, 480)
PERIOD_S = 1.0 / 20.0


class Selection:
    """A selection fed with frames, and the frames that its fit holds."""

    def __init__(self, model: MorphableModel) -> None:
        self.held: dict[str, float] = {}
        self.sent: dict[str, float] = {}
        """Those, and frames that others have taken the place of since."""
        self.discarded: set[str] = set()
        self._tracker = FrameTracker(model)
        self._selection = FrameSelection("a", model, self._tracker, ServeSettings(), self._receive)
        self.time_s = 0.0

    def show(self, frames: list[np.ndarray]) -> None:
        for frame in frames:
            self.time_s += PERIOD_S
            observation = self._tracker.track(frame, self.time_s)
            if observation is not None:
                self._selection.consider(frame, observation, self.time_s)

    def seen_yaws_deg(self) -> set[int]:
        """Columns of the dial in which a direction has been seen."""
        directions = self._selection.coverage().directions
        return {round(math.degrees(direction.yaw)) for direction in directions if direction.seen}

    def close(self) -> None:
        self._tracker.close()

    def _hold(self, frame: Keyframe) -> None:
        self.held[frame.key] = self.sent[frame.key] = frame.timestamp_s

    def _receive(self, message: object) -> None:
        match message:
            case AddKeyframe():
                assert message.keyframe.observation.embedding is not None
                self._hold(message.keyframe)
            case AddExpressionFrame():
                assert message.frame.observation.embedding is not None
                self._hold(message.frame)
            case RemoveKeyframe() | RemoveExpressionFrame():
                del self.held[message.key]
            case DiscardFrames():
                self.discarded |= set(message.keys)
                for key in message.keys:
                    self.held.pop(key, None)


@pytest.fixture
def selection() -> Iterator[Selection]:
    made = Selection(load_default_model())
    yield made
    made.close()


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def clip(name: str) -> list[np.ndarray]:
    path = CLIPS / name
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    frames = decoded(path)
    return [cv2.resize(frame, SIZE_PX, interpolation=cv2.INTER_AREA) for frame in frames[:80]]


def test_turned_frames_of_the_person_are_kept(selection: Selection) -> None:
    """The page's sample clip: a synthetic head turns 41 degrees to its right (to its left, it counts as occluded)."""
    selection.show(decoded(CLIENT_FOLDER / "assets" / "sample.webm")[::2])
    assert {-40, -20, 0, 20} <= selection.seen_yaws_deg()
    assert not selection.discarded


@pytest.mark.parametrize(("first", "second"), [(PEOPLE[0], PEOPLE[1]), (PEOPLE[1], PEOPLE[2]), (PEOPLE[2], PEOPLE[0])])
def test_nobody_elses_frame_is_kept_after_a_cut(selection: Selection, first: str, second: str) -> None:
    selection.show(clip(first))
    cut_s = selection.time_s
    before = dict(selection.held)
    assert before
    selection.show(clip(second))
    assert selection.time_s > cut_s + 2.0
    assert not [key for key, kept_s in selection.held.items() if kept_s > cut_s]
    # What was kept just before the change is gone, too: it may show both.
    noticed_s = cut_s + 1.0
    assert selection.discarded <= {key for key, sent_s in selection.sent.items() if sent_s >= cut_s - DISCARDED_S}
    assert not [key for key, kept_s in selection.held.items() if kept_s > noticed_s - DISCARDED_S]
    # The first one comes back and is taken up again.
    selection.show(clip(first)[::-1])
    assert set(before) - selection.discarded <= set(before)
    assert selection.held

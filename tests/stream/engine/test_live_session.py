"""A live session fed with frames: which of them it gives to the fit, and as what."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fitme.motion.rotations import rotation_of_angles
from fitme.session.store import SessionStore
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from stream.engine.frame_slots import FrameSlots
from stream.engine.live_session import LiveSession
from stream.engine.messages import (
    AddExpressionFrame,
    AddKeyframe,
    FitOpened,
    OpenSession,
    SessionEvent,
    SessionParameters,
    SessionRender,
)
from stream.protocol.parameters import Parameters
from stream.protocol.scene import Scene
from stream.settings import CameraSettings, RenderSettings, ServeSettings

PERIOD_S = 0.4
"""Time between two frames, as the session hears of it."""
MAX_PIXELS = 640 * 480
SETTINGS = replace(
    ServeSettings(),
    render=RenderSettings(per_second=60.0),
    camera=CameraSettings(tracked_per_second=60.0, checked_per_second=60.0),
)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture
def slots() -> Iterator[FrameSlots]:
    made = FrameSlots.create(MAX_PIXELS)
    yield made
    made.close()


class Camera:
    """Shows images to a session, each once, and keeps what it sends to the fit."""

    def __init__(self, slots: FrameSlots, folder: Path, model: MorphableModel) -> None:
        self.to_fit: list[object] = []
        self.to_web: list[object] = []
        self._slots = slots
        self._time_s = 0.0
        opened = OpenSession("a", folder, Scene(), slots.name, MAX_PIXELS)
        self.session = LiveSession(opened, model, SETTINGS, self.to_web.append, self.to_fit.append)

    def show(self, images: list[np.ndarray]) -> None:
        for image in images:
            self._time_s += PERIOD_S
            self._slots.write(image, self._time_s, self._time_s)
            delay_s = self.session.step()
            self.session.check()
            time.sleep(delay_s)

    def sent(self, kind: type) -> list[object]:
        return [message for message in self.to_fit if isinstance(message, kind)]


def test_frames_that_are_no_keyframes_are_studied(
    slots: FrameSlots, tmp_path: Path, model: MorphableModel, face_images: list[np.ndarray]
) -> None:
    camera = Camera(slots, tmp_path / "new", model)
    # To and fro: at last there is nothing new to a turn of the head, but to the mouth.
    camera.show([*face_images, *face_images[::-1]])
    camera.session.close()
    keyframes = [message.keyframe for message in camera.sent(AddKeyframe)]
    expression_frames = [message.frame for message in camera.sent(AddExpressionFrame)]
    assert isinstance(camera.to_fit[0], AddKeyframe)
    assert keyframes
    assert expression_frames
    assert len({frame.key for frame in (*keyframes, *expression_frames)}) == len(keyframes) + len(expression_frames)
    assert not {keyframe.timestamp_s for keyframe in keyframes} & {frame.timestamp_s for frame in expression_frames}


def test_nothing_is_chosen_before_it_is_known_what_was_chosen_earlier(
    slots: FrameSlots, tmp_path: Path, model: MorphableModel, face_images: list[np.ndarray]
) -> None:
    first = Camera(slots, tmp_path / "old", model)
    first.show(face_images[:6])
    first.session.close()
    kept = tuple(message.keyframe for message in first.sent(AddKeyframe))
    SessionStore(tmp_path / "old").close()
    second = Camera(slots, tmp_path / "old", model)
    second.show(face_images[6:12])
    assert not second.to_fit
    second.session.resume(FitOpened("a", kept, ()))
    second.show(face_images[12:24])
    second.session.close()
    added = second.sent(AddKeyframe)
    assert added
    assert not {message.keyframe.key for message in added} & {keyframe.key for keyframe in kept}


def test_every_frame_is_parameters_and_no_render_is_drawn_unless_one_is_requested(
    slots: FrameSlots, tmp_path: Path, model: MorphableModel, face_images: list[np.ndarray]
) -> None:
    camera = Camera(slots, tmp_path / "new", model)
    images = face_images[:5]
    camera.show(images)
    sent = [Parameters.unpack(message.message) for message in camera.to_web if isinstance(message, SessionParameters)]
    assert [parameters.capture_time_s for parameters in sent] == pytest.approx(
        [PERIOD_S * (1 + index) for index in range(len(images))], abs=1e-3
    )
    assert all(parameters.tracked for parameters in sent)
    assert all(np.linalg.norm(parameters.rotation) == pytest.approx(1.0, abs=1e-3) for parameters in sent)
    assert 0.3 < -sent[-1].position[2] < 1.2
    look = [abs(parameters.gaze[0]) + abs(parameters.gaze[1]) for parameters in sent]
    assert max(look) > 0.0
    camera.show([np.zeros_like(images[0])])
    last = next(message for message in reversed(camera.to_web) if isinstance(message, SessionParameters))
    lost = Parameters.unpack(last.message)
    assert not lost.tracked
    assert set(lost.weights) == {0.0}
    assert not [message for message in camera.to_web if isinstance(message, SessionRender)]
    camera.session.request_render()
    camera.show([images[0]])
    assert len([message for message in camera.to_web if isinstance(message, SessionRender)]) == 1

    # Motion of another program is drawn in place of the camera's.
    camera.session.drive(replace(sent[0], rotation=rotation_of_angles(0.8, 0.0, 0.0)).pack())
    camera.session.request_render()
    while len(renders := [message for message in camera.to_web if isinstance(message, SessionRender)]) < 2:
        time.sleep(camera.session.step())
    assert renders[1].render.pose[0] == pytest.approx(0.8, abs=1e-3)
    camera.session.close()


def test_parameters_do_not_wait_for_checks(
    slots: FrameSlots, tmp_path: Path, model: MorphableModel, face_images: list[np.ndarray]
) -> None:
    camera = Camera(slots, tmp_path / "new", model)
    slots.write(face_images[0], 1.0, 1.0)
    camera.session.step()
    assert [type(message) for message in camera.to_web] == [SessionParameters]
    assert not camera.to_fit
    assert camera.session.check()
    assert camera.sent(AddKeyframe)
    assert any(isinstance(message, SessionEvent) for message in camera.to_web)
    assert not camera.session.check(), "once"
    # Of a session that has no time for it before, when its next frame comes.
    slots.write(face_images[5], 2.0, 2.0)
    time.sleep(camera.session.step())
    slots.write(face_images[6], 3.0, 3.0)
    camera.session.step()
    assert len(camera.sent(AddKeyframe)) == 2
    camera.session.close()

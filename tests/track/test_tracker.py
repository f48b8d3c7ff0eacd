import math

import av
import numpy as np
import pytest
import torch

from fitme.color import linear_to_bytes
from fitme.errors import InputError
from fitme.geometry import Camera
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.renderer import render
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES
from fitme.track.observation import FaceStatus, status_of
from fitme.track.settings import OneEuroSettings
from fitme.track.smoothing import OneEuroFilter
from fitme.track.tracker import FrameTracker

FRAME_S = 1.0 / 30.0


@pytest.fixture(scope="module")
def tracker(model):
    tracker = FrameTracker(model)
    yield tracker
    tracker.close()


def rendered(model, yaw, jaw_open=0.0):
    """(480, 640, 3) image of the mean head, yaw in radians."""
    maps = ReflectanceMaps.constant((0.45, 0.28, 0.2), 0.03, 64)
    light = Light(Light.ambient(0.4).sh, torch.tensor([[[0.3, 0.5, 0.81]]]), torch.full((1, 1, 3), 0.7))
    expression = torch.zeros(1, EXPRESSION_COUNT)
    expression[0, EXPRESSION_NAMES.index("jawOpen")] = jaw_open
    vertices = model.vertices(torch.zeros(1, model.identity_count), expression)
    camera = Camera.centered(704.0, 640, 480)
    drawn = render(
        model, vertices, torch.tensor([[0.0, yaw, 0.0]]), torch.tensor([[0.0, 0.02, -0.6]]), camera, maps, light
    )
    return linear_to_bytes(drawn.image[0].numpy() + 0.3 * (1.0 - drawn.mask[0].numpy()))


def test_a_rendered_head_is_tracked(model, tracker):
    tracker.reset()
    yaws = [0.3 * math.sin(index / 3.0) for index in range(12)]
    found = [tracker.track(rendered(model, yaw), index * FRAME_S) for index, yaw in enumerate(yaws)]
    assert all(status_of(observation) is FaceStatus.OK for observation in found)
    errors = [observation.pose.yaw_pitch_roll()[0] - yaw for observation, yaw in zip(found, yaws, strict=True)]
    assert np.abs(errors).max() < math.radians(9.0)
    assert found[0].pose.translation[2] == pytest.approx(-0.6, abs=0.06)
    assert found[0].embedding is not None
    assert found[1].embedding is None
    assert found[0].landmarks.shape == (478, 2)
    assert found[0].quality.occlusion == 0.0


def test_an_open_mouth_is_tracked(model, tracker):
    closed = tracker.analyse(rendered(model, 0.0))
    opened = tracker.analyse(rendered(model, 0.0, jaw_open=0.6))
    jaw = EXPRESSION_NAMES.index("jawOpen")
    assert opened.expression[jaw] > closed.expression[jaw] + 0.25


def test_the_status_follows_the_faces_of_the_frame(model, tracker, astronaut):
    tracker.reset()
    frame = np.full((512, 1024, 3), 120, np.uint8)
    alone, joined, empty = frame.copy(), frame.copy(), frame
    alone[:, :512] = astronaut
    joined[:, :512], joined[:, 512:] = astronaut, astronaut[:, ::-1]
    shown = [alone, joined, empty, alone]
    statuses = []
    for index, image in enumerate(shown):
        for repeat in range(10):
            observation = tracker.track(image, (10 * index + repeat) * 0.1)
        statuses.append(status_of(observation))
    assert statuses == [FaceStatus.OK, FaceStatus.SEVERAL_FACES, FaceStatus.NO_FACE, FaceStatus.OK]


def test_another_person_is_detected_and_the_first_recognised_again(model, astronaut):
    tracker = FrameTracker(model)
    head = np.full((512, 512, 3), 77, np.uint8)
    head[16:496] = rendered(model, 0.0)[:, 64:576]
    tracker.set_reference_embeddings(tracker.analyse(astronaut).embedding)
    assert status_of(tracker.analyse(astronaut)) is FaceStatus.OK
    assert status_of(tracker.analyse(head)) is FaceStatus.OTHER_PERSON
    time_s, statuses = 0.0, []
    for image in (astronaut, head, astronaut):
        for _ in range(20):
            time_s += 0.1
            observation = tracker.track(image, time_s)
        statuses.append(status_of(observation))
    tracker.close()
    assert statuses == [FaceStatus.OK, FaceStatus.OTHER_PERSON, FaceStatus.OK]


def test_an_image_of_another_layout_is_refused(tracker):
    with pytest.raises(InputError):
        tracker.track(np.zeros((10, 10), np.uint8), 0.0)
    with pytest.raises(InputError):
        tracker.analyse(np.zeros((10, 10, 4), np.uint8))


def test_the_focal_length_moves_the_head_away(model, astronaut):
    tracker = FrameTracker(model)
    near = tracker.analyse(astronaut).pose.translation[2]
    tracker.set_focal(2.2)
    far = tracker.analyse(astronaut).pose.translation[2]
    tracker.close()
    assert far == pytest.approx(2.0 * near, rel=0.1)


def test_a_hand_in_front_of_the_face_is_an_occlusion(model, shared):
    tracker = FrameTracker(model)
    occlusion = {}
    with av.open(str(shared / "clips" / "pyfeat_WolfgangLanger_Pexels.mp4")) as clip:
        for index, frame in enumerate(clip.decode(video=0)):
            if index > 290:
                break
            if index % 5 == 0:
                found = tracker.track(frame.to_ndarray(format="rgb24"), frame.time)
                occlusion[index] = 1.0 if found is None else found.quality.occlusion
    tracker.close()
    assert all(share > 0.1 for index, share in occlusion.items() if 100 <= index <= 220)
    assert all(share == 0.0 for index, share in occlusion.items() if index <= 50 or index >= 245)


def test_smoothing_reduces_noise_and_follows_motion():
    smooth = OneEuroFilter(OneEuroSettings(minimal_cutoff_hz=1.0, speed_gain=5.0))
    rng = np.random.default_rng(0)
    still = [smooth(rng.normal(0.0, 0.01, 1), index * FRAME_S)[0] for index in range(100)]
    assert np.std(still[20:]) < 0.006
    moved = [smooth(np.array([1.0]), (100 + index) * FRAME_S)[0] for index in range(8)]
    assert moved[-1] > 0.9
    assert moved == sorted(moved)


def test_a_constant_time_changes_nothing():
    smooth = OneEuroFilter(OneEuroSettings(minimal_cutoff_hz=1.0, speed_gain=5.0))
    smooth(np.zeros(2), 1.0)
    assert smooth(np.ones(2), 1.0) == pytest.approx(np.zeros(2))

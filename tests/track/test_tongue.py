"""A tongue out of the mouth, in renders of painted heads; none in other open mouths."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation
from fitme.hair.head_renderer import HeadRenderer
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.skin.attributes import sample_attributes
from fitme.skin.painter import synthesize_skin
from fitme.synthetic.clip import clip_identity
from fitme.synthetic.lights import room_light
from fitme.track.settings import TongueSettings
from fitme.track.tongue import TongueFilter, tongue_evidence
from fitme.track.tracker import FrameTracker

CAMERA = Camera.centered(704.0, 640, 480)
FRAME_S = 1.0 / 30.0
SEEDS = (111, 113, 114)
OUT = {"tongueOut": 1.0, "jawOpen": 0.25}
OTHERS = (
    {}, {"jawOpen": 0.3}, {"jawOpen": 0.7}, {"mouthFunnel": 0.8, "jawOpen": 0.3}, {"mouthPucker": 0.8},
    {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5, "jawOpen": 0.1},
)  # fmt: skip


@pytest.fixture(scope="module")
def camera_frame(model):
    """Image (480, 640, 3) of a painted head of a seed with an expression by names."""
    renderer = HeadRenderer(model, (CAMERA.height, CAMERA.width), shadows=True)
    painted = {}

    def draw(seed, yaw_deg=0.0, **weights):
        if seed not in painted:
            attributes = replace(sample_attributes(np.random.default_rng(seed)), hair_density=1.0)
            painted[seed] = synthesize_skin(seed, 256, attributes=attributes).maps()
        renderer.set_maps(painted[seed])
        expression = torch.zeros(1, EXPRESSION_COUNT)
        for name, weight in weights.items():
            expression[0, expression_index(name)] = weight
        vertices = model.vertices(clip_identity(seed, model)[None], expression)[0].numpy()
        rotation = axis_angle_from_matrix(torch.from_numpy(head_rotation(math.radians(yaw_deg)))).numpy()
        pose = HeadPose(rotation.astype(np.float32), np.array([0.0, 0.02, -0.5], np.float32))
        light = room_light(np.random.default_rng(seed - 110))
        image = renderer.render(vertices, pose, CAMERA, light, (0.2, 0.22, 0.25)).astype(np.float32)
        noise = np.random.default_rng(0).normal(0.0, 1.3, image.shape)
        return np.clip(image + noise, 0.0, 255.0).round().astype(np.uint8)

    yield draw
    renderer.close()


def test_a_tongue_is_seen_and_other_mouths_show_none(finder, camera_frame):
    def evidence(seed, **weights):
        image = camera_frame(seed, **weights)
        return tongue_evidence(image, finder.detect(image)[0].landmarks)

    assert sum(evidence(seed, **OUT) > 0.5 for seed in SEEDS) == len(SEEDS)
    assert max(evidence(seed, **other) for seed in SEEDS for other in OTHERS) < 0.5


def test_a_tracked_tongue_comes_out_and_goes_in(model, camera_frame):
    tracker = FrameTracker(model)
    shown = []
    for index in range(30):
        image = camera_frame(SEEDS[0], **(OUT if 5 <= index < 18 else {}))
        observation = tracker.track_pose(image, index * FRAME_S)
        shown.append(float(observation.expression[expression_index("tongueOut")]))
    tracker.close()
    assert max(shown[:6]) == 0.0
    assert shown[17] == pytest.approx(TongueSettings().activation, abs=0.1)
    assert shown[-1] < 0.1


def test_a_single_frame_is_no_proof():
    tongue = TongueFilter(TongueSettings())
    assert [tongue(float(index == 3), index * FRAME_S) for index in range(8)] == [0.0] * 8
    tongue.reset()
    assert tongue(1.0, 100.0) == 0.0
    lasting = [tongue(1.0, 100.0 + index * FRAME_S) for index in range(1, 10)]
    assert lasting[-1] == TongueSettings().activation
    assert tongue(0.0, 100.0 + 10 * FRAME_S) > 0.0

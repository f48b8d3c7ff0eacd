"""A tongue out of the mouth, in renders of painted heads; none in other open mouths."""

import pytest

from fitme.motion.live_link import LiveLinkEncoder, unpacked_packet
from fitme.motion.messages import motion_json, motion_of_json
from fitme.shape.expressions import expression_index
from fitme.track.motion import motion_of
from fitme.track.mouth.tongue import TongueFilter, tongue_evidence
from fitme.track.settings import TongueSettings
from fitme.track.tracker import FrameTracker

FRAME_S = 1.0 / 30.0
SEEDS = (111, 113, 114)
OUT = {"tongueOut": 1.0, "jawOpen": 0.25}
OTHERS = (
    {}, {"jawOpen": 0.3}, {"jawOpen": 0.7}, {"mouthFunnel": 0.8, "jawOpen": 0.3}, {"mouthPucker": 0.8},
    {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8, "mouthUpperUpLeft": 0.5, "mouthUpperUpRight": 0.5, "jawOpen": 0.1},
)  # fmt: skip


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
        if index == 17:
            sent = motion_of(observation, index * FRAME_S)
    tracker.close()
    # What other programs get of it.
    for received in (
        motion_of_json(motion_json(sent)),
        unpacked_packet(LiveLinkEncoder("me", 0.0).pack(sent), 0.0).motion,
    ):
        assert received.weights[expression_index("tongueOut")] == pytest.approx(shown[17], abs=1e-3)
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

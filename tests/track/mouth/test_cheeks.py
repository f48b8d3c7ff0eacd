"""Puffed cheeks, by their shading in renders of painted heads; no puff in other expressions with closed lips."""

import numpy as np
import pytest

from fitme.shape.expressions import expression_index
from fitme.track.tracker import FrameTracker

FRAME_S = 1.0 / 30.0
SEED = 115
AT_REST = 8
"""Frames of the face at rest before it moves."""
OTHERS = (
    {"mouthSmileLeft": 0.7, "mouthSmileRight": 0.7}, {"mouthPucker": 0.7}, {"jawOpen": 0.5},
    {"mouthPressLeft": 0.7, "mouthPressRight": 0.7}, {"mouthFunnel": 0.6}, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def activation(model, camera_frame):
    """Tracked activations of cheekPuff of frames at rest, then of frames with an expression by names."""

    def track(frames=12, yaw_deg=0.0, **weights):
        tracker, found = FrameTracker(model), []
        for index in range(AT_REST + frames):
            shown = weights if index >= AT_REST else {}
            image = camera_frame(SEED, yaw_deg if index >= AT_REST else 0.0, **shown)
            expression = tracker.track_pose(image, index * FRAME_S).expression
            found.append(float(expression[expression_index("cheekPuff")]))
        tracker.close()
        return np.array(found)

    return track


def test_puffed_cheeks_are_seen_by_their_amount(activation):
    puffed, less = activation(cheekPuff=0.9), activation(cheekPuff=0.5)
    assert puffed[:AT_REST].max() < 0.05
    assert puffed[-1] == pytest.approx(0.9, abs=0.35)
    assert puffed[:AT_REST].max() < less[-1] < puffed[-1]


def test_other_expressions_puff_no_cheeks(activation):
    for weights in OTHERS:
        assert activation(frames=6, **weights).max() < 0.1, weights


def test_a_turned_head_puffs_no_cheeks(activation):
    assert activation(frames=6, yaw_deg=20.0).max() < 0.1

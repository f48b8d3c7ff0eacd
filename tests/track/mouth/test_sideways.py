"""Mouth and jaw to one side, from projected landmarks of heads that the solver does not know, and of a render."""

import math

import numpy as np
import pytest
import torch

from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.track.mouth.sideways import Sideways
from fitme.track.pose import PoseSolver
from fitme.track.settings import SidewaysSettings

CAMERA = Camera.centered(704.0, 640, 480)
STRAIGHT = (
    {}, {"mouthSmileLeft": 0.9, "mouthSmileRight": 0.9}, {"jawOpen": 0.8}, {"mouthPucker": 0.9},
    {"mouthFunnel": 0.8, "jawOpen": 0.3}, {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
)  # fmt: skip


@pytest.fixture(scope="module")
def seen(model, posed):
    """Solver's expression, and that with mouth and jaw to one side, of an expression by names."""
    solver, sideways = PoseSolver(model), Sideways(model, SidewaysSettings())

    def look(yaw_deg=0.0, seed=1, **weights):
        expression = np.zeros(EXPRESSION_COUNT, np.float32)
        for name, weight in weights.items():
            expression[expression_index(name)] = weight
        rotation = axis_angle_from_matrix(torch.from_numpy(head_rotation(math.radians(yaw_deg)))).numpy()
        pose = HeadPose(rotation.astype(np.float32), np.array([0.0, 0.02, -0.55], np.float32))
        identity = 0.8 * np.random.default_rng(seed).standard_normal(model.identity_count).astype(np.float32)
        found = posed(model, pose, CAMERA, expression, identity)
        # Landmarks follow mouths by half their way, as the network's do on rendered heads.
        rest = expression.copy()
        rest[[expression_index(f"{part}{side}") for part in ("mouth", "jaw") for side in ("Left", "Right")]] *= 0.5
        halved = posed(model, pose, CAMERA, rest, identity)
        estimate = solver.solve(halved.landmarks, found.depth, CAMERA, iterations=20)
        return estimate.expression, sideways.applied(estimate, halved.landmarks, CAMERA)

    return look


def sides(expression, part):
    return expression[expression_index(f"{part}Left")] - expression[expression_index(f"{part}Right")]


@pytest.mark.parametrize(("part", "least"), [("mouth", 0.4), ("jaw", 0.2)])
def test_what_is_drawn_to_one_side_is_found_there(seen, part, least):
    for side, sign in (("Left", 1.0), ("Right", -1.0)):
        found = [sign * sides(seen(seed=seed, **{f"{part}{side}": 0.9})[1], part) for seed in range(4)]
        assert min(found) > least
        assert np.mean(found) <= 1.0


def test_more_is_seen_than_the_solver_leaves(seen):
    solved, shown = seen(mouthLeft=1.0)
    assert sides(shown, "mouth") > sides(solved, "mouth") + 0.1


@pytest.mark.parametrize("yaw_deg", [0.0, 20.0])
@pytest.mark.parametrize("weights", STRAIGHT)
def test_a_straight_mouth_stays_as_it_was_solved(seen, weights, yaw_deg):
    for seed in range(3):
        solved, shown = seen(yaw_deg=yaw_deg, seed=seed, **weights)
        np.testing.assert_array_equal(shown, solved)

import numpy as np
import pytest
import torch

from fitme.fit.alignment.closed_jaw import LEAST_OPENING, ClosedJaw, shared_opening
from fitme.fit.alignment.closed_lips import lips_closed
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.landmark_groups import SURFACE_LANDMARK_COUNT

OPENING = 0.2
JAW = expression_index("jawOpen")
CHIN, LOWER_LIP = 152, 14


def expression_of(**coefficients):
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    for name, value in coefficients.items():
        expression[expression_index(name)] = value
    return expression


CLOSED = expression_of(jawOpen=OPENING, mouthClose=OPENING)
SMILE = expression_of(
    jawOpen=OPENING + 0.1, mouthSmileLeft=0.3, mouthSmileRight=0.3, mouthUpperUpLeft=0.3, mouthUpperUpRight=0.3
)


def places(model, identity, expression):
    vertices = model.vertices(torch.from_numpy(identity)[None], torch.from_numpy(expression)[None])
    return model.landmarks(vertices)[0].numpy()  # (478, 3)


@pytest.fixture(scope="module")
def person(identity):
    return identity.numpy()


@pytest.fixture(scope="module")
def jaw(model):
    return ClosedJaw(model)


def test_lips_are_closed_unless_a_smile_or_a_jaw_parts_them(model, person):
    assert lips_closed(places(model, person, CLOSED)[:, :2])
    assert not lips_closed(places(model, person, SMILE)[:, :2])
    assert not lips_closed(places(model, person, expression_of(jawOpen=0.15))[:, :2])


def test_an_opening_is_shared_only_beside_closed_lips(model, person):
    closed, smile = (places(model, person, expression)[:, :2] for expression in (CLOSED, SMILE))
    assert shared_opening([closed, smile], [CLOSED, SMILE]) == pytest.approx(OPENING)
    # A person who shows closed lips nowhere may have an open mouth everywhere.
    assert shared_opening([smile, smile], [SMILE, SMILE]) == 0.0
    # One jaw that is closed farther refutes it, and a small opening is noise.
    assert shared_opening([closed, closed], [CLOSED, expression_of()]) == 0.0
    assert shared_opening([closed], [expression_of(jawOpen=LEAST_OPENING / 2)]) == 0.0
    assert shared_opening([], []) == 0.0


def test_faces_stay_where_they_were_with_a_jaw_that_is_closed(model, jaw, person):
    longer = jaw.longer_chin(person, OPENING)
    surface = np.flatnonzero(model.mediapipe_valid.numpy()[:SURFACE_LANDMARK_COUNT])
    for expression in (CLOSED, SMILE):
        found = jaw.closed(expression, person, longer, OPENING)
        assert found[JAW] <= expression[JAW] - OPENING + 1e-6
        assert found.min() >= 0.0 and found.max() <= 1.0
        before, after = places(model, person, expression), places(model, longer, found)
        moved = np.linalg.norm(after - before, axis=-1)
        unchanged = np.linalg.norm(places(model, person, found) - before, axis=-1)
        assert np.sqrt((moved[surface] ** 2).mean()) < 0.0015
        assert moved[CHIN] < 0.4 * unchanged[CHIN]
        assert moved[LOWER_LIP] < 0.004


def test_gaze_is_left_alone(jaw, person):
    expression = CLOSED + expression_of(eyeLookInLeft=0.4, eyeLookOutRight=0.4)
    found = jaw.closed(expression, person, jaw.longer_chin(person, OPENING), OPENING)
    for name in ("eyeLookInLeft", "eyeLookOutRight", "eyeLookUpLeft"):
        assert found[expression_index(name)] == pytest.approx(expression[expression_index(name)])

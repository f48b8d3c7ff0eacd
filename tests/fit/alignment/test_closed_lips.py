import numpy as np
import pytest
import torch

from fitme.fit.alignment.closed_lips import GAP_SIGMA_M, ClosedLips, closed_lips_information
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.landmark_groups import LIP_RIMS, MOUTH_CORNERS


def gaps(model, identity):
    landmarks = model.landmarks(model.neutral(torch.from_numpy(identity)[None].float()))[0].double().numpy()
    return np.array([landmarks[upper] - landmarks[lower] for upper, lower in LIP_RIMS])


def test_the_cost_is_the_change_of_the_gaps_and_its_minimum_closes_the_lips(model):
    information = closed_lips_information(model)
    identity = np.random.default_rng(0).normal(size=model.identity_count)
    mean = gaps(model, np.zeros(model.identity_count))
    change = gaps(model, identity) - mean
    cost = information.cost(np.append(identity, 0.0))
    assert cost == pytest.approx((change**2).sum() / GAP_SIGMA_M**2, rel=1e-3)
    # Beside the prior of identity, which keeps most of it, the gaps almost vanish.
    precision = information.precision[:-1, :-1] + np.eye(model.identity_count)
    found = np.linalg.solve(precision, identity)
    assert np.abs(gaps(model, found) - mean).max() < 0.3 * np.abs(change).max()
    assert np.linalg.norm(found - identity) < 0.5 * np.linalg.norm(identity)


def expression_of(**coefficients):
    expression = np.zeros(EXPRESSION_COUNT)
    for name, value in coefficients.items():
        expression[expression_index(name)] = value
    return expression


def places(model, identity, expression):
    arguments = (torch.from_numpy(part)[None].float() for part in (identity, expression))
    return model.landmarks(model.vertices(*arguments))[0].double().numpy()


def parted(model, identity, expression):
    """Vertical distances of the rims, metres, less those of the mean head."""
    found, mean = places(model, identity, expression), places(model, 0.0 * identity, 0.0 * expression)
    return np.array([(found - mean)[upper, 1] - (found - mean)[lower, 1] for upper, lower in LIP_RIMS])


SLIT = expression_of(jawOpen=0.03, mouthSmileLeft=0.3, mouthUpperUpRight=0.2, eyeLookInLeft=0.4)


def test_a_slit_closes_where_an_image_shows_closed_lips(model, identity):
    person = identity.double().numpy()
    closed = ClosedLips(model).of(places(model, 0.0 * person, expression_of())[:, :2], SLIT, person)
    assert parted(model, person, SLIT).max() > 0.0008
    assert parted(model, person, closed).max() < 0.0003
    assert closed.min() >= 0.0
    assert closed.max() <= 1.0
    assert closed[expression_index("eyeLookInLeft")] == pytest.approx(0.4)
    # The corners of the mouth stay where the smile has them.
    moved = places(model, person, closed) - places(model, person, SLIT)
    assert np.linalg.norm(moved[list(MOUTH_CORNERS)], axis=-1).max() < 0.001


def test_lips_that_an_image_shows_apart_stay_so(model, identity):
    person = identity.double().numpy()
    shown = places(model, person, expression_of(jawOpen=0.15))[:, :2]
    assert ClosedLips(model).of(shown, SLIT, person) is SLIT

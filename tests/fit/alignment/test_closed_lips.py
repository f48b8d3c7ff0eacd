import numpy as np
import pytest
import torch

from fitme.fit.alignment.closed_lips import GAP_SIGMA_M, RIMS, closed_lips_information


def gaps(model, identity):
    landmarks = model.landmarks(model.neutral(torch.from_numpy(identity)[None].float()))[0].double().numpy()
    return np.array([landmarks[upper] - landmarks[lower] for upper, lower in RIMS])


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

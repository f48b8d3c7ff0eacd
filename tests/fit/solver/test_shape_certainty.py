"""Certainty of a head's form: posterior standard deviations of its vertices."""

import numpy as np
import pytest
import torch

from fitme.fit.solver.joint_estimate import SolverSettings
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.shape_certainty import vertex_sigma
from fitme.shape.morphable_model import MorphableModel

SETTINGS = SolverSettings(identity_weight=1.0)


def nothing(count: int) -> MarginalInformation:
    return MarginalInformation(np.zeros((count + 1, count + 1)), np.zeros(count + 1))


def test_without_images_it_is_the_spread_of_people(model: MorphableModel) -> None:
    sigma = vertex_sigma(model, nothing(model.identity_count), SETTINGS)
    people = torch.randn(2000, model.identity_count, generator=torch.Generator().manual_seed(0))
    spread = (model.neutral(people) - model.mean).square().mean((0, 2)).sqrt().numpy()
    nose = model.mediapipe_triangles[1]
    vertices = model.triangles[nose].long().numpy()
    np.testing.assert_allclose(sigma[vertices], spread[vertices], rtol=0.1)


def test_what_images_tell_makes_it_smaller_by_bayes_rule(model: MorphableModel) -> None:
    count = model.identity_count
    before = vertex_sigma(model, nothing(count), SETTINGS)
    # Three times the prior's precision of all coefficients: half the standard deviation.
    known = MarginalInformation(np.diag(np.append(np.full(count, 3.0), 0.0)), np.zeros(count + 1))
    np.testing.assert_allclose(vertex_sigma(model, known, SETTINGS), 0.5 * before, rtol=1e-4)
    # An error that landmarks of all images share is not told from the coefficient that it goes with.
    precision = np.zeros((count + 2, count + 2))
    precision[np.ix_([0, count], [0, count])] = 1e6
    shared = vertex_sigma(model, MarginalInformation(precision, np.zeros(count + 2)), SETTINGS)
    alone = vertex_sigma(
        model, MarginalInformation(np.diag(np.append(1e6, np.zeros(count))), np.zeros(count + 1)), SETTINGS
    )
    first = model.identity_basis[0].square().mean(1).numpy()
    np.testing.assert_allclose(before**2 - alone**2, first, rtol=1e-2, atol=1e-12)
    np.testing.assert_allclose(before**2 - shared**2, 0.5 * first, rtol=1e-2, atol=1e-12)


def test_a_weaker_prior_is_less_certain(model: MorphableModel) -> None:
    weak = vertex_sigma(model, nothing(model.identity_count), SolverSettings(identity_weight=0.25))
    assert weak == pytest.approx(2.0 * vertex_sigma(model, nothing(model.identity_count), SETTINGS), rel=1e-4)

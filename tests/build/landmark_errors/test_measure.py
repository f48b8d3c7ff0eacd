"""Factors behind errors: exact posteriors, likelihood that rises, recovery of what was put in."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from fitme.build.landmark_errors.factor_analysis import (
    ErrorViews,
    Factors,
    find_factors,
    infer_hidden,
    maximise,
    start_factors,
)
from fitme.build.landmark_errors.measure import concatenated, mirrored, relative_errors, spread_landmarks
from fitme.build.landmark_errors.synthetic_views import LandmarkViews
from fitme.geometry import head_rotation
from fitme.shape.model_file import load_default_model

PEOPLE, VIEWS, LANDMARKS, KNOWN, PERSON, FRAME = 60, 4, 30, 3, 2, 2


@pytest.fixture(scope="module")
def made() -> tuple[ErrorViews, Factors]:
    g = np.random.default_rng(0)
    sigma = g.uniform(0.4e-3, 0.8e-3, LANDMARKS)
    true = Factors(*(2e-3 * g.normal(size=(LANDMARKS, 3, n)) for n in (KNOWN, PERSON, FRAME)), sigma)
    person = np.repeat(np.arange(PEOPLE), VIEWS)
    count = len(person)
    rotation = Rotation.from_euler("yx", g.uniform(-0.7, 0.7, (count, 2))).as_matrix()
    known = g.normal(size=(count, KNOWN))
    z, c = g.normal(size=(PEOPLE, PERSON))[person], g.normal(size=(count, FRAME))
    displacement = known @ true.known.transpose(0, 2, 1) + z @ true.person.transpose(0, 2, 1)
    displacement = (displacement + c @ true.frame.transpose(0, 2, 1)).transpose(1, 0, 2)  # (N, L, 3)
    errors = displacement @ rotation[:, :2].transpose(0, 2, 1)
    errors += sigma[:, None] * g.normal(size=(count, LANDMARKS, 2))
    return ErrorViews(errors, rotation, known, person), true


def test_hidden_factors_are_those_of_the_dense_posterior(made: tuple[ErrorViews, Factors]) -> None:
    views, true = made
    hidden = infer_hidden(views, true)
    rows = np.arange(VIEWS)
    size = 2 * LANDMARKS
    covariance = np.zeros((VIEWS * size,) * 2)
    cross = np.zeros((PERSON + FRAME, VIEWS * size))  # of the first view's factors with all errors
    residual = []
    for k in rows:
        plane = views.rotation[k, :2]
        person, frame = (np.einsum("ax,lxj->laj", plane, f).reshape(size, -1) for f in (true.person, true.frame))
        for other in rows:
            there = np.einsum("ax,lxj->laj", views.rotation[other, :2], true.person).reshape(size, -1)
            covariance[k * size : (k + 1) * size, other * size : (other + 1) * size] += person @ there.T
        own = slice(k * size, (k + 1) * size)
        covariance[own, own] += frame @ frame.T + np.diag(np.repeat(true.sigma**2, 2))
        cross[:PERSON, own] = person.T
        if k == 0:
            cross[PERSON:, own] = frame.T
        mean = np.einsum("ax,lxf,f->la", plane, true.known, views.known[k])
        residual.append((views.errors[k] - mean).ravel())
    expected = cross @ np.linalg.solve(covariance, np.concatenate(residual))
    np.testing.assert_allclose(hidden.mean[0], expected, rtol=1e-6, atol=1e-9)
    spread = np.eye(PERSON + FRAME) - cross @ np.linalg.solve(covariance, cross.T)
    np.testing.assert_allclose(hidden.covariance[0], spread, rtol=1e-5, atol=1e-9)


def test_the_likelihood_rises(made: tuple[ErrorViews, Factors]) -> None:
    views, _ = made
    ridge = np.full(KNOWN, 1e-6)
    factors = start_factors(views, ridge, PERSON, FRAME, 0)
    likelihoods = []
    for _ in range(8):
        hidden = infer_hidden(views, factors)
        likelihoods.append(hidden.log_likelihood)
        factors = maximise(views, hidden, PERSON, ridge)
    assert np.diff(likelihoods).min() > -0.05


def test_factors_are_found_again(made: tuple[ErrorViews, Factors]) -> None:
    views, true = made
    found = find_factors(views, np.full(KNOWN, 1e-6), PERSON, FRAME, 80, 0)
    assert np.linalg.norm(found.known - true.known) < 0.3 * np.linalg.norm(true.known)
    # Hidden factors are known up to a rotation; what counts is that the errors are as likely as by the true ones.
    assert infer_hidden(views, found).log_likelihood > infer_hidden(views, true).log_likelihood - 1.0
    moment = np.cov(infer_hidden(views, found).mean[:, PERSON:].T)
    np.testing.assert_allclose(moment, np.eye(FRAME), atol=0.15)
    np.testing.assert_allclose(found.sigma, true.sigma, rtol=0.25)


def test_landmarks_where_they_belong_have_no_error_and_mirror_images_have_mirrored_ones() -> None:
    model = load_default_model()
    g = np.random.default_rng(1)
    identity = g.standard_normal((2, model.identity_count)).astype(np.float32)
    views = LandmarkViews(
        identity,
        np.array([0, 1]),
        np.zeros((2, 52), np.float32),
        np.stack([head_rotation(0.35, 0.09, 0.05), head_rotation(-0.52)]),
        np.array([[0.0, 0.0, -0.6], [0.02, 0.01, -0.7]]),
        np.array([700.0, 800.0]),
        np.zeros((2, 478, 2), np.float32),
    )
    places = model.landmarks(model.mean[None])[0, :468].double().numpy()
    # Errors of landmarks at the origin equal their negative true positions, also in a mirrored image.
    errors = relative_errors_of_exact(model, views, places)
    assert np.abs(errors).max() < 1e-6
    image, flipped = mirrored(model, views, errors, places)
    assert np.abs(relative_errors_of_exact(model, image, places)).max() < 1e-6
    np.testing.assert_allclose(flipped, 0.0, atol=1e-6)
    assert concatenated(views, image).person.tolist() == [0, 1, 2, 3]


def relative_errors_of_exact(model, views, places):  # type: ignore[no-untyped-def]
    """Errors where MediaPipe sees every landmark where it is."""
    from dataclasses import replace

    import torch

    pixels = np.zeros((views.count, 478, 2), np.float32)
    for k in range(views.count):
        vertices = model.neutral(torch.from_numpy(views.identity[views.person[k]])[None])
        points = model.landmarks(vertices)[0].double() @ torch.from_numpy(views.rotation[k]).T
        pixels[k] = views.camera(k).project(points + torch.from_numpy(views.translation[k])).numpy()
    return relative_errors(model, replace(views, pixels=pixels), places)


def test_chosen_landmarks_are_far_apart() -> None:
    model = load_default_model()
    places = model.landmarks(model.mean[None])[0, :468].double().numpy()
    chosen = spread_landmarks(places, 50)
    assert len(np.unique(chosen)) == 50
    apart = np.linalg.norm(places[chosen][:, None] - places[chosen][None], axis=2) + np.eye(50)
    assert apart.min() > 5e-3

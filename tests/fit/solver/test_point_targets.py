"""Correlated errors in the joint solve, against the dense covariance that they stand for."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from fitme.fit.solver.gauss_newton import marginal_information_of, solve_jointly
from fitme.fit.solver.joint_estimate import (
    GAZE,
    POSE_COUNT,
    FreeParameters,
    JointEstimate,
    SolverSettings,
    stepped,
    zero_padded,
)
from fitme.fit.solver.linearization import reprojection_errors
from fitme.fit.solver.point_targets import MeshBasis, OffsetTargets, PointErrors, PointTargets
from fitme.geometry import Camera, rotation_matrix
from fitme.shape.morphable_model import MorphableModel

CAMERA = Camera.centered(352.0, 320, 240)
FRAMES, POINTS, SHARED, OWN = 3, 60, 3, 4
SETTINGS = SolverSettings(iterations=40, robust_scale=1e6, damping=1e-9, expression_sigma=0.05)


@pytest.fixture(scope="module")
def truth(model: MorphableModel) -> JointEstimate:
    random = np.random.default_rng(3)
    identity = np.zeros(model.identity_count)
    identity[:6] = random.normal(size=6)
    rotations = np.stack([rotation_matrix(np.array([0.05, yaw, 0.02])) for yaw in (-0.4, 0.0, 0.5)])
    translations = np.array([[0.01, 0.0, -0.5], [0.0, 0.02, -0.55], [-0.02, 0.0, -0.5]])
    return JointEstimate(1.1, identity, rotations, translations, np.full((FRAMES, 52), 0.5))


@pytest.fixture(scope="module")
def targets(model: MorphableModel, truth: JointEstimate) -> list[PointTargets]:
    random = np.random.default_rng(4)
    skin = np.flatnonzero(model.face_triangles.numpy())
    corners = random.dirichlet(np.ones(3), POINTS).astype(np.float32)
    points = MeshBasis(model).points(random.choice(skin, POINTS), corners)
    identity = 0.1 * random.normal(size=(POINTS, 2, model.identity_count))
    person = random.normal(size=SHARED)
    made = []
    for k in range(FRAMES):
        shared, own = random.normal(size=(POINTS, 2, SHARED)), random.normal(size=(POINTS, 2, OWN))
        errors = PointErrors(identity, shared, own, random.uniform(0.3, 0.6, POINTS))
        exact = PointTargets(points, np.zeros((POINTS, 2)), np.ones(POINTS), CAMERA, errors)
        noise = shared @ person + own @ random.normal(size=OWN)
        noise += errors.sigma_px[:, None] * random.normal(size=(POINTS, 2))
        pixels = reprojection_errors(exact, truth, k) + noise
        made.append(PointTargets(points, pixels, np.ones(POINTS), CAMERA, errors))
    return made


def dense_cost(
    targets: list[PointTargets], estimate: JointEstimate, expression_priors: npt.NDArray[np.float64]
) -> float:
    """The same posterior with all errors marginalised into one covariance."""
    residual = np.concatenate([reprojection_errors(t, estimate, k).ravel() for k, t in enumerate(targets)])
    covariance = np.zeros((len(residual),) * 2)
    loads = np.concatenate([t.known_errors.shared.reshape(-1, SHARED) for t in targets])
    covariance += loads @ loads.T
    for k, target in enumerate(targets):
        rows = slice(2 * POINTS * k, 2 * POINTS * (k + 1))
        own = target.known_errors.own.reshape(-1, OWN)
        covariance[rows, rows] += own @ own.T + np.diag(np.repeat(target.known_errors.sigma_px**2, 2))
    prior = (estimate.identity**2).sum() + (
        np.log(estimate.focal / SETTINGS.focal_prior) / SETTINGS.focal_log_sigma
    ) ** 2
    prior += (((estimate.expressions - expression_priors) / SETTINGS.expression_sigma) ** 2).sum()
    return float(residual @ np.linalg.solve(covariance, residual) + prior)


def test_the_solve_ends_where_the_dense_posterior_is_flat(
    targets: list[PointTargets], truth: JointEstimate, model: MorphableModel
) -> None:
    priors = np.full((FRAMES, 52), 0.5)
    found = solve_jointly(targets, truth, SETTINGS, FreeParameters(), priors)
    assert found.identity.shape == truth.identity.shape
    assert found.expressions.shape == truth.expressions.shape
    random = np.random.default_rng(5)
    best = dense_cost(targets, found, priors)
    for _ in range(12):
        frame_steps = random.normal(size=(FRAMES, POSE_COUNT + 52)) * np.append(
            np.full(POSE_COUNT, 1e-4), np.ones(52) * 1e-3
        )
        frame_steps[:, POSE_COUNT:][:, GAZE] = 0.0
        shared_step = np.append(1e-2 * random.normal(size=model.identity_count), 1e-4)
        ahead = dense_cost(targets, stepped(found, frame_steps, shared_step), priors) - best
        behind = dense_cost(targets, stepped(found, -frame_steps, -shared_step), priors) - best
        assert ahead > 0.0
        assert behind > 0.0
        assert abs(ahead - behind) < 0.05 * (ahead + behind)


def test_marginal_information_of_frames_stands_in_for_the_frames(
    targets: list[PointTargets], truth: JointEstimate
) -> None:
    priors = np.zeros((FRAMES, 52))
    settings = SolverSettings(iterations=40, robust_scale=1e6, damping=1e-9)
    whole = solve_jointly(targets, truth, settings, FreeParameters(), priors)
    rest = sum(
        (marginal_information_of(targets[k], whole, k, settings) for k in (1, 2)),
        marginal_information_of(targets[0], whole, 0, settings),
    )
    assert len(rest.potential) == len(truth.identity) + SHARED + 1
    # The mean under all frames' information and the prior is the solution of their joint solve.
    precision = rest.precision.copy()
    precision[np.diag_indices_from(precision)] += np.append(
        np.full(len(rest.potential) - 1, settings.identity_weight), settings.focal_log_sigma**-2
    )
    potential = rest.potential.copy()
    potential[-1] += settings.focal_log_sigma**-2 * np.log(settings.focal_prior)
    best = np.linalg.solve(precision, potential)
    np.testing.assert_allclose(best[: len(truth.identity)], whole.identity, atol=0.3)


def test_targets_without_correlated_errors_concatenate_with_others(
    targets: list[PointTargets], truth: JointEstimate
) -> None:
    plain = PointTargets(targets[0].points, targets[0].pixels, np.full(POINTS, 0.5), CAMERA)
    both = targets[0].concatenated(plain)
    assert both.known_errors.own.shape == (2 * POINTS, 2, OWN)
    assert not both.known_errors.own[POINTS:].any()
    np.testing.assert_array_equal(both.known_errors.sigma_px[POINTS:], plain.sigma_px)
    assert plain.concatenated(plain).errors is None
    alone = reprojection_errors(plain, truth, 0)
    np.testing.assert_allclose(reprojection_errors(both, truth, 0)[POINTS:], alone)


def test_fixed_identity_leaves_errors_as_they_are(targets: list[PointTargets], truth: JointEstimate) -> None:
    pairs = np.array([[0, 5], [7, 2]])
    offsets = OffsetTargets(pairs, np.random.default_rng(6).normal(size=(2, 2)), np.ones(2))
    for index, target in enumerate(targets):
        wide = zero_padded(truth, len(truth.identity) + SHARED, len(GAZE) + OWN)
        narrow = replace(wide, identity=wide.identity[len(truth.identity) :])
        paired = replace(target, offsets=offsets)
        expected = reprojection_errors(paired, wide, index)
        np.testing.assert_allclose(
            reprojection_errors(paired.at_identity(truth.identity), narrow, index), expected, atol=1e-9
        )

"""The joint solver: exact Jacobians, exact recovery, priors without observations."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import lsq_linear

from fitme.fit.solver.expression_bounds import step_bounds
from fitme.fit.solver.gauss_newton import solve_jointly
from fitme.fit.solver.joint_estimate import (
    GAZE,
    POSE_COUNT,
    FreeParameters,
    JointEstimate,
    SolverSettings,
    stepped,
)
from fitme.fit.solver.linearization import linearize, reprojection_errors
from fitme.fit.solver.point_targets import KnownExpression, MeshBasis, OffsetTargets, PointTargets
from fitme.geometry import Camera, rotation_matrix
from fitme.shape.expressions import expression_index
from fitme.shape.morphable_model import MorphableModel

CAMERA = Camera.centered(352.0, 320, 240)
FOCAL = 1.1


@pytest.fixture(scope="module")
def basis(model: MorphableModel) -> MeshBasis:
    return MeshBasis(model)


def observed(basis: MeshBasis, model: MorphableModel, count: int = 300) -> PointTargets:
    random = np.random.default_rng(5)
    skin = np.flatnonzero(model.face_triangles.numpy())
    points = basis.points(random.choice(skin, count), random.dirichlet(np.ones(3), count).astype(np.float32))
    return PointTargets(points, np.zeros((count, 2)), np.ones(count), CAMERA)


def truth(model: MorphableModel) -> JointEstimate:
    random = np.random.default_rng(6)
    identity = np.zeros(model.identity_count)
    identity[:8] = random.normal(size=8)
    expressions = np.zeros((3, 52))
    expressions[1, expression_index("jawOpen")] = 0.6
    expressions[2, expression_index("mouthSmileLeft")] = 0.5
    yaws = [-0.4, 0.0, 0.5]
    rotations = np.stack([rotation_matrix(np.array([0.05, yaw, 0.02])) for yaw in yaws])
    translations = np.array([[0.01, 0.0, -0.5], [0.0, 0.02, -0.55], [-0.02, 0.0, -0.5]])
    return JointEstimate(FOCAL, identity, rotations, translations, expressions)


def perturbed(estimate: JointEstimate) -> JointEstimate:
    rotations = np.stack([rotation_matrix(np.array([0.1, -0.1, 0.1])) @ rotation for rotation in estimate.rotations])
    return JointEstimate(
        FOCAL, estimate.identity * 0.0, rotations, estimate.translations + 0.03, estimate.expressions * 0.0
    )


def projected(target: PointTargets, estimate: JointEstimate) -> list[PointTargets]:
    return [
        PointTargets(target.points, reprojection_errors(target, estimate, k), target.sigma_px * 0.01, target.camera)
        for k in range(len(estimate.rotations))
    ]


def test_recovers_exact_observations(basis: MeshBasis, model: MorphableModel) -> None:
    expected = truth(model)
    targets = projected(observed(basis, model), expected)
    settings = SolverSettings(iterations=30, identity_weight=1e-4, expression_sigma=10.0, robust_scale=1e6)
    found = solve_jointly(targets, perturbed(expected), settings, FreeParameters(focal=False))
    for k, target in enumerate(targets):
        assert np.abs(reprojection_errors(target, found, k)).max() < 0.05
        # The angle by the chord between the rotations: by the trace, rounding can leave the arc cosine's domain.
        chord = np.linalg.norm(found.rotations[k] - expected.rotations[k])
        assert np.degrees(2.0 * np.arcsin(chord / np.sqrt(8.0))) < 0.5
    np.testing.assert_allclose(found.identity[:3], expected.identity[:3], atol=0.3)
    assert found.expressions[1, expression_index("jawOpen")] == pytest.approx(0.6, abs=0.15)


def test_jacobian_matches_finite_differences(basis: MeshBasis, model: MorphableModel) -> None:
    estimate = truth(model)
    offsets = OffsetTargets(np.array([[0, 3], [5, 1]]), np.array([[2.0, -1.0], [0.5, 4.0]]), np.ones(2))
    target = replace(observed(basis, model, count=12), offsets=offsets)
    linear = linearize(target, estimate, 1, SolverSettings(), np.arange(model.identity_count + 1))
    frame, shared, residual = linear.frame, linear.shared, linear.residual
    step = 1e-6
    for column in range(frame.shape[1]):
        rotations, translations, expressions = (
            estimate.rotations.copy(), estimate.translations.copy(), estimate.expressions.copy(),
        )  # fmt: skip
        if column < 3:
            rotations[1] = rotation_matrix(np.eye(3)[column] * step) @ rotations[1]
        elif column < POSE_COUNT:
            translations[1, column - 3] += step
        else:
            expressions[1, column - POSE_COUNT] += step
        moved = JointEstimate(estimate.focal, estimate.identity, rotations, translations, expressions)
        numeric = (reprojection_errors(target, moved, 1).ravel() - residual) / step
        np.testing.assert_allclose(frame[:, column], numeric, atol=2e-3, rtol=1e-4)
    for column in (0, 7, shared.shape[1] - 1):
        identity, focal = estimate.identity.copy(), estimate.focal
        if column == shared.shape[1] - 1:
            focal *= np.exp(step)
        else:
            identity[column] += step
        moved = JointEstimate(focal, identity, estimate.rotations, estimate.translations, estimate.expressions)
        numeric = (reprojection_errors(target, moved, 1).ravel() - residual) / step
        np.testing.assert_allclose(shared[:, column], numeric, atol=2e-3, rtol=1e-4)


def test_a_joint_step_is_that_of_the_dense_system(basis: MeshBasis, model: MorphableModel) -> None:
    """One undamped iteration against bounded least squares over all unknowns at once."""
    expected = truth(model)
    targets = projected(observed(basis, model), expected)
    known, mean = np.zeros((2, len(GAZE)))
    known[expression_index("jawOpen")], mean[expression_index("jawOpen")] = 900.0, 0.3
    targets[0] = replace(targets[0], known_expression=KnownExpression(known, mean))
    start = perturbed(expected)
    settings = SolverSettings(iterations=1, damping=0.0)
    shared = np.arange(model.identity_count + 1)
    size = POSE_COUNT + len(GAZE)
    total = size * len(targets) + len(shared)
    rows, residuals, bounds = [], [], []
    for k, target in enumerate(targets):
        linear = linearize(target, start, k, settings, shared)
        root = np.sqrt(linear.weights)
        jacobian = np.zeros((len(root), total))
        jacobian[:, k * size : (k + 1) * size] = linear.frame * root[:, None]
        jacobian[:, -len(shared) :] = linear.shared * root[:, None]
        prior = np.zeros((len(GAZE), total))
        prior_root = np.sqrt(settings.expression_sigma**-2.0 + (known if k == 0 else 0.0 * known))
        prior[:, k * size + POSE_COUNT : (k + 1) * size] = np.diag(prior_root)
        rows += [jacobian, prior]
        expected_mean = known * mean / prior_root**2 if k == 0 else 0.0 * mean
        residuals += [linear.residual * root, (start.expressions[k] - expected_mean) * prior_root]
        bounds.append(step_bounds(start.expressions[k], expression_free=True))
    rows.append(
        np.eye(total)[-len(shared) :]
        * np.append(np.ones(model.identity_count), 1.0 / settings.focal_log_sigma)[:, None]
    )
    residuals.append(np.append(start.identity, np.log(start.focal / settings.focal_prior) / settings.focal_log_sigma))
    bounds.append(np.full((2, len(shared)), [[-np.inf], [np.inf]]))
    lower, upper = np.concatenate(bounds, 1)
    best = lsq_linear(np.concatenate(rows), -np.concatenate(residuals), (lower - 1e-9, upper + 1e-9)).x
    found = solve_jointly(targets, start, settings)
    wanted = stepped(start, best[: -len(shared)].reshape(len(targets), size), best[-len(shared) :])
    np.testing.assert_allclose(found.expressions, wanted.expressions, atol=1e-5)
    np.testing.assert_allclose(found.identity, wanted.identity, atol=1e-4)
    np.testing.assert_allclose(found.translations, wanted.translations, atol=1e-6)
    assert found.focal == pytest.approx(wanted.focal, rel=1e-5)


def test_what_is_not_free_stays(basis: MeshBasis, model: MorphableModel) -> None:
    expected = truth(model)
    start = perturbed(expected)
    start.expressions[:, GAZE] = 0.25
    only_pose = FreeParameters(identity=False, focal=False, expression=False)
    found = solve_jointly(projected(observed(basis, model), expected), start, SolverSettings(), only_pose)
    assert np.array_equal(found.identity, start.identity)
    assert found.focal == start.focal
    assert np.array_equal(found.expressions, start.expressions)
    assert not np.allclose(found.rotations, start.rotations)


def test_expressions_stay_within_bounds_and_gaze_alone(basis: MeshBasis, model: MorphableModel) -> None:
    expected = truth(model)
    expected.expressions[1, expression_index("jawOpen")] = 1.6
    start = perturbed(expected)
    start.expressions[:, GAZE] = 0.25
    found = solve_jointly(projected(observed(basis, model), expected), start, SolverSettings(iterations=15))
    assert found.expressions.min() >= 0.0
    assert found.expressions.max() <= 1.0
    assert (found.expressions[:, GAZE] == 0.25).all()


def test_strong_prior_keeps_the_mean_face(basis: MeshBasis, model: MorphableModel) -> None:
    expected = truth(model)
    targets = projected(observed(basis, model), expected)
    weak = solve_jointly(targets, perturbed(expected), SolverSettings(identity_weight=1e-2))
    strong = solve_jointly(targets, perturbed(expected), SolverSettings(identity_weight=1e9))
    assert np.linalg.norm(strong.identity) < 1e-2 < np.linalg.norm(weak.identity)


def test_outliers_do_not_move_the_solution(basis: MeshBasis, model: MorphableModel) -> None:
    expected = truth(model)
    clean = projected(observed(basis, model), expected)
    spoilt = []
    for target in clean:
        pixels = target.pixels.copy()
        pixels[::10] += 40.0
        spoilt.append(PointTargets(target.points, pixels, np.full(len(pixels), 0.5), target.camera))
    found = solve_jointly(spoilt, expected, SolverSettings(iterations=10))
    for k, target in enumerate(clean):
        assert np.median(np.abs(reprojection_errors(target, found, k))) < 0.2

"""Shape from tracks: exact steps, displacements that leave the shape unbiased, information that serves later."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from fitme.bounded_newton import bounded_step
from fitme.fit.alignment.head_scale import volume_information
from fitme.fit.alignment.surface_tracks import SurfacePoints
from fitme.fit.solver.expression_bounds import step_bounds
from fitme.fit.solver.gauss_newton import solve_jointly
from fitme.fit.solver.joint_estimate import (
    POSE_COUNT,
    JointEstimate,
    SolverSettings,
    expression_prior,
    stepped,
)
from fitme.fit.solver.linearization import reprojection_errors
from fitme.fit.solver.marginal_information import MarginalInformation
from fitme.fit.solver.point_targets import MeshBasis, PointErrors, PointTargets
from fitme.fit.solver.structure_from_motion import TrackProblem, Tracks, TrackView
from fitme.geometry import Camera, rotation_matrix
from fitme.shape.morphable_model import MorphableModel

Array = npt.NDArray[np.float64]

CAMERA = Camera.centered(704.0, 640, 480)
FOCAL = 1.1
YAWS = (-0.6, -0.3, 0.0, 0.35, 0.65)
SIGMA_M = 0.003


@pytest.fixture(scope="module")
def basis(model: MorphableModel) -> MeshBasis:
    return MeshBasis(model)


@pytest.fixture(scope="module")
def tracks(model: MorphableModel, basis: MeshBasis) -> Tracks:
    return SurfacePoints(model, basis, 250).tracks(model.mean)


def person(model: MorphableModel, seed: int, yaws: tuple[float, ...] = YAWS) -> JointEstimate:
    g = np.random.default_rng(seed)
    identity = np.zeros(model.identity_count)
    identity[:25] = g.normal(size=25)
    rotations = np.stack([rotation_matrix(np.array([0.05, yaw, 0.02])) for yaw in yaws])
    translations = np.array([0.0, 0.0, -0.55]) + g.normal(0.0, 0.01, (len(yaws), 3))
    return JointEstimate(FOCAL, identity, rotations, translations, np.full((len(yaws), 52), 0.1))


def projected(
    points: Tracks, estimate: JointEstimate, displacements: Array, noise_px: float, seed: int
) -> list[TrackView]:
    """Every keyframe shows a random half of the points, displaced and noisy."""
    g = np.random.default_rng(seed)
    moved = replace(points.points, mean=points.points.mean + (points.tangents @ displacements[..., None])[..., 0])
    target = PointTargets(moved, np.zeros((len(displacements), 2)), np.ones(len(displacements)), CAMERA)
    views = []
    for k in range(len(estimate.rotations)):
        index = np.sort(g.choice(len(displacements), len(displacements) // 2, replace=False))
        pixels = reprojection_errors(target, estimate, k)[index] + g.normal(0.0, noise_px, (len(index), 2))
        views.append(TrackView(index, pixels, np.tile(np.eye(2) / max(noise_px, 0.1), (len(index), 1, 1))))
    return views


def landmarks(
    model: MorphableModel, basis: MeshBasis, estimate: JointEstimate, offset_m: float, seed: int
) -> list[PointTargets]:
    """60 points whose places are all found wrong in the same way in all keyframes."""
    g = np.random.default_rng(seed)
    triangles = g.choice(np.flatnonzero(model.face_triangles.numpy()), 60)
    points = basis.points(triangles, g.dirichlet(np.ones(3), 60).astype(np.float32))
    wrong = replace(points, mean=points.mean + g.normal(0.0, offset_m, points.mean.shape))
    none = np.zeros((60, 2))
    shown = PointTargets(wrong, none, np.ones(60), CAMERA)
    return [
        PointTargets(points, reprojection_errors(shown, estimate, k), np.full(60, 6.0), CAMERA)
        for k in range(len(estimate.rotations))
    ]


def shape_error(model: MorphableModel, found: JointEstimate, true: JointEstimate) -> float:
    """Root mean square distance of the face's vertices after the best similarity, metres."""
    basis = model.identity_basis[:, model.face_vertices].double().numpy()
    mean = model.mean[model.face_vertices].double().numpy()
    a, b = (mean + np.tensordot(estimate.identity, basis, 1) for estimate in (found, true))
    a, b = a - a.mean(0), b - b.mean(0)
    u, singular, v = np.linalg.svd(b.T @ a)
    return float(np.sqrt((((singular.sum() / (a**2).sum()) * a @ (u @ v).T - b) ** 2).sum(1).mean()))


@pytest.mark.parametrize("errors", [False, True])
def test_step_is_that_of_the_dense_system(
    model: MorphableModel, basis: MeshBasis, tracks: Tracks, errors: bool
) -> None:
    g = np.random.default_rng(3)
    few = Tracks(replace(tracks.points, **{k: v[:12] for k, v in vars(tracks.points).items()}), tracks.tangents[:12])
    estimate = replace(person(model, 1, (0.0, 0.4)), expressions=np.full((2, 52), 0.3))
    landmark_targets = landmarks(model, basis, estimate, 0.002, 2)
    if errors:
        loads = [g.normal(size=(60, 2, count)) for count in (model.identity_count, 2, 3)]
        landmark_targets = [replace(a, errors=PointErrors(*loads, a.sigma_px)) for a in landmark_targets]
    views = projected(few, estimate, g.normal(0.0, SIGMA_M, (12, 2)), 1.0, 4)
    views = [replace(view, whitening=view.whitening @ np.array([[1.0, 0.3], [0.0, 0.5]])) for view in views]
    settings = SolverSettings(robust_scale=1e8)
    count = model.identity_count + 1
    root = g.normal(size=(4, count))
    prior = MarginalInformation(root.T @ root, g.normal(size=count))
    problem = TrackProblem(few, views, landmark_targets, settings, SIGMA_M, prior)
    shared_count, own_count = (2, 3) if errors else (0, 0)
    start = replace(
        estimate,
        identity=g.normal(0.0, 0.2, model.identity_count + shared_count),
        expressions=np.pad(estimate.expressions, ((0, 0), (0, own_count))),
    )
    displacements = g.normal(0.0, 0.001, (12, 2))
    free = problem.normal_equations(start, displacements).free
    total = sum(map(len, free)) + len(start.identity) + 1 + displacements.size

    def apply(step: Array) -> tuple[JointEstimate, Array]:
        frames = np.zeros((2, POSE_COUNT + start.expressions.shape[1]))
        place = 0
        for k, chosen in enumerate(free):
            frames[k, chosen] = step[place : place + len(chosen)]
            place += len(chosen)
        shared = step[place : place + len(start.identity) + 1]
        return stepped(start, frames, shared), displacements + step[place + len(shared) :].reshape(-1, 2)

    def residual(step: Array) -> Array:
        moved, displaced = apply(step)
        parts = [displaced.ravel() / SIGMA_M, moved.identity * np.sqrt(settings.identity_weight)]
        parts.append(np.array([np.log(moved.focal / settings.focal_prior) / settings.focal_log_sigma]))
        parts.append(
            (moved.expressions * np.sqrt(expression_prior(np.zeros(moved.expressions.shape[1]), settings)[0])).ravel()
        )
        for k, (view, landmark) in enumerate(zip(views, landmark_targets, strict=True)):
            parts.append((reprojection_errors(landmark, moved, k) / landmark.sigma_px[:, None]).ravel())
            place = few.points.mean[view.index] + (few.tangents[view.index] @ displaced[view.index, :, None])[..., 0]
            points = replace(
                few.points,
                mean=place,
                identity=few.points.identity[view.index],
                expression=few.points.expression[view.index],
            )
            target = PointTargets(points, view.pixels, np.ones(len(place)), CAMERA)
            parts.append((view.whitening @ reprojection_errors(target, moved, k)[..., None]).ravel())
        return np.concatenate(parts)

    step = 1e-6
    jacobian = np.stack([(residual(row) - residual(-row)) / (2.0 * step) for row in step * np.eye(total)], 1)
    hessian, gradient = jacobian.T @ jacobian, jacobian.T @ residual(np.zeros(total))
    kept = np.append(np.arange(model.identity_count), len(start.identity))
    place = total - displacements.size - len(start.identity) - 1 + kept
    hessian[np.ix_(place, place)] += prior.precision
    gradient[place] += prior.gradient(np.append(start.identity, np.log(start.focal))[kept])
    hessian[np.diag_indices(total)] *= 1.01
    frame_bounds = [step_bounds(start.expressions[k], expression_free=True)[:, chosen] for k, chosen in enumerate(free)]
    framed = sum(map(len, free))
    bounds = np.concatenate([*frame_bounds, np.full((2, total - framed), [[-np.inf], [np.inf]])], 1)
    expected, expected_displacements = apply(bounded_step(hessian, gradient, *bounds))
    found, found_displacements = problem.step(start, displacements, 0.01)
    np.testing.assert_allclose(found.identity, expected.identity, atol=2e-5)
    np.testing.assert_allclose(found.translations, expected.translations, atol=1e-6)
    np.testing.assert_allclose(found.rotations, expected.rotations, atol=1e-6)
    np.testing.assert_allclose(found.expressions, expected.expressions, atol=2e-5)
    np.testing.assert_allclose(found_displacements, expected_displacements, atol=1e-6)
    assert found.focal == pytest.approx(expected.focal, rel=1e-6)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_finds_shape_that_landmarks_get_wrong(
    model: MorphableModel, basis: MeshBasis, tracks: Tracks, seed: int
) -> None:
    true = person(model, seed)
    landmark_targets = landmarks(model, basis, true, 0.004, seed)
    displacements = np.random.default_rng(seed).normal(0.0, 0.002, (len(tracks.tangents), 2))
    views = projected(tracks, true, displacements, 0.4, seed)
    start = replace(true, identity=0.0 * true.identity, expressions=0.0 * true.expressions)
    by_landmarks = solve_jointly(landmark_targets, start, SolverSettings())
    information = TrackProblem(tracks, views, landmark_targets, SolverSettings(), SIGMA_M).information(by_landmarks)
    volume = volume_information(model, by_landmarks.identity.astype(np.float32), information)
    found = TrackProblem(tracks, views, landmark_targets, SolverSettings(), SIGMA_M, volume).solve(by_landmarks)
    assert shape_error(model, found.estimate, true) < 0.6 * shape_error(model, by_landmarks, true)
    # Displacements are found, too, but for the part that a slightly different head explains.
    assert np.corrcoef(found.tangential_displacements.ravel(), displacements.ravel())[0, 1] > 0.8
    # The tracks' marginal information improves a later solve without them.
    later = solve_jointly(landmark_targets, start, SolverSettings(), prior=found.information + volume)
    assert shape_error(model, later, true) < 0.7 * shape_error(model, by_landmarks, true)

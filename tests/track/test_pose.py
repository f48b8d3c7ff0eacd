import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from fitme.geometry import Camera, HeadPose
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES
from fitme.track.blink import close_eyes
from fitme.track.pose import PoseSolver, _State, _Targets
from fitme.track.pose_rows import fill_rows
from fitme.track.projection import MINIMAL_DEPTH_M, project

CAMERA = Camera.centered(700.0, 640, 480)


@pytest.fixture(scope="module")
def solver(model):
    return PoseSolver(model)


def head_pose(yaw_deg, pitch_deg, roll_deg, x=0.02, y=-0.03, z=-0.6):
    # Yaw about +Y turns +Z to +X; pitching up turns +Z to +Y, a negative rotation about +X.
    rotation = Rotation.from_euler("zyx", [roll_deg, yaw_deg, -pitch_deg], degrees=True).as_rotvec()
    return HeadPose(rotation.astype(np.float32), np.array([x, y, z], np.float32))


def activated(**coefficients):
    expression = np.zeros(EXPRESSION_COUNT, np.float32)
    for name, value in coefficients.items():
        expression[EXPRESSION_NAMES.index(name)] = value
    return expression


@pytest.mark.parametrize(("yaw", "pitch", "roll"), [(0, 0, 0), (35, 5, -10), (-40, -15, 20), (10, 20, 40), (0, -25, 0)])
def test_the_pose_of_a_neutral_head_is_recovered(solver, model, posed, yaw, pitch, roll):
    truth = head_pose(yaw, pitch, roll)
    seen = posed(model, truth, CAMERA)
    found = solver.solve(seen.landmarks, seen.depth, CAMERA, iterations=20)
    assert np.degrees(found.pose.yaw_pitch_roll()) == pytest.approx(np.degrees(truth.yaw_pitch_roll()), abs=0.5)
    assert found.pose.translation == pytest.approx(truth.translation, abs=0.004)
    assert found.expression[~np.char.startswith(EXPRESSION_NAMES, "eyeLook")].max() < 0.2
    assert found.error < 1e-3


@pytest.mark.parametrize(
    "coefficients",
    [
        {"jawOpen": 0.7},
        {"mouthSmileLeft": 0.8, "mouthSmileRight": 0.8},
        {"eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
        {"eyeBlinkLeft": 0.9},
        {"browInnerUp": 0.8, "browOuterUpLeft": 0.8, "browOuterUpRight": 0.8},
        {"mouthPucker": 0.8},
    ],
)
def test_expressions_and_poses_are_recovered(solver, model, posed, coefficients):
    seen = posed(model, head_pose(12, -5, 3), CAMERA, activated(**coefficients))
    found = solver.solve(seen.landmarks, seen.depth, CAMERA, iterations=20).expression
    for name, value in coefficients.items():
        assert found[EXPRESSION_NAMES.index(name)] == pytest.approx(value, abs=0.3), name
    assert (found >= 0.0).all()
    assert (found <= 1.0).all()


@pytest.mark.parametrize(
    ("left", "right", "opposite"),
    [
        ("eyeLookOutLeft", "eyeLookInRight", "eyeLookInLeft"),
        ("eyeLookInLeft", "eyeLookOutRight", "eyeLookOutLeft"),
        ("eyeLookUpLeft", "eyeLookUpRight", "eyeLookDownLeft"),
        ("eyeLookDownLeft", "eyeLookDownRight", "eyeLookUpLeft"),
    ],
)
def test_gaze_follows_the_irises(solver, model, posed, left, right, opposite):
    net = []
    for expression in (activated(), activated(**{left: 0.7, right: 0.7})):
        seen = posed(model, head_pose(0, 0, 0), CAMERA, expression)
        found = solver.solve(seen.landmarks, seen.depth, CAMERA, iterations=20).expression
        net.append(found[EXPRESSION_NAMES.index(left)] - found[EXPRESSION_NAMES.index(opposite)])
    assert net[1] - net[0] > 0.4


def test_the_given_identity_is_used(solver, model, posed):
    identity = np.zeros(model.identity_count, np.float32)
    identity[:8] = [1.5, -1.5, 1.0, -1.0, 1.0, 1.0, -1.0, 1.0]
    truth = head_pose(15, 5, 0)
    seen = posed(model, truth, CAMERA, identity=identity)
    identity_outlier = solver.solve(seen.landmarks, seen.depth, CAMERA, iterations=20)
    known = PoseSolver(model)
    known.set_identity(identity)
    found = known.solve(seen.landmarks, seen.depth, CAMERA, iterations=20)
    assert found.error < 0.3 * identity_outlier.error
    assert found.pose.translation == pytest.approx(truth.translation, abs=0.004)


def test_a_frame_that_follows_another_needs_few_steps(solver, model, posed):
    first = posed(model, head_pose(0, 0, 0), CAMERA, activated(jawOpen=0.1))
    second = posed(model, head_pose(4, 2, 1), CAMERA, activated(jawOpen=0.3))
    before = solver.solve(first.landmarks, first.depth, CAMERA, iterations=20)
    found = solver.solve(second.landmarks, second.depth, CAMERA, previous=before, iterations=3)
    assert np.degrees(found.pose.yaw_pitch_roll()) == pytest.approx((4, 2, 1), abs=1.0)
    assert found.expression[EXPRESSION_NAMES.index("jawOpen")] == pytest.approx(0.3, abs=0.15)


def test_outliers_among_landmarks_have_little_effect(solver, model, posed):
    truth = head_pose(-10, 5, 0)
    seen = posed(model, truth, CAMERA)
    spoiled = seen.landmarks.copy()
    spoiled[np.random.default_rng(0).permutation(468)[:60]] += 80.0
    found = solver.solve(spoiled, seen.depth, CAMERA, iterations=20)
    assert np.degrees(found.pose.yaw_pitch_roll()) == pytest.approx(np.degrees(truth.yaw_pitch_roll()), abs=3.0)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**16), scale=st.floats(0.25, 4.0))
def test_the_solver_is_finite_for_random_landmarks(solver, seed, scale):
    rng = np.random.default_rng(seed)
    landmarks = (rng.normal(size=(478, 2)) * 100.0 * scale + 240.0).astype(np.float32)
    found = solver.solve(landmarks, rng.normal(size=478).astype(np.float32), CAMERA, iterations=5)
    assert np.isfinite(found.pose.rotation).all()
    assert np.isfinite(found.pose.translation).all()
    assert ((found.expression >= 0.0) & (found.expression <= 1.0)).all()


def test_projection_agrees_with_the_camera():
    view = np.random.default_rng(0).normal(size=(20, 3)) * 0.1 + [0.0, 0.0, -0.7]
    assert project(CAMERA, view) == pytest.approx(CAMERA.project(torch.from_numpy(view)).numpy())


def rows_of(rotated, translation, basis, pairs, scale):
    rows = np.full((len(rotated) + len(pairs), 2, 6 + basis.shape[2]), np.nan, np.float32)
    rotation = Rotation.from_rotvec([0.2, -0.3, 0.1]).as_matrix()
    fill_rows(rotated + translation, rotated, rotation, basis, pairs, scale, CAMERA.focal_px, MINIMAL_DEPTH_M, rows)
    return rows, rotation


def test_jacobians_agree_with_finite_differences():
    generator = np.random.default_rng(1)
    rotated = generator.normal(size=(6, 3)) * 0.1
    translation = np.array([0.02, 0.01, -0.6])
    basis = generator.normal(size=(6, 3, 4)).astype(np.float32) * 0.01
    pairs, scale = np.array([[0, 3], [5, 1]]), generator.uniform(0.5, 2.0, 8)
    rows, rotation = rows_of(rotated, translation, basis, pairs, scale)
    whole = rows / scale[:, None, None]
    analytic = whole[:6]
    assert whole[6:] == pytest.approx(analytic[pairs[:, 0]] - analytic[pairs[:, 1]], rel=1e-4, abs=1e-2)
    step = 1e-6
    for e in range(4):
        shift = step * basis[:, :, e].astype(np.float64) @ rotation.T
        moved = [project(CAMERA, rotated + sign * shift + translation) for sign in (1.0, -1.0)]
        assert analytic[:, :, 6 + e] == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-3, abs=1e-2)
    for k in range(6):
        moved = []
        for sign in (1.0, -1.0):
            increment = np.zeros(6)
            increment[k] = sign * step
            points = Rotation.from_rotvec(increment[:3]).apply(rotated) + translation + increment[3:]
            moved.append(project(CAMERA, points))
        assert analytic[:, :, k] == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-4, abs=1e-3)


def test_the_expression_jacobian_agrees_with_finite_differences(solver, model, posed):
    seen = posed(model, head_pose(10, 5, 0), CAMERA)
    targets = _Targets(seen.landmarks.astype(np.float64), 200.0, CAMERA, None)
    rotation = np.eye(3)
    expression = np.full(EXPRESSION_COUNT, 0.2)
    state = _State(rotation, np.array([0.0, 0.0, -0.6]), expression)
    at = solver._evaluate(targets, state)
    jacobian = solver._rows(CAMERA, at, np.ones(len(at.sigma)))
    step = 1e-3
    for k in (EXPRESSION_NAMES.index(name) for name in ("jawOpen", "eyeBlinkLeft", "mouthSmileRight")):
        shifted = []
        for sign in (1.0, -1.0):
            moved = expression.copy()
            moved[k] += sign * step
            moved_state = _State(rotation, state.translation, moved)
            shifted.append(solver._evaluate(targets, moved_state).residual)
        numeric = (shifted[0] - shifted[1]) / (2 * step)
        assert jacobian[:, :, 6 + k] == pytest.approx(numeric, rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("shut", [("Left",), ("Right",), ("Left", "Right")])
def test_meeting_lids_close_the_eye_and_others_stay_open(model, posed, shut):
    seen = posed(model, head_pose(5, 0, 0), CAMERA, activated(**{f"eyeBlink{side}": 1.0 for side in shut}))
    found = close_eyes(activated(eyeSquintLeft=0.5), seen.landmarks)
    for side in ("Left", "Right"):
        blink = found[EXPRESSION_NAMES.index(f"eyeBlink{side}")]
        assert blink > 0.95 if side in shut else blink == 0.0
    assert found[EXPRESSION_NAMES.index("eyeSquintLeft")] == pytest.approx(0.0 if "Left" in shut else 0.5, abs=0.05)

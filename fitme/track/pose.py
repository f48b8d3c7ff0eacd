"""Head pose and expression of one frame from its landmarks, by Gauss-Newton on the morphable model.

Identity and focal length are fixed, so that a frame has 6 + 52 unknowns. Landmarks are linear in the expression before
the rigid motion, and the Jacobian is analytic. Expressions stay in [0, 1] by an active set. The eyeballs turn, which is
not linear; their angles are solved for separately, from the irises between the corners of the eyes.
"""

from dataclasses import dataclass, replace
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt
import torch

from fitme.arrays import Float32Array, Float64Array
from fitme.bounded_newton import bounded_step, coefficient_bounds
from fitme.geometry import Camera, HeadPose, rotation_matrix
from fitme.levenberg_marquardt import levenberg_marquardt
from fitme.shape import landmark_groups
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.morphable_model import MorphableModel
from fitme.track.gaze import GAZE, EyeModel, solve_gaze
from fitme.track.pose_rows import fill_rows
from fitme.track.projection import MINIMAL_DEPTH_M, project
from fitme.track.settings import PoseSettings

POSE_COUNT: Final = 6
"""Parameters of a pose's increment: three of rotation (left-multiplied, view axes), three of translation."""

CONVERGED_GAIN: Final = 3e-3
"""Relative gain of a step below which the iteration ends."""
LARGEST_START_ERROR: Final = 0.02
"""Median distance of landmarks, as a share of the face's size, up to which the previous frame is the start."""

EYELID_PAIRS: Final = ((159, 145), (158, 153), (160, 144), (386, 374), (385, 380), (387, 373))
"""Upper and lower lid."""
LIP_PAIRS: Final = ((13, 14), (82, 87), (312, 317), (81, 178), (311, 402), (78, 308), (61, 291))
"""Upper and lower rim of the mouth's opening; its two corners."""
BROW_PAIRS: Final = ((105, 159), (66, 158), (70, 33), (334, 386), (296, 385), (300, 263))
"""Brow and the eye below it."""


@dataclass(frozen=True)
class PoseEstimate:
    """Pose and expression of one frame."""

    pose: HeadPose
    expression: Float32Array
    """(52,) in [0, 1]."""
    error: float
    """Median reprojection error of the landmarks as a share of the face's size."""


@dataclass(frozen=True)
class _State:
    rotation: Float64Array
    """(3, 3) model to view."""
    translation: Float64Array
    """(3,) metres."""
    expression: Float64Array
    """(52,)."""


@dataclass(frozen=True)
class _Evaluation:
    """Residuals of a state: P landmarks, then Q offsets between paired landmarks."""

    state: _State
    view: Float64Array
    """(P, 3) metres."""
    rotated: Float64Array
    """(P, 3) points before the translation, metres."""
    residual: Float64Array
    """(P + Q, 2) pixels."""
    sigma: Float64Array
    """(P + Q,) pixels."""
    squared: Float64Array
    """(P + Q,) squared residuals over sigma."""
    cost: float


@dataclass(frozen=True)
class _Targets:
    pixels: Float64Array
    """(478, 2)."""
    size_px: float
    camera: Camera
    previous: Float64Array | None
    """(52,) expression of the previous frame of a video."""


class PoseSolver:
    """Solver of pose and expression of single frames, for one identity at a time."""

    def __init__(self, model: MorphableModel, settings: PoseSettings | None = None) -> None:
        self._settings = settings or PoseSettings()
        mean, identity, expression = model.landmark_model()
        self._mean = mean.double().numpy()  # (478, 3)
        self._identity_basis = identity.double().numpy()  # (K, 478, 3)
        whole = np.ascontiguousarray(expression.double().numpy().transpose(1, 2, 0))  # (478, 3, 52)
        self._basis_whole = whole.reshape(-1, EXPRESSION_COUNT)
        self._eyes = EyeModel.of(model)
        # The irises determine the gaze; all other landmarks determine pose and expression.
        surface = np.arange(landmark_groups.SURFACE_LANDMARK_COUNT)
        self._index = surface[model.mediapipe_valid.numpy()[surface]]
        row = {landmark: k for k, landmark in enumerate(self._index)}
        pairs = [(row[a], row[b]) for a, b in EYELID_PAIRS + LIP_PAIRS + BROW_PAIRS if a in row and b in row]
        self._pairs = np.array(pairs, np.intp)  # (Q, 2)
        self._normals = _landmark_normals(model)[self._index]
        contour = np.isin(self._index, landmark_groups.FACE_OVAL)
        self._factor = np.where(contour, self._settings.contour_factor, 1.0)
        self._factor_averted = np.maximum(self._factor, self._settings.averted_factor)
        basis = whole[self._index]  # (P, 3, 52)
        self._basis_flat = basis.reshape(-1, EXPRESSION_COUNT)
        self._basis_single = basis.astype(np.float32)
        self.set_identity(np.zeros(model.identity_count, np.float32))

    def set_identity(self, identity: Float32Array) -> None:
        """Use the head with these coefficients (K,), standard deviations, from now on; further ones do not count."""
        coefficients = identity[: len(self._identity_basis)].astype(np.float64)
        self._neutral = self._mean + np.tensordot(coefficients, self._identity_basis, 1)  # (478, 3)
        self._points = self._neutral[self._index]
        self._eye_centers = self._eyes.centers(coefficients)

    def solve(
        self,
        landmarks: Float32Array,
        depth: Float32Array,
        camera: Camera,
        *,
        previous: PoseEstimate | None = None,
        iterations: int = 10,
    ) -> PoseEstimate:
        """Fit one frame.

        :param landmarks: (478, 2) px of `camera`'s image.
        :param depth: (478,) relative depth, pixels, smaller is nearer: used for the start only.
        :param previous: estimate of the previous frame of a video: start, and mean of the prior of expressions.
        """
        pixels = landmarks.astype(np.float64)
        outline = pixels[list(landmark_groups.FACE_OVAL)]
        size_px = float(max(np.sqrt(np.prod(np.ptp(outline, axis=0))), 1.0))
        targets = _Targets(
            pixels, size_px, camera, None if previous is None else previous.expression.astype(np.float64)
        )
        found = self._start(targets, depth, previous)
        found = levenberg_marquardt(
            found,
            lambda at, damping: self._evaluate(targets, self._step(targets, at, damping)),
            iterations=iterations,
            damping=self._settings.damping,
            smallest_gain=CONVERGED_GAIN,
        )
        state = self._with_gaze(targets, found.state)
        error = self._error(found)
        rotation = cv2.Rodrigues(state.rotation)[0].ravel()
        pose = HeadPose(rotation.astype(np.float32), state.translation.astype(np.float32))
        return PoseEstimate(pose, state.expression.astype(np.float32), error / size_px)

    def predicted(self, estimate: PoseEstimate, camera: Camera) -> Float32Array:
        """Projected landmarks of the surface (468, 2), pixels, of an estimate; NaN for those that the model lacks."""
        predicted = np.full((landmark_groups.SURFACE_LANDMARK_COUNT, 2), np.nan, np.float32)
        predicted[self._index] = project(camera, self._view(_state_of(estimate))[0])
        return predicted

    def _start(self, targets: _Targets, depth: Float32Array, previous: PoseEstimate | None) -> _Evaluation:
        """Start of the iteration: the previous frame, or a rigid alignment where that fits better."""
        if previous is None:
            return self._evaluate(targets, self._with_gaze(targets, self._aligned_start(targets, depth)))
        before = self._evaluate(targets, _state_of(previous))
        if self._error(before) < LARGEST_START_ERROR * targets.size_px:
            return before
        aligned = self._aligned_start(targets, depth)
        moved = self._evaluate(targets, replace(aligned, expression=before.state.expression))
        return min(before, moved, key=lambda start: start.cost)

    def _error(self, at: _Evaluation) -> float:
        """Median distance of landmarks, pixels."""
        return float(np.median(np.linalg.norm(at.residual[: len(self._index)], axis=1)))

    def _aligned_start(self, targets: _Targets, depth: Float32Array) -> _State:
        """Similarity between the neutral head and the landmarks with their relative depth (Umeyama 1991)."""
        target = np.column_stack([targets.pixels * (1.0, -1.0), -depth.astype(np.float64)])[self._index]
        points, center = self._points - self._points.mean(0), target.mean(0)
        left, singular, right = np.linalg.svd((target - center).T @ points)
        sign = np.diag([1.0, 1.0, float(np.sign(np.linalg.det(left @ right)))])
        rotation = left @ sign @ right
        px_per_m = float((singular * np.diag(sign)).sum() / (points**2).sum())
        origin = center - px_per_m * rotation @ self._points.mean(0)
        camera = targets.camera
        x, y = (origin[0] - camera.center_x_px) / px_per_m, (origin[1] + camera.center_y_px) / px_per_m
        translation = np.array([x, y, -camera.focal_px / px_per_m])
        return _State(rotation, translation, np.zeros(EXPRESSION_COUNT))

    def _view(self, state: _State) -> tuple[Float64Array, Float64Array]:
        """View-space points (P, 3), and the points before the translation (P, 3), metres."""
        rotated = (self._points + (self._basis_flat @ state.expression).reshape(-1, 3)) @ state.rotation.T
        return rotated + state.translation, rotated

    def _sigma(self, targets: _Targets, state: _State, view: Float64Array) -> Float64Array:
        """(P,) expected error of each landmark, pixels."""
        averted = np.einsum("pi,pi->p", self._normals @ state.rotation.T, view) > 0.0
        factor = np.where(averted, self._factor_averted, self._factor)
        sigma: Float64Array = (self._settings.landmark_sigma * targets.size_px) * factor
        return sigma

    def _evaluate(self, targets: _Targets, state: _State) -> _Evaluation:
        """Residuals and robust cost of a state (Geman and McClure, with priors of the expression)."""
        settings = self._settings
        view, rotated = self._view(state)
        residual = self._with_pairs(project(targets.camera, view) - targets.pixels[self._index])
        pair_sigma = np.full(len(self._pairs), settings.distance_sigma * targets.size_px)
        sigma = np.append(self._sigma(targets, state, view), pair_sigma)
        squared = np.einsum("pi,pi->p", residual, residual) / (sigma * sigma)
        cost = (squared / (1.0 + squared / settings.robust_scale**2)).sum()
        cost += (state.expression @ state.expression) / settings.expression_sigma**2
        if targets.previous is not None:
            change = state.expression - targets.previous
            cost += (change @ change) / settings.change_sigma**2
        return _Evaluation(state, view, rotated, residual, sigma, squared, float(cost))

    def _step(self, targets: _Targets, at: _Evaluation, damping: float) -> _State:
        """One damped Gauss-Newton step within the bounds of coefficients; gaze is fixed."""
        settings, state = self._settings, at.state
        # Rows are scaled so that the normal matrix is a plain product; single precision is ample under the priors.
        scale = 1.0 / ((1.0 + at.squared / settings.robust_scale**2) * at.sigma)  # of Geman and McClure
        rows = self._rows(targets.camera, at, scale).reshape(-1, POSE_COUNT + EXPRESSION_COUNT)
        hessian = (rows.T @ rows).astype(np.float64)
        gradient = ((at.residual * scale[:, None]).astype(np.float32).reshape(-1) @ rows).astype(np.float64)
        # Normal priors of the expression: about zero, and about the previous frame's.
        diagonal = np.full(EXPRESSION_COUNT, settings.expression_sigma**-2)
        gradient[POSE_COUNT:] += state.expression / settings.expression_sigma**2
        if targets.previous is not None:
            diagonal += settings.change_sigma**-2
            gradient[POSE_COUNT:] += (state.expression - targets.previous) / settings.change_sigma**2
        hessian.flat[:: len(gradient) + 1] += np.append(np.zeros(POSE_COUNT), diagonal)
        hessian.flat[:: len(gradient) + 1] *= 1.0 + damping
        # Step bounds keep coefficients in [0, 1] (active set).
        bounds = np.full((2, len(gradient)), [[-np.inf], [np.inf]])
        bounds[:, POSE_COUNT:] = coefficient_bounds(state.expression, GAZE)
        step = bounded_step(hessian, gradient, *bounds)
        rotation = rotation_matrix(step[:3]) @ state.rotation
        expression = np.clip(state.expression + step[POSE_COUNT:], 0.0, 1.0)
        return _State(rotation, state.translation + step[3:POSE_COUNT], expression)

    def _rows(self, camera: Camera, at: _Evaluation, scale: Float64Array) -> Float32Array:
        """(P + Q, 2, 58) derivative of the residuals by the pose's increment and the expression, times `scale`
        (P + Q,)."""
        rows = np.empty((len(scale), 2, POSE_COUNT + EXPRESSION_COUNT), np.float32)
        fill_rows(
            at.view, at.rotated, at.state.rotation, self._basis_single, self._pairs, scale, camera.focal_px,
            MINIMAL_DEPTH_M, rows,
        )  # fmt: skip
        return rows

    def _with_pairs(self, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Rows (P + Q, ...): rows (P, ...) of landmarks, then of the offsets between paired landmarks."""
        return np.concatenate([rows, rows[self._pairs[:, 0]] - rows[self._pairs[:, 1]]])

    def _with_gaze(self, targets: _Targets, state: _State) -> _State:
        """The state with the gaze of the irises, for its pose and the rest of its expression."""
        expression = state.expression.copy()
        neutral = self._neutral + (self._basis_whole @ np.where(GAZE, 0.0, expression)).reshape(-1, 3)
        expression[GAZE] = solve_gaze(
            self._eye_centers, neutral, state.rotation, state.translation, targets.camera, targets.pixels, expression
        )[GAZE]
        return _State(state.rotation, state.translation, expression)


def _state_of(estimate: PoseEstimate) -> _State:
    rotation = rotation_matrix(estimate.pose.rotation.astype(np.float64))
    return _State(rotation, estimate.pose.translation.astype(np.float64), estimate.expression.astype(np.float64))


def _landmark_normals(model: MorphableModel) -> Float64Array:
    """(478, 3) unit normals of the mean head at the landmarks, model space."""
    corners = model.mean[model.triangles[model.mediapipe_triangles].long()]  # (478, 3 corners, 3)
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    unit: Float64Array = torch.nn.functional.normalize(normals, dim=-1).double().numpy()
    return unit

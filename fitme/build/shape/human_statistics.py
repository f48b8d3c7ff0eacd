"""Human statistics for the identity components, learned from a scan-based model (ICT-FaceKit, MIT licence).

anny's parameters span heads well, but uniform samples of them have no human statistics. The scan-based model has: its
coefficients are N(0, I) over people. With fixed correspondences from its surface to ours, the best coefficients of our
broad basis are a linear function of its coefficients, so mean and covariance follow in closed form; parts that it
lacks (ears, scalp, neck) keep their posterior variance (law of total variance).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fitme.arrays import Float64Array, Int64Array
from fitme.build.shape.identity_pca import IdentitySpace
from fitme.build.shape.landmark_embedding import Embedding, face_normals, nearest_on_mesh

_METRES_PER_UNIT = 0.01
_FACE_END, _HEAD_END = 9409, 11248
_EYEBALLS = (21451, 24591)
_NECK_CUT_M = -0.11
_NARROW_END = 6706

_NARROW_NOISE_M, _FACE_NOISE_M, _HEAD_NOISE_M = 0.5e-3, 1e-3, 3e-3
_TANGENT_NOISE_M = 3e-3
_LANDMARK_NOISE_M = 2.5e-3
_EYE_NOISE_M = 1e-3
_POINTS_PER_DEGREE_OF_FREEDOM = 20.0
"""Number of neighbouring surface points, whose errors are correlated, that count as one measurement."""
_BROAD_SCALE = 0.6
"""Prior standard deviation of people, in units of the broad sampling."""
_MAX_DISTANCE_M = 0.01
_MIN_NORMAL_AGREEMENT = 0.6
_ICP_ROUNDS = 12
_JITTER = 1e-10
_FIRST_SEMANTIC_LANDMARK = 27
"""First of iBUG's landmarks that is used: jaw outline and brows, which precede it, have no fixed place on a face."""


@dataclass(frozen=True)
class People:
    """Scan-based population; metres, model axes, origin between its mean's eyeballs."""

    mean: Float64Array
    """(N, 3) surface points."""
    modes: Float64Array
    """(M, N, 3) metres per standard deviation."""
    normals: Float64Array
    """(N, 3) of the mean."""
    noise: Float64Array
    """(N,) metres along the normal."""
    landmarks: Float64Array
    """(68, 3) iBUG's, on the mean."""
    landmark_modes: Float64Array
    """(M, 68, 3)"""
    eyes: Float64Array
    """(2, 3) centres of the left and the right eyeball of the mean."""
    eye_modes: Float64Array
    """(M, 2, 3)"""


def load_people(path: Path) -> People:
    """Population of ICT-FaceKit's light model in an `.npz` (mean, identity, faces, landmark_vertices; centimetres)."""
    with np.load(path) as file:
        mean = file["mean"].astype(np.float64) * _METRES_PER_UNIT
        modes = file["identity"].astype(np.float64) * _METRES_PER_UNIT
        faces = file["faces"].astype(np.int64)
        landmark = file["landmark_vertices"].astype(np.int64)
    start, end = _EYEBALLS
    middle = (start + end) // 2
    halves = [np.arange(start, middle), np.arange(middle, end)]
    halves.sort(key=lambda half: -mean[half, 0].mean())
    origin = np.mean([(mean[h].min(0) + mean[h].max(0)) / 2.0 for h in halves], axis=0)
    mean = mean - origin
    triangles = np.concatenate([faces[:, [0, 1, 2]], faces[faces[:, 3] >= 0][:, [0, 2, 3]]])
    normals = np.zeros_like(mean)
    for k in range(3):
        np.add.at(normals, triangles[:, k], face_normals(mean, triangles))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    chosen = np.arange(_HEAD_END)
    chosen = chosen[(chosen < _FACE_END) | (mean[chosen, 1] > _NECK_CUT_M)]
    eyes = np.stack([(mean[h].min(0) + mean[h].max(0)) / 2.0 for h in halves])
    eye_modes = np.stack([modes[:, h].mean(1) for h in halves], 1)
    return People(
        mean[chosen],
        modes[:, chosen],
        normals[chosen],
        np.select([chosen < _NARROW_END, chosen < _FACE_END], [_NARROW_NOISE_M, _FACE_NOISE_M], _HEAD_NOISE_M),
        mean[landmark],
        modes[:, landmark],
        eyes,
        eye_modes,
    )


@dataclass(frozen=True)
class Fit:
    """Distribution of the broad space's coefficients over a population of B-dimensional coefficients."""

    mean_coefficients: Float64Array
    """(B,)"""
    covariance: Float64Array
    """(B, B)"""
    mean_distance_m: Float64Array
    """(N,) distance from the population's mean to the fitted surface, along the normal; NaN without a partner."""


def fit_people(
    space: IdentitySpace,  # the broad one
    triangles: Int64Array,  # (F, 3)
    surface: Int64Array,  # triangles on which partners may lie
    eyeballs: tuple[Int64Array, Int64Array],
    ibug: Embedding,
    people: People,
    *,
    prior_scale: float = _BROAD_SCALE,
    rounds: int = _ICP_ROUNDS,
) -> Fit:
    """Mean and covariance of the broad space's coefficients over people, by iterated closest points.

    :param prior_scale: prior standard deviation of a coefficient.
    :param rounds: number of searches for closest points.
    """
    count = len(space.basis)
    coefficients = np.zeros(count)
    motion = np.zeros(6)
    prior = np.eye(count + 6) / prior_scale**2
    prior[count:, count:] = np.eye(6) * 1.0
    distance = np.full(len(people.mean), np.nan)
    for _ in range(rounds):
        # Partners of the population's points on the current head; then a linear solve for coefficients and motion.
        vertices = space.mean + np.tensordot(coefficients, space.basis, 1)
        target = _moved(people.mean, motion)
        partner = nearest_on_mesh(target, vertices, triangles, surface)
        place = partner.points(vertices, triangles)
        normals = face_normals(vertices, triangles)[partner.triangle]
        agree = (normals * people.normals).sum(1) > _MIN_NORMAL_AGREEMENT
        keep = np.flatnonzero(agree & (np.linalg.norm(place - target, axis=1) < _MAX_DISTANCE_M))
        rows, right, rows_of_modes = _equations(
            space, triangles, eyeballs, ibug, people, keep, partner, coefficients, motion
        )
        hessian = rows.T @ rows + prior
        solution = np.linalg.solve(hessian, rows.T @ right)
        coefficients, motion = solution[:count], solution[count:]
        distance[:] = np.nan
        distance[keep] = ((place - target)[keep] * normals[keep]).sum(1)
    # Coefficients are linear in the population's, which are N(0, I); the posterior adds its own covariance.
    gain = np.linalg.solve(hessian, rows.T @ rows_of_modes)[:count]  # (B, M)
    left_over = np.linalg.inv(hessian)[:count, :count]
    return Fit(coefficients, gain @ gain.T + left_over, distance)


def _moved(points: Float64Array, motion: Float64Array) -> Float64Array:
    """Points (N, 3) under a small rigid motion (rotation vector · 0.1 rad, translation · 1 cm), to first order."""
    return np.asarray(points + np.cross(0.1 * motion[:3], points) + 0.01 * motion[3:])


def _motion_rows(points: Float64Array) -> Float64Array:
    """(N, 3, 6) derivative of `_moved`."""
    rows = np.zeros((len(points), 3, 6))
    for k in range(3):
        axis = np.zeros(3)
        axis[k] = 0.1
        rows[:, :, k] = np.cross(axis, points)
        rows[:, k, 3 + k] = 0.01
    return rows


def _equations(
    space: IdentitySpace, triangles: Int64Array, eyeballs: tuple[Int64Array, Int64Array], ibug: Embedding, people:
    People, keep: Int64Array, partner: Embedding, coefficients: Float64Array, motion: Float64Array,
) -> tuple[Float64Array, Float64Array, Float64Array]:  # fmt: skip
    """Whitened equations `model point − moved population point = 0`: rows (E, B + 6), right sides (E,) for the mean and
    (E, M) for the modes."""
    count = len(space.basis)
    flat = space.basis.reshape(count, -1, 3).transpose(1, 2, 0)  # (V, 3, B)

    def model_points(triangle: Int64Array, weights: Float64Array) -> tuple[Float64Array, Float64Array]:
        corner = triangles[triangle]
        mean = (space.mean[corner] * weights[..., None]).sum(1)
        return mean, np.einsum("nkcb,nk->ncb", flat[corner], weights, optimize=True)

    blocks, rights, modes = [], [], []

    def add(
        mean: Float64Array,  # (n, 3)
        basis: Float64Array,  # (n, 3, B)
        target: Float64Array,  # (n, 3)
        target_modes: Float64Array,  # (M, n, 3)
        white: Float64Array,  # (n, 3, 3), rows are directions over their noise
    ) -> None:
        jacobian = np.concatenate([basis, -_motion_rows(target)], -1)
        blocks.append((white @ jacobian).reshape(-1, count + 6))
        rights.append((white @ (target - mean)[..., None]).reshape(-1))
        modes.append((white @ target_modes.transpose(1, 2, 0)).reshape(-1, len(target_modes)))

    normal = people.normals[keep]
    density = np.sqrt(1.0 / _POINTS_PER_DEGREE_OF_FREEDOM)
    outer = normal[:, :, None] * normal[:, None, :]
    along = 1.0 / people.noise[keep][:, None, None]
    across = 1.0 / np.maximum(_TANGENT_NOISE_M, people.noise[keep])[:, None, None]
    white = density * (outer * along + (np.eye(3) - outer) * across)
    mean, basis = model_points(partner.triangle[keep], partner.barycentric[keep])
    add(mean, basis, people.mean[keep], people.modes[:, keep], white)
    semantic = np.arange(_FIRST_SEMANTIC_LANDMARK, len(people.landmarks))
    mean, basis = model_points(ibug.triangle[semantic], ibug.barycentric[semantic])
    add(
        mean, basis, people.landmarks[semantic], people.landmark_modes[:, semantic],
        np.tile(np.eye(3) / _LANDMARK_NOISE_M, (len(semantic), 1, 1)),
    )  # fmt: skip
    mean = np.stack([space.mean[ball].mean(0) for ball in eyeballs])
    basis = np.stack([flat[ball].mean(0) for ball in eyeballs])
    add(mean, basis, people.eyes, people.eye_modes, np.tile(np.eye(3) / _EYE_NOISE_M, (2, 1, 1)))
    return np.concatenate(blocks), np.concatenate(rights), np.concatenate(modes)


def whitened_identity(
    space: IdentitySpace, fit: Fit, mirror: Int64Array, vertex_weight: Float64Array, count: int
) -> IdentitySpace:
    """Identity space of people: `count` principal components of the fitted covariance under a weight per vertex (V,).

    People and their mirror images count alike, so the mean is symmetric.
    """
    size = len(space.basis)
    root = np.linalg.cholesky(fit.covariance + _JITTER * np.eye(size))
    directions = np.tensordot(root.T, space.basis, 1)  # (B, V, 3), coefficients N(0, I)
    flip = np.array([-1.0, 1.0, 1.0])
    directions = np.concatenate([directions, directions[:, mirror] * flip]) * np.sqrt(0.5)
    weighted = (directions * np.sqrt(vertex_weight)[:, None]).reshape(2 * size, -1)
    values, vectors = np.linalg.eigh(weighted @ weighted.T)
    order = np.argsort(-values)[:count]
    mean = space.mean + np.tensordot(fit.mean_coefficients, space.basis, 1)
    mean = (mean + mean[mirror] * flip) / 2.0
    return IdentitySpace(mean, np.tensordot(vectors[:, order].T, directions, 1))

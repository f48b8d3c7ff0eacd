"""The builder's own parts, on small meshes: flattening, nearest points, regions' polygons, human statistics."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.build.shape.flatten import Rectangle, boundary_loop, flatten, flatten_round
from fitme.build.shape.human_statistics import People, fit_people, whitened_identity
from fitme.build.shape.identity_pca import IdentitySpace, principal_components
from fitme.build.shape.landmark_embedding import Embedding, nearest_on_mesh, symmetrise
from fitme.build.shape.regions import inside_polygon
from fitme.build.shape.triangulation import triangulate
from fitme.shape.raster import rasterize

SIDE = 9


def sheet(height=lambda x, y: np.zeros_like(x)):
    """A square sheet of SIDE² vertices, counter-clockwise seen from +z, top-left first."""
    y, x = np.meshgrid(np.linspace(1, -1, SIDE), np.linspace(-1, 1, SIDE), indexing="ij")
    points = np.stack([x, y, height(x, y)], -1).reshape(-1, 3)
    number = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)
    quads = np.stack([number[:-1, :-1], number[1:, :-1], number[1:, 1:], number[:-1, 1:]], -1).reshape(-1, 4)
    triangles = np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    return points, triangles, quads, number


def areas(uv, triangles):
    a, b, c = (uv[triangles[:, k]] for k in range(3))
    return 0.5 * np.cross(b - a, c - a)


@settings(max_examples=10, deadline=None)
@given(bump=st.floats(-3.0, 3.0), sharpness=st.floats(0.5, 8.0))
def test_flattening_never_flips_and_fills_the_rectangle(bump, sharpness):
    points, triangles, _, number = sheet(lambda x, y: bump * np.exp(-sharpness * (x * x + y * y)))
    corners = (number[0, 0], number[-1, 0], number[-1, -1], number[0, -1])
    corner_uv = np.array([[0.1, 0.2], [0.1, 0.7], [0.9, 0.7], [0.9, 0.2]])
    uv = flatten(points, triangles, np.ones(len(triangles)), corners, corner_uv, 50)
    signed = areas(uv, triangles)
    assert (signed < 0).all()
    assert -signed.sum() == pytest.approx(0.8 * 0.5)
    round_uv = flatten_round(points, triangles, Rectangle(0.0, 0.0, 1.0, 1.0), 50)
    assert (areas(round_uv, triangles) < 0).all()


def test_target_density_moves_texels():
    points, triangles, _, number = sheet()
    corners = (number[0, 0], number[-1, 0], number[-1, -1], number[0, -1])
    corner_uv = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    left = points[triangles].mean(1)[:, 0] < 0
    uv = flatten(points, triangles, np.where(left, 2.0, 1.0), corners, corner_uv, 200)
    share = np.abs(areas(uv, triangles))[left].sum()
    assert share > 0.6


def test_a_tube_is_no_disc():
    _, triangles, _, _ = sheet()
    with pytest.raises(ValueError, match="disc"):
        boundary_loop(np.delete(triangles, [20, 20 + len(triangles) // 2], axis=0))


def test_triangulation_is_mirror_symmetric():
    rng = np.random.default_rng(0)
    points, _, quads, number = sheet()
    mirror = number[:, ::-1].ravel()
    points[:, 2] = rng.random(len(points))
    points[:, 2] += points[mirror, 2]
    triangles, quad = triangulate(points, quads, mirror)
    whole = {tuple(sorted(t)) for t in triangles.tolist()}
    assert whole == {tuple(sorted(t)) for t in mirror[triangles].tolist()}
    assert np.array_equal(np.bincount(quad), np.full(len(quads), 2))
    assert (areas(points[:, :2], triangles) > 0).all()


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_nearest_place_on_mesh_is_no_farther_than_any_sample(seed):
    rng = np.random.default_rng(seed)
    points, triangles, _, _ = sheet(lambda x, y: 0.3 * np.sin(3 * x) * y)
    query = rng.uniform(-1.2, 1.2, (5, 3)) * np.array([1, 1, 0.5])
    found = nearest_on_mesh(query, points, triangles, np.arange(len(triangles)))
    assert found.barycentric.min() >= 0
    assert np.allclose(found.barycentric.sum(1), 1)
    distance = np.linalg.norm(found.points(points, triangles) - query, axis=1)
    weights = rng.dirichlet(np.ones(3), (len(triangles), 30))
    samples = np.einsum("tsk,tkc->tsc", weights, points[triangles]).reshape(-1, 3)
    best = np.linalg.norm(samples[None] - query[:, None], axis=-1).min(1)
    assert (distance <= best + 1e-9).all()


def test_symmetrise_makes_a_noisy_symmetric_pattern_symmetric():
    rng = np.random.default_rng(1)
    half = rng.uniform(0.2, 1.0, (10, 3))
    pattern = np.concatenate([half, half * np.array([-1, 1, 1])]) + 0.01 * rng.standard_normal((20, 3))
    result = symmetrise(pattern)
    assert np.allclose(result[:10] * np.array([-1, 1, 1]), result[10:])
    assert np.abs(result - pattern).max() < 0.05


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_inside_polygon_agrees_with_a_square(x, y):
    square = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    if abs(abs(x) - 1) > 1e-9 and abs(abs(y) - 1) > 1e-9:
        assert inside_polygon(np.array([[x, y]]), square)[0] == (abs(x) < 1 and abs(y) < 1)


def test_rasterizer_prefers_the_nearer_triangle_and_ignores_slivers():
    points = np.array([[0, 0, 1.0], [8, 0, 1], [0, 8, 1], [0, 0, 2], [4, 0, 2], [0, 4, 2], [8, 8, 3], [8, 8, 3]])
    coverage = rasterize(points, np.array([[0, 1, 2], [3, 4, 5], [0, 6, 7]]), 8, 8)
    assert coverage.triangle[0, 0] == 1
    assert coverage.triangle[0, 6] == 0
    assert coverage.triangle[7, 7] == -1
    depth = coverage.interpolate(points[:, 2:], np.array([[0, 1, 2], [3, 4, 5], [0, 6, 7]]))
    assert depth[0, 0, 0] == pytest.approx(2.0)


def population():
    """A bumpy sheet whose broad space has two directions, and people who use one of them only half as much."""
    points, triangles, _, _ = sheet(lambda x, y: 0.02 * np.cos(2 * x) * np.cos(2 * y))
    scale = 0.05
    x, y = points[:, 0], points[:, 1]
    lift = np.stack([0 * x, 0 * x, np.cos(x) * np.cos(y)], -1)
    tilt = np.stack([0 * x, 0 * x, x * x - y], -1)
    space = IdentitySpace(points * scale, np.stack([lift, tilt]) * 2e-3)
    normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    marks = np.linspace(0, len(points) - 1, 68).astype(int)
    eyes = np.array([[len(points) // 2], [len(points) // 2 + 3]])
    modes = np.stack([0.5 * space.basis[0], 0.0 * space.basis[1]])
    mean = space.mean + space.basis[0]
    people = People(
        mean, modes, normals, np.full(len(points), 1e-4), mean[marks], modes[:, marks],
        mean[eyes[:, 0]], modes[:, eyes[:, 0]],
    )  # fmt: skip
    corner = np.array([np.argwhere(triangles == v)[0] for v in marks])
    ibug = Embedding(corner[:, 0], np.eye(3)[corner[:, 1]])
    return space, triangles, ibug, eyes, people


def test_people_give_their_mean_and_variance_to_the_broad_space():
    space, triangles, ibug, eyes, people = population()
    fit = fit_people(space, triangles, np.arange(len(triangles)), (eyes[0], eyes[1]), ibug, people)
    assert fit.mean_coefficients == pytest.approx([1.0, 0.0], abs=0.1)
    assert fit.covariance[0, 0] == pytest.approx(0.25, abs=0.06)
    assert fit.covariance[1, 1] < 0.05
    assert np.nanmax(np.abs(fit.mean_distance_m)) < 5e-4


def test_whitened_identityd_components_are_whitened_and_ordered():
    space, triangles, ibug, eyes, people = population()
    fit = fit_people(space, triangles, np.arange(len(triangles)), (eyes[0], eyes[1]), ibug, people)
    fit = dataclasses.replace(fit, covariance=np.diag([0.25, 0.04]))
    mirror = np.arange(SIDE * SIDE).reshape(SIDE, SIDE)[:, ::-1].ravel()
    result = whitened_identity(space, fit, mirror, np.ones(len(space.mean)), 2)
    size = (result.basis**2).sum((1, 2))
    assert size[0] > size[1]
    total = 0.25 * (space.basis[0] ** 2).sum() + 0.04 * (space.basis[1] ** 2).sum()
    assert size.sum() == pytest.approx(total, rel=1e-3)


def test_principal_components_recover_a_known_spread():
    rng = np.random.default_rng(2)
    mirror = np.array([1, 0, 2])
    direction = np.array([[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0]])
    samples = rng.standard_normal((400, 1, 1)) * 3e-3 * direction
    space = principal_components(samples, mirror, 1)
    assert np.abs(space.basis[0]) == pytest.approx(np.abs(3e-3 * direction), rel=0.1, abs=1e-9)

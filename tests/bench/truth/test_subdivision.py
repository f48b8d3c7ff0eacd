"""Loop's subdivision of closed and open meshes."""

import numpy as np
import pytest
import scipy.sparse

from fitme.bench.truth.subdivision import CHILDREN, loop_subdivision, split_in_middles

OCTAHEDRON = np.array([[1.0, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, -1]])
FACES = np.array([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [1, 0, 5], [2, 1, 5], [3, 2, 5], [0, 3, 5]])
SIDE = 4


def _grid():
    x, y = np.meshgrid(np.arange(SIDE + 1.0), np.arange(SIDE + 1.0))
    first = (np.arange(SIDE)[:, None] * (SIDE + 1) + np.arange(SIDE)).ravel()
    lower = np.stack([first, first + 1, first + SIDE + 2], 1)
    upper = np.stack([first, first + SIDE + 2, first + SIDE + 1], 1)
    return np.stack([x.ravel(), y.ravel()], 1), np.concatenate([lower, upper])


def _area(points, triangles):
    a, b, c = (points[triangles[:, k]] for k in range(3))
    return 0.5 * ((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0])


def test_a_closed_mesh_stays_closed_and_its_outside_outside():
    fine = loop_subdivision(FACES, np.zeros(len(OCTAHEDRON), bool))
    points = fine.matrix @ OCTAHEDRON
    assert fine.triangles.shape == (CHILDREN * len(FACES), 3)
    edges = np.sort(fine.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()
    a, b, c = (points[fine.triangles[:, k]] for k in range(3))
    assert ((np.cross(b - a, c - a) * (a + b + c)).sum(1) > 0.0).all()
    roundness = np.linalg.norm(points, axis=1)
    assert roundness.max() / roundness.min() < 1.2  # with the middles of edges as they are: 1.41


def test_new_vertices_are_means_of_old_ones():
    points, triangles = _grid()
    matrix = loop_subdivision(triangles, np.zeros(len(points) + 1, bool)).matrix  # the last vertex has no triangle
    assert scipy.sparse.issparse(matrix)
    assert np.allclose(matrix.sum(1), 1.0)
    assert matrix.min() >= 0.0
    assert matrix[len(points)].toarray()[0].tolist() == [0.0] * len(points) + [1.0]


def test_children_lie_in_their_parents_order_and_cover_them():
    points, triangles = _grid()
    middles, quarters = split_in_middles(points, triangles)
    area = _area(middles, quarters).reshape(CHILDREN, len(triangles))
    assert np.allclose(area, _area(points, triangles) / CHILDREN)
    assert np.array_equal(quarters, loop_subdivision(triangles, np.zeros(len(points), bool)).triangles)
    assert np.array_equal(quarters[: len(triangles), 0], triangles[:, 0])


def test_an_open_border_stays_a_border_and_the_inside_flat():
    points, triangles = _grid()
    fine = loop_subdivision(triangles, np.zeros(len(points), bool)).matrix @ points
    on_side = fine[(fine[:, 1] == 0.0) & (fine[:, 0] >= 1.0) & (fine[:, 0] <= SIDE - 1.0)]
    assert sorted(on_side[:, 0]) == pytest.approx([1.0, 1.5, 2.0, 2.5, 3.0])
    middle = (SIDE + 2) * (SIDE // 2)  # the grid's middle vertex
    assert fine[middle] == pytest.approx(points[middle])


def test_kept_vertices_stay_with_straight_edges_between_them():
    kept = OCTAHEDRON[:, 2] == 0.0
    fine = loop_subdivision(FACES, kept).matrix @ OCTAHEDRON
    assert np.array_equal(fine[:4], OCTAHEDRON[:4])
    assert np.linalg.norm(fine[4]) < 0.7
    around = fine[6:][np.abs(fine[6:, 2]) < 1e-12]
    assert sorted(map(tuple, around[:, :2].tolist())) == [(-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5), (0.5, 0.5)]

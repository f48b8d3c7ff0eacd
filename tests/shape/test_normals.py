"""Vertex normals: right on a sphere, turn with the mesh, gradients by finite differences."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.geometry import rotation_matrix
from fitme.shape.model_file import load_default_model
from fitme.shape.normals import vertex_normals

TETRAHEDRON = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
CORNERS = torch.tensor([[0.0, 1, 0], [-1, -1, 1], [1, -1, 1], [0, -1, -1]], dtype=torch.float64)


def test_normals_point_out_of_the_head():
    model = load_default_model()
    normals = vertex_normals(model.mean[None], model.triangles)[0]
    nose = model.triangles[model.mediapipe_triangles[4]].long()
    assert (normals[nose, 2] > 0.5).all()
    for index in model.eyeball_vertices:
        used = index[normals[index].norm(dim=-1) > 0.5]
        outward = torch.nn.functional.normalize(model.mean[used] - model.mean[index].mean(0), dim=-1)
        assert float((normals[used] * outward).sum(-1).min()) > 0.5


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-3.0, 3.0), min_size=3, max_size=3))
def test_normals_turn_with_the_mesh(axis_angle):
    rotation = rotation_matrix(torch.tensor(axis_angle, dtype=torch.float64))
    straight = vertex_normals(CORNERS[None], TETRAHEDRON)
    turned = vertex_normals((CORNERS @ rotation.T)[None], TETRAHEDRON)
    assert torch.allclose(turned, straight @ rotation.T, atol=1e-9)


def test_gradient_matches_finite_differences():
    vertices = CORNERS[None].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: vertex_normals(v, TETRAHEDRON), (vertices,))


def test_normals_without_gradients_are_those_with_gradients():
    model = load_default_model()
    vertices = torch.stack([model.mean, 1.1 * model.mean.flip(-1)])
    expected = vertex_normals(vertices.clone().requires_grad_(), model.triangles).detach()
    torch.testing.assert_close(vertex_normals(vertices, model.triangles), expected, atol=1e-6, rtol=0.0)
    alone = torch.cat([model.mean, torch.ones(1, 3)])[None]
    assert torch.equal(vertex_normals(alone, model.triangles)[0, -1], torch.zeros(3))


def test_unused_vertices_get_zero_not_nan():
    vertices = torch.cat([CORNERS, CORNERS[:1] + 5])[None].requires_grad_()
    normals = vertex_normals(vertices, TETRAHEDRON)
    assert torch.equal(normals[0, 4], torch.zeros(3, dtype=torch.float64))
    normals.sum().backward()
    assert torch.isfinite(vertices.grad).all()

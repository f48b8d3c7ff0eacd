"""The numba kernels against the plain-torch reference (values) and against finite differences (gradients)."""

import numpy as np
import pytest
import torch
from torch import Tensor

from fitme.errors import BackendError
from fitme.geometry import Camera
from fitme.render.cpu.backend import CpuBackend
from fitme.render.cpu.mesh_adjacency import NO_VERTEX, cached_opposite_vertices, opposite_vertices
from fitme.render.rasterizer import RasterizerBackend, select_backend
from fitme.render.torch_reference import ReferenceBackend

CPU = CpuBackend()
REFERENCE = ReferenceBackend()
RESOLUTION = (24, 20)


@pytest.fixture
def scene(sphere):
    """Batch of two views of two overlapping spheres: float64 clip positions (2, V, 4), triangles (F, 3)."""
    vertices, triangles = sphere(42)
    count = vertices.shape[0]
    both = torch.cat([vertices * 0.1, vertices * 0.06 + torch.tensor([0.07, 0.05, 0.09])])
    shift = torch.tensor([[0.003, -0.002, -0.61], [-0.021, 0.013, -0.52]])
    camera = Camera(44.0, 9.3, 12.9, RESOLUTION[1], RESOLUTION[0])
    positions = camera.clip(both[None] + shift[:, None].double())
    return positions, torch.cat([triangles, triangles + count])


def gradients(output: Tensor, inputs: list[Tensor], seed: int = 0) -> list[Tensor]:
    weight = torch.randn(output.shape, dtype=output.dtype, generator=torch.Generator().manual_seed(seed))
    return list(torch.autograd.grad((output * weight).sum(), inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_rasterize_matches_reference(scene, dtype):
    positions, triangles = scene[0].to(dtype), scene[1]
    mine, reference = (b.rasterize(positions, triangles, RESOLUTION) for b in (CPU, REFERENCE))
    assert (mine[..., 3] > 0).float().mean() > 0.2
    torch.testing.assert_close(mine[..., 3], reference[..., 3])
    torch.testing.assert_close(mine, reference, atol=1e-5 if dtype == torch.float32 else 1e-12, rtol=0)


def test_rasterize_gradient_matches_autograd(scene):
    positions, triangles = scene
    positions.requires_grad_()
    mine, reference = (
        gradients(b.rasterize(positions, triangles, RESOLUTION)[..., :2], [positions])[0] for b in (CPU, REFERENCE)
    )
    assert mine.abs().max() > 0
    torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-9)


def test_rasterize_orders_rows_and_barycentrics_as_opengl():
    # One triangle over the corner of clip space at (-1, -1): it must cover row 0, column 0.
    positions = torch.tensor([[[-1.0, -1.0, 0.0, 1.0], [1.0, -1.0, 0.5, 1.0], [-1.0, 1.0, 0.5, 1.0]]])
    rast = CPU.rasterize(positions, torch.tensor([[0, 1, 2]], dtype=torch.int32), (4, 4))
    u, v, depth, face = rast[0, 0, 0].tolist()
    assert (u, v, face) == pytest.approx((0.75, 0.125, 1.0))
    assert depth == pytest.approx(0.125)
    assert rast[0, 3, 3].tolist() == [0.0] * 4


def test_shared_edges_leave_no_gap(sphere):
    vertices, triangles = sphere(642)
    clip = Camera(400.0, 63.7, 64.2, 128, 128).clip(vertices[None] * 0.1 + torch.tensor([0.0, 0.0, -0.5]))
    rast = CPU.rasterize(clip.float(), triangles, (128, 128))
    y, x = torch.meshgrid(torch.arange(128) + 0.5, torch.arange(128) + 0.5, indexing="ij")
    disc = (x - 63.7) ** 2 + (y - 64.2) ** 2 < (0.98 * 400.0 * 0.1 / np.sqrt(0.5**2 - 0.1**2)) ** 2
    assert (rast[0, ..., 3][disc] > 0).all()


def test_triangle_behind_and_across_the_eye():
    # A floor that passes under the camera: only what is in front and within the depth range is drawn.
    camera = Camera.centered(16.0, 32, 32)
    floor = torch.tensor([[-5.0, -0.5, 5.0], [5.0, -0.5, 5.0], [0.0, -0.5, -8.0]], dtype=torch.float64)
    clip = camera.clip(floor[None])
    triangles = torch.tensor([[0, 1, 2]], dtype=torch.int32)
    mine, reference = (b.rasterize(clip, triangles, (32, 32)) for b in (CPU, REFERENCE))
    torch.testing.assert_close(mine, reference)
    assert (mine[0, :16, :, 3] == 0).all()
    assert (mine[0, 31, :, 3] > 0).all()


def test_interpolate_matches_reference(scene):
    positions, triangles = scene
    generator = torch.Generator().manual_seed(1)
    attributes = torch.randn(2, positions.shape[1], 3, dtype=torch.float64, generator=generator)
    rast = CPU.rasterize(positions, triangles, RESOLUTION)
    for values in (attributes, attributes[:1]):
        inputs = [values.clone().requires_grad_(), rast.clone().requires_grad_()]
        mine, reference = (b.interpolate(*inputs, triangles) for b in (CPU, REFERENCE))
        torch.testing.assert_close(mine, reference)
        for a, b in zip(gradients(mine, inputs), gradients(reference, inputs), strict=True):
            torch.testing.assert_close(a, b)


def test_texture_matches_reference():
    generator = torch.Generator().manual_seed(2)
    texture = torch.rand(2, 7, 5, 3, dtype=torch.float64, generator=generator)
    uv = torch.rand(2, 9, 11, 2, dtype=torch.float64, generator=generator) * 1.4 - 0.2
    for image in (texture, texture[:1]):
        inputs = [image.clone().requires_grad_(), uv.clone().requires_grad_()]
        mine, reference = (b.texture(*inputs) for b in (CPU, REFERENCE))
        torch.testing.assert_close(mine, reference)
        for a, b in zip(gradients(mine, inputs), gradients(reference, inputs), strict=True):
            torch.testing.assert_close(a, b)


def test_antialias_matches_reference(scene):
    positions, triangles = scene
    positions.requires_grad_()
    rast = CPU.rasterize(positions, triangles, RESOLUTION).detach()
    color = torch.rand(2, *RESOLUTION, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    color.requires_grad_()
    mine, reference = (b.antialias(color, rast, positions, triangles) for b in (CPU, REFERENCE))
    assert (mine != color).any(-1).sum() > 20
    torch.testing.assert_close(mine, reference)
    inputs = [color, positions]
    for a, b in zip(gradients(mine, inputs), gradients(reference, inputs), strict=True):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-8)


def draw(
    backend: RasterizerBackend, positions: Tensor, attributes: Tensor, texture: Tensor, triangles: Tensor
) -> Tensor:
    """All four operations in a row: (B, H, W, C)."""
    rast = backend.rasterize(positions, triangles, RESOLUTION)
    uv = backend.interpolate(attributes, rast, triangles)
    covered = (rast[..., 3:] > 0).to(positions.dtype)
    return backend.antialias(backend.texture(texture, uv) * covered, rast, positions, triangles)


def test_gradients_by_finite_differences_with_silhouettes(scene):
    positions, triangles = scene
    generator = torch.Generator().manual_seed(4)
    attributes = torch.rand(1, positions.shape[1], 2, dtype=torch.float64, generator=generator) * 0.8 + 0.1
    # Three texels a side: gradients of bilinear sampling jump where uv crosses a texel centre, so keep crossings few.
    texture = torch.rand(1, 3, 3, 2, dtype=torch.float64, generator=generator)
    weight = torch.randn(2, *RESOLUTION, 2, dtype=torch.float64, generator=generator)
    inputs = [t.clone().requires_grad_() for t in (positions, attributes, texture)]
    analytic = torch.autograd.grad((draw(CPU, *inputs, triangles) * weight).sum(), inputs)
    step = 1e-7
    with torch.no_grad():
        for index, gradient in enumerate(analytic):
            direction = torch.randn(gradient.shape, dtype=torch.float64, generator=generator)
            if index == 0:
                direction[..., 2] = 0.0  # z moves nothing on the image
            moved = []
            for sign in (1.0, -1.0):
                values = [t.detach() for t in inputs]
                values[index] = values[index] + sign * step * direction
                moved.append((draw(CPU, *values, triangles) * weight).sum())
            numeric = (moved[0] - moved[1]) / (2.0 * step)
            torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-5, atol=1e-6)


def test_coverage_gradient_is_the_boundary_integral():
    # The area of a square's antialiased mask must grow with its side as the true area does.
    corners = torch.tensor([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    triangles = torch.tensor([[0, 1, 2], [0, 2, 3]], dtype=torch.int32)
    size = torch.tensor(0.517, dtype=torch.float64, requires_grad=True)
    flat = torch.tensor([0.0, 1.0], dtype=torch.float64).expand(4, 2)
    positions = torch.cat([corners * size, flat], -1)[None]
    rast = CPU.rasterize(positions, triangles, (128, 128))
    mask = CPU.antialias((rast[..., 3:] > 0).double(), rast, positions, triangles)
    area = mask.sum() / 64.0**2
    assert area.item() == pytest.approx(4 * 0.517**2, rel=0.01)
    (slope,) = torch.autograd.grad(area, size)
    assert slope.item() == pytest.approx(8 * 0.517, rel=0.03)


def test_opposite_vertices():
    triangles = np.array([[0, 1, 2], [2, 1, 3]], dtype=np.int32)
    assert opposite_vertices(triangles).tolist() == [[3, NO_VERTEX, NO_VERTEX], [NO_VERTEX, NO_VERTEX, 0]]
    tensor = torch.from_numpy(triangles)
    assert cached_opposite_vertices(tensor) is cached_opposite_vertices(tensor)


def test_backend_selection():
    assert isinstance(select_backend("cpu"), CpuBackend)
    with pytest.raises(BackendError, match="no rasterizer"):
        select_backend("meta")
    if not torch.cuda.is_available():
        with pytest.raises((BackendError, RuntimeError)):
            select_backend("cuda")


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"\(B, V, 4\)"):
        CPU.rasterize(torch.zeros(3, 4), torch.zeros(1, 3, dtype=torch.int32), (4, 4))
    with pytest.raises(ValueError, match="texture"):
        CPU.texture(torch.zeros(3, 2, 2, 1), torch.zeros(2, 4, 4, 2))

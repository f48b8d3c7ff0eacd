"""Cast shadows: against ray casting, on a face, on planes and convex bodies, in both renderers."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from fitme.geometry import Camera, HeadPose
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.cpu.rasterize import rasterize_rows
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.render.renderer import render
from fitme.render.shadows import DEPTH_BIAS_M, FARTHEST_M, lit_shares, shadow_maps
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.normals import vertex_normals
from fitme.shape.regions import Region

SAMPLES = 400
ELEVATED = torch.nn.functional.normalize(torch.tensor([[0.8, 0.3, 0.6], [-0.3, 0.9, 0.4]]), dim=-1)


@pytest.fixture(scope="module")
def model() -> MorphableModel:
    return load_default_model()


def hidden_by_rays(points: Tensor, direction: Tensor, vertices: Tensor, triangles: Tensor, start_m: float) -> Tensor:
    """Mask (N,) of the points (N, 3) whose ray towards a light (3,) hits a triangle farther than `start_m` away.

    Moeller and Trumbore, "Fast, Minimum Storage Ray/Triangle Intersection" (1997), every ray with every triangle.
    """
    a, b, c = (vertices[triangles[:, k].long()].double() for k in range(3))
    ray = direction.double()
    normal = torch.linalg.cross(ray.expand_as(a), c - a)
    determinant = ((b - a) * normal).sum(-1)
    found = []
    for point in points.double():
        offset = point - a
        u = (offset * normal).sum(-1) / determinant
        across = torch.linalg.cross(offset, b - a)
        v = (across @ ray) / determinant
        distance = (across * (c - a)).sum(-1) / determinant
        found.append(((u >= 0) & (v >= 0) & (u + v <= 1) & (distance > start_m)).any())
    return torch.stack(found)


def test_shares_agree_with_rays(model: MorphableModel) -> None:
    normals = vertex_normals(model.mean[None], model.triangles)[0]
    shares = lit_shares(model.mean, model.triangles, ELEVATED, model.mean, normals)
    face = torch.unique(model.triangles[model.face_triangles & (model.triangle_region == int(Region.SKIN))].long())
    chosen = face[torch.randperm(len(face), generator=torch.Generator().manual_seed(0))[:SAMPLES]]
    for index, direction in enumerate(ELEVATED):
        # Where a surface turns away, it is dark without a shadow.
        facing = chosen[normals[chosen] @ direction > 0.2]
        expected = hidden_by_rays(model.mean[facing], direction, model.mean, model.triangles, 2.0 * DEPTH_BIAS_M)
        wrong = (shares[facing, index] < 0.5) != expected
        assert 0.02 < expected.float().mean() < 0.7
        assert wrong.float().mean() < 0.04


def test_a_nose_shadows_the_cheek_on_the_far_side(model: MorphableModel) -> None:
    normals = vertex_normals(model.mean[None], model.triangles)[0]
    light = torch.nn.functional.normalize(torch.tensor([[0.85, 0.1, 0.5]]), dim=-1)
    shares = lit_shares(model.mean, model.triangles, light, model.mean, normals)[:, 0]
    tip = model.landmarks(model.mean[None])[0, 4]
    nearby = (model.mean - tip).norm(dim=-1) < 0.03
    skin = model.vertex_mask(Region.SKIN) & nearby & (normals @ light[0] > 0.1)
    toward = shares[skin & (model.mean[:, 0] > tip[0])]
    away = shares[skin & (model.mean[:, 0] < tip[0])]
    assert toward.mean() > 0.9
    assert away.mean() < 0.7


def test_a_convex_body_casts_none(sphere) -> None:  # type: ignore[no-untyped-def]
    vertices, triangles = sphere(2000)
    vertices = 0.1 * vertices.float()
    normals = torch.nn.functional.normalize(vertices, dim=-1)
    shares = lit_shares(vertices, triangles, ELEVATED, vertices, normals)
    assert (shares[normals @ ELEVATED.T > 0.1] == 1.0).all()


def square(height_m: float, left_m: float) -> tuple[Tensor, Tensor]:
    """Four corners of a horizontal square that ends 0.1 m to the right, and its two triangles."""
    corners = [[left_m, height_m, -0.1], [0.1, height_m, -0.1], [0.1, height_m, 0.1], [left_m, height_m, 0.1]]
    return torch.tensor(corners), torch.tensor([[0, 2, 1], [0, 3, 2]], dtype=torch.int32)


@pytest.mark.parametrize("elevation_deg", [12.0, 30.0, 85.0])
def test_a_plane_at_grazing_light_does_not_shadow_itself(elevation_deg: float) -> None:
    vertices, triangles = square(0.0, -0.1)
    angle = math.radians(elevation_deg)
    light = torch.tensor([[math.cos(angle), math.sin(angle), 0.0]])
    points = 0.16 * torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.08
    points[:, 1] = 0.0
    normals = torch.tensor([0.0, 1.0, 0.0]).expand(500, 3)
    assert (lit_shares(vertices, triangles, light, points, normals) == 1.0).all()


def test_penumbrae_are_soft_and_centred_on_the_occluder_s_edge() -> None:
    ground, triangles = square(0.0, -0.1)
    roof, above = square(0.05, 0.0)
    vertices, faces = torch.cat([ground, roof]), torch.cat([triangles, above + 4])
    points = torch.zeros(401, 3)
    points[:, 0] = torch.linspace(-0.02, 0.02, 401)
    shares = lit_shares(
        vertices, faces, torch.tensor([[0.0, 1.0, 0.0]]), points, torch.tensor([0.0, 1.0, 0.0]).expand(401, 3)
    )[:, 0]
    assert shares[0] == 1.0
    assert shares[-1] == 0.0
    assert (shares.diff() <= 1e-6).all()
    half = points[(shares - 0.5).abs().argmin(), 0]
    assert abs(float(half)) < 0.001
    edge = points[(shares > 0.0) & (shares < 1.0), 0]
    assert 0.003 < float(edge.max() - edge.min()) < 0.008
    assert -shares.diff().min() < 0.05


def test_maps_hold_what_the_rasterizer_draws(model: MorphableModel) -> None:
    """Against the rasterizer in orthographic projection from the light, with back faces culled as in the maps."""
    vertices, triangles, size = model.mean.numpy(), model.triangles.int().numpy(), 128
    maps = shadow_maps(vertices, triangles, ELEVATED.numpy(), size)
    for depth, frame in zip(maps.depth, maps.frame, strict=True):
        seen = vertices @ frame[:, :3].T + frame[:, 3]  # columns, rows, metres
        a, b, c = (seen[triangles[:, k], :2] for k in range(3))
        toward = np.cross(b - a, c - a) > 0.0
        clip = np.ones((len(seen), 4), np.float32)
        clip[:, :2] = (2.0 * seen[:, :2] + 1.0) / size - 1.0
        clip[:, 2] = seen[:, 2]
        raster = np.zeros((size, size, 4), np.float32)
        rasterize_rows(clip, np.ascontiguousarray(triangles[toward]), raster, 0, size)
        drawn = np.where(raster[..., 3] > 0.0, raster[..., 2], FARTHEST_M)
        agree = np.abs(drawn - depth) < 1e-5
        assert agree.mean() > 0.995  # all but some texels on an edge
        assert (depth < FARTHEST_M).mean() > 0.2


def test_points_outside_the_map_are_lit(model: MorphableModel) -> None:
    far = torch.tensor([[5.0, 0.0, 0.0], [-3.0, 2.0, 1.0]])
    assert (lit_shares(model.mean, model.triangles, ELEVATED, far, torch.zeros_like(far)) == 1.0).all()
    maps = shadow_maps(model.mean.numpy(), model.triangles.numpy(), ELEVATED.numpy(), 64)
    assert maps.depth.shape == (2, 64, 64)
    assert maps.depth[:, 0, 0].min() > 1e8


def test_shadows_take_away_directional_light_only(model: MorphableModel) -> None:
    camera, maps = Camera.centered(300.0, 160, 160), ReflectanceMaps.constant((0.5, 0.4, 0.3), 0.5, 4)
    still, ahead = torch.zeros(1, 3), torch.tensor([[0.0, 0.02, -0.62]])
    sh = Light.ambient(0.3).sh

    def drawn(light: Light, shadows: bool) -> Tensor:
        rendering = render(model, model.mean[None], still, ahead, camera, maps, light, shadows=shadows, antialias=False)
        return rendering.image[0]

    key = Light(sh, ELEVATED[None, :1], torch.ones(1, 1, 3))
    none = drawn(Light(sh, ELEVATED[None, :0], torch.ones(1, 0, 3)), True)
    without, cast = drawn(key, False), drawn(key, True)
    assert (cast <= without + 1e-6).all()
    assert (cast >= none - 1e-6).all()
    changed = (without - cast).amax(-1) > 0.05
    assert 0.005 < changed.float().mean() < 0.1
    doubled = drawn(Light(sh, ELEVATED[None], torch.tensor([[[1.0] * 3, [0.5] * 3]])), True)
    second = drawn(Light(torch.zeros_like(sh), ELEVATED[None, 1:], torch.full((1, 1, 3), 0.5)), True)
    torch.testing.assert_close(doubled, cast + second, atol=1e-5, rtol=1e-5)


def test_forward_casts_the_same_shadows(model: MorphableModel) -> None:
    size = 200
    camera, maps = Camera.centered(1.9 * size, size, size), ReflectanceMaps.constant((0.5, 0.4, 0.3), 0.5, 4)
    pose = HeadPose(np.array([0.05, math.radians(25.0), 0.0], np.float32), np.array([0.0, 0.02, -0.62], np.float32))
    light = Light(Light.ambient(0.2).sh, ELEVATED[None], torch.tensor([[[0.9, 0.8, 0.7], [0.2, 0.2, 0.3]]]))
    renders = []
    for shadows in (True, False):
        forward = ForwardRenderer(model, size, shadows=shadows)
        forward.set_maps(maps)
        drawn = render(
            model, model.mean[None], torch.from_numpy(pose.rotation)[None], torch.from_numpy(pose.translation)[None],
            camera, maps, light, shadows=shadows,
        )  # fmt: skip
        expected = torch.where(
            drawn.image[0] <= 0.0031308, 12.92 * drawn.image[0], 1.055 * drawn.image[0].clamp(1e-9) ** (1 / 2.4) - 0.055
        )
        renders.append(forward.render(model.mean.numpy(), pose, camera, light).astype(int))
        difference = np.abs(renders[-1] - 255.0 * expected.clamp(max=1.0).numpy())
        assert np.quantile(difference, 0.998) <= 3.0
    assert (renders[1] - renders[0] > 10).any(-1).mean() > 0.01

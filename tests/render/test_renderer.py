"""The differentiable renderer against closed forms and finite differences, and the forward renderer against it."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from fitme.color import linear_to_bytes
from fitme.geometry import Camera, HeadPose
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.render.materials import head_shininess
from fitme.render.occlusion import ambient_visibility, head_occlusion, mouth_occlusion, opened_head
from fitme.render.renderer import clip_positions, render
from fitme.render.shading import ambient_reflectance, sh_basis
from fitme.render.tangents import vertex_tangents
from fitme.render.torch_reference import ReferenceBackend
from fitme.shape.expressions import EXPRESSION_NAMES, expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region

RADIUS_M = 0.1
DISTANCE_M = 0.6


@dataclass(frozen=True)
class Ball:
    """A sphere whose UV layout is its orthographic projection from the front."""

    vertices: Tensor
    triangles: Tensor
    uv: Tensor
    uv_triangles: Tensor


@pytest.fixture
def ball(sphere):
    vertices, triangles = sphere(1500)
    uv = torch.stack([vertices[:, 0] * 0.45 + 0.5, 0.5 - vertices[:, 1] * 0.45], -1)
    return Ball((vertices * RADIUS_M).float(), triangles, uv.float(), triangles)


def textured(resolution: int, seed: int = 0) -> ReflectanceMaps:
    generator = torch.Generator().manual_seed(seed)
    relief = torch.randn(1, resolution, resolution, 3, generator=generator) * 0.1
    relief[..., 2] = 1.0
    return ReflectanceMaps(
        torch.rand(1, resolution, resolution, 3, generator=generator) * 0.5 + 0.2,
        torch.rand(1, resolution, resolution, 1, generator=generator),
        torch.nn.functional.normalize(relief, dim=-1),
    )


def two_lights() -> Light:
    directions = torch.nn.functional.normalize(torch.tensor([[[0.6, 0.5, 0.6], [-0.8, 0.0, 0.4]]]), dim=-1)
    ambient = Light.ambient(0.3)
    sh = ambient.sh.clone()
    sh[:, 1] = 0.15
    return Light(sh, directions, torch.tensor([[[1.0, 0.9, 0.8], [0.2, 0.3, 0.9]]]))


def in_front(batch: int = 1) -> tuple[Tensor, Tensor]:
    return torch.zeros(batch, 3), torch.tensor([[0.0, 0.0, -DISTANCE_M]]).repeat(batch, 1)


def test_lit_sphere_matches_its_closed_form(ball):
    size, focal = 64, 150.0
    maps = ReflectanceMaps.constant((0.5, 0.4, 0.3), 0.5, 4)
    light = two_lights()
    drawn = render(ball, ball.vertices[None], *in_front(), Camera.centered(focal, size, size), maps, light)

    # Intersect each pixel's ray with the sphere.
    offset = (torch.arange(size, dtype=torch.float64) + 0.5 - size / 2) / focal
    y, x = torch.meshgrid(-offset, offset, indexing="ij")
    ray = torch.nn.functional.normalize(torch.stack([x, y, -torch.ones_like(x)], -1), dim=-1)
    along = -ray[..., 2] * DISTANCE_M
    discriminant = along**2 - (DISTANCE_M**2 - RADIUS_M**2)
    hit = discriminant > 1e-4  # away from the silhouette, where the mesh is not quite round
    point = ray * (along - discriminant.clamp(min=0).sqrt())[..., None]
    normal = (point + torch.tensor([0.0, 0.0, DISTANCE_M])) / RADIUS_M
    half = torch.nn.functional.normalize(light.directions[0].double()[:, None, None] - ray, dim=-1)
    cosine = torch.einsum("hwc,lc->lhw", normal, light.directions[0].double()).clamp(min=0)
    lobe = 0.04 * (24.0 + 8.0) / 8.0 * (half * normal).sum(-1).clamp(min=0) ** 24.0
    colors = light.colors[0].double()
    diffuse = sh_basis(normal) @ light.sh[0].double() + torch.einsum("lhw,lc->hwc", cosine, colors)
    mirror = ray - 2.0 * (ray * normal).sum(-1, keepdim=True) * normal
    reflectance = ambient_reflectance(-(ray * normal).sum(-1, keepdim=True))
    specular = reflectance * (sh_basis(mirror) @ light.sh[0].double()).clamp(min=0)
    specular = specular + torch.einsum("lhw,lc->hwc", cosine * lobe, colors)
    expected = torch.tensor([0.5, 0.4, 0.3], dtype=torch.float64) * diffuse + 0.5 * specular
    assert hit.sum() > 1000
    assert (drawn.image[0].double() - expected)[hit].abs().max() < 0.02
    area = drawn.mask.sum().item()
    assert area == pytest.approx(math.pi * focal**2 * RADIUS_M**2 / (DISTANCE_M**2 - RADIUS_M**2), rel=0.02)


def test_parts_compose_and_empty_pixels_are_zero(ball):
    drawn = render(
        ball,
        ball.vertices[None],
        *in_front(),
        Camera.centered(90.0, 48, 40),
        textured(16),
        two_lights(),
        antialias=False,
    )
    assert drawn.image.shape == (1, 40, 48, 3)
    torch.testing.assert_close(drawn.image, drawn.albedo * drawn.diffuse_shading + drawn.specular)
    empty = drawn.rast[..., 3] == 0
    for part in (drawn.image, drawn.mask, drawn.normals, drawn.albedo, drawn.specular):
        assert (part[empty] == 0).all()
    torch.testing.assert_close(drawn.normals[~empty].norm(dim=-1), torch.ones(int((~empty).sum())))


def test_batches_match_single_renders(ball):
    rotation, translation = in_front(2)
    rotation[1] = torch.tensor([0.1, -0.4, 0.2])
    translation[1] += torch.tensor([0.02, 0.01, -0.1])
    cameras = [Camera.centered(120.0, 40, 40), Camera(140.0, 18.0, 22.0, 40, 40)]
    light = two_lights()
    lights = Light(torch.cat([light.sh, 2 * light.sh]), light.directions, light.colors)
    maps = textured(16)
    both = render(ball, ball.vertices[None].expand(2, -1, -1), rotation, translation, cameras, maps, lights)
    for k in range(2):
        one = render(
            ball, ball.vertices[None], rotation[k : k + 1], translation[k : k + 1], cameras[k], maps,
            Light(lights.sh[k : k + 1], light.directions, light.colors),
        )  # fmt: skip
        torch.testing.assert_close(both.image[k], one.image[0])


def test_focal_override_equals_the_cameras(ball):
    view = ball.vertices[None] + torch.tensor([0.01, 0.02, -0.5])
    camera = Camera(130.0, 21.0, 17.0, 48, 40)
    blunt = Camera(1.0, 21.0, 17.0, 48, 40)
    torch.testing.assert_close(
        clip_positions(view, [blunt], torch.tensor([130.0])), clip_positions(view, [camera]), rtol=1e-5, atol=1e-6
    )


def test_image_sizes_must_agree(ball):
    cameras = [Camera.centered(90.0, 32, 32), Camera.centered(90.0, 32, 40)]
    with pytest.raises(ValueError, match="one image size"):
        render(ball, ball.vertices[None].expand(2, -1, -1), *in_front(2), cameras, textured(4), two_lights())


@pytest.mark.parametrize("diffuse_only", [False, True])
def test_gradients_by_finite_differences(sphere, diffuse_only):
    vertices, triangles = sphere(60)
    uv = torch.stack([vertices[:, 0] * 0.45 + 0.5, 0.5 - vertices[:, 1] * 0.45], -1)
    ball = Ball(vertices * RADIUS_M, triangles, uv, triangles)
    size = 32
    light, maps = two_lights(), textured(3)
    rotation, translation = in_front()
    inputs = [
        t.double().clone().requires_grad_()
        for t in (
            ball.vertices[None], rotation + 0.2, translation, torch.tensor([88.0]), maps.diffuse, maps.specular,
            maps.normals, light.sh, light.directions, light.colors, torch.full((len(vertices),), 0.7),
            torch.tensor(9.0),
        )
    ]  # fmt: skip
    weight = torch.randn(1, size, size, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(5))

    def loss(v, r, t, f, d, s, n, sh, directions, colors, occlusion, shininess):
        drawn = render(
            ball, v, r, t, Camera.centered(1.0, size, size), ReflectanceMaps(d, s, n), Light(sh, directions, colors),
            focal_px=f, occlusion=occlusion, shininess=shininess, diffuse_only=diffuse_only, shadows=False,
        )  # fmt: skip
        return (torch.cat([drawn.image, drawn.mask], -1) * weight).sum()

    analytic = torch.autograd.grad(loss(*inputs), inputs, allow_unused=True)
    generator = torch.Generator().manual_seed(6)
    step = 1e-7
    for index, gradient in enumerate(analytic):
        if gradient is None:
            assert diffuse_only
            continue
        direction = torch.randn(inputs[index].shape, dtype=torch.float64, generator=generator) * (
            RADIUS_M if index == 0 else 1.0
        )
        with torch.no_grad():
            sides = []
            for sign in (1.0, -1.0):
                moved = list(inputs)
                moved[index] = moved[index] + sign * step * direction
                sides.append(loss(*moved))
        numeric = (sides[0] - sides[1]) / (2 * step)
        torch.testing.assert_close((gradient * direction).sum(), numeric, rtol=1e-4, atol=1e-5)


def test_reference_backend_draws_the_same(sphere):
    vertices, triangles = sphere(80)
    uv = torch.stack([vertices[:, 0] * 0.45 + 0.5, 0.5 - vertices[:, 1] * 0.45], -1)
    ball = Ball(vertices * RADIUS_M, triangles, uv, triangles)
    camera, maps, light = Camera.centered(90.0, 32, 32), textured(8), two_lights()
    maps = maps.mapped(lambda _, values: values.double())
    light = Light(*(t.double() for t in vars(light).values()))
    rotation, translation = (t.double() for t in in_front())
    renders = [
        render(ball, ball.vertices[None], rotation, translation, camera, maps, light, backend=backend).image
        for backend in (None, ReferenceBackend())
    ]
    torch.testing.assert_close(renders[0], renders[1])


def test_tangents_point_along_u(ball):
    tangents = vertex_tangents(ball.vertices[None], ball.triangles, ball.uv, ball.uv_triangles)
    front = ball.vertices[:, 2] > 0.8 * RADIUS_M
    assert (tangents[0, front, 0] > 0.7).all()
    # The layout is unmirrored on the front of the ball and mirrored on its back.
    assert (tangents[0, front, 3] == 1.0).all()
    assert (tangents[0, ball.vertices[:, 2] < -0.5 * RADIUS_M, 3] == -1.0).all()


def test_tangents_without_gradients_are_those_with_gradients():
    model = load_default_model()
    vertices = torch.stack([model.mean, 1.1 * model.mean])
    layout = model.triangles, model.uv, model.uv_triangles
    expected = vertex_tangents(vertices.clone().requires_grad_(), *layout).detach()
    torch.testing.assert_close(vertex_tangents(vertices, *layout), expected, atol=1e-6, rtol=0.0)


@pytest.mark.parametrize("shininess", ["default", "per triangle"])
def test_forward_matches_the_differentiable_renderer(shininess):
    model = load_default_model()
    size = 160
    camera, maps, light = Camera.centered(1.9 * size, size, size), textured(64), two_lights()
    pose = HeadPose(np.array([0.1, 0.5, -0.1], np.float32), np.array([0.0, 0.02, -0.62], np.float32))
    background = (0.2, 0.1, 0.05)
    occlusion = torch.rand(model.vertex_count, generator=torch.Generator().manual_seed(1))
    exponent = 24.0 if shininess == "default" else head_shininess(model)
    forward = ForwardRenderer(model, size, shininess=exponent, occlusion=occlusion, shadows=True, threads=3)
    forward.set_maps(maps)
    image, mask = forward.render_with_mask(model.mean.numpy(), pose, camera, light, background)
    rotation, translation = torch.from_numpy(pose.rotation)[None], torch.from_numpy(pose.translation)[None]
    drawn = render(
        model, model.mean[None], rotation, translation, camera, maps, light, shininess=exponent, occlusion=occlusion
    )
    expected = linear_to_bytes((drawn.image + (1 - drawn.mask) * torch.tensor(background))[0].numpy())
    difference = np.abs(image.astype(int) - expected)
    assert (mask > 0).mean() > 0.2
    assert np.quantile(difference, 0.999) <= 2
    assert difference.mean() < 0.1
    assert np.abs(mask / 255.0 - drawn.mask[0, ..., 0].numpy()).max() < 0.01


def test_forward_can_change_maps_and_refuses_another_image_size():
    model = load_default_model()
    forward = ForwardRenderer(model, (48, 64), threads=1)
    pose = HeadPose(np.zeros(3, np.float32), np.array([0.0, 0.0, -0.7], np.float32))
    camera = Camera.centered(80.0, 64, 48)
    renders = []
    for color in ((0.8, 0.1, 0.1), (0.1, 0.1, 0.8)):
        forward.set_maps(ReflectanceMaps.constant(color, 0.0, 2))
        renders.append(forward.render(model.mean.numpy(), pose, camera, Light.ambient()))
    assert renders[0].shape == (48, 64, 3)
    assert renders[0][24, 32, 0] > renders[0][24, 32, 2]
    assert renders[1][24, 32, 0] < renders[1][24, 32, 2]
    with pytest.raises(ValueError, match="64x48"):
        forward.render(model.mean.numpy(), pose, Camera.centered(80.0, 64, 64), Light.ambient())


def test_a_convex_body_is_not_occluded_and_a_mouth_is(ball):
    assert ambient_visibility(ball.vertices, ball.triangles).min() > 0.9
    model = load_default_model()
    occlusion = head_occlusion(model)
    assert occlusion.min() > 0
    assert occlusion[model.vertex_mask(Region.MOUTH_INTERIOR)].median() < 0.35
    assert occlusion[model.vertex_mask(Region.SCALP)].min() == 1.0
    assert head_occlusion(model) is occlusion


def expressed(model, **coefficients):
    expression = torch.zeros(1, len(EXPRESSION_NAMES))
    for name, value in coefficients.items():
        expression[0, expression_index(name)] = value
    with torch.no_grad():
        return model.vertices(torch.zeros(1, model.identity_count), expression)[0]


def test_only_closed_lips_darken_the_mouth():
    model = load_default_model()
    shade, occlusion = mouth_occlusion(model), head_occlusion(model)
    openings = [shade.opening(expressed(model, jawOpen=jaw)) for jaw in (0.0, 0.03, 0.06, 0.3)]
    assert openings == sorted(openings)
    assert openings[0] == 0.0
    assert openings[-1] == 1.0
    shut, opened = (shade.apply(occlusion, expressed(model, jawOpen=jaw)) for jaw in (0.0, 0.5))
    teeth, inside = model.vertex_mask(Region.TEETH), shade.inside
    assert (shut[inside] <= 0.35 * occlusion[inside]).all()
    assert (opened[inside] >= shut[inside]).all()
    wide = shade.apply(occlusion, opened_head(model))
    assert (wide[teeth] / occlusion[teeth]).median() == 1.0
    assert torch.equal(shut[model.vertex_mask(Region.LIPS)], occlusion[model.vertex_mask(Region.LIPS)])


def test_teeth_get_lighter_as_lips_part_and_are_darkest_next_to_them():
    model = load_default_model()
    shade = mouth_occlusion(model, sides=True)
    teeth = model.vertex_mask(Region.TEETH) & (model.mean[:, 0].abs() < 0.006)
    front = teeth & (model.mean[:, 2] > model.mean[teeth, 2].max() - 0.003)
    slits = [
        expressed(model, mouthUpperUpLeft=up, mouthUpperUpRight=up, mouthLowerDownLeft=up, mouthLowerDownRight=up)
        for up in (0.0, 0.3, 0.6, 1.0)
    ]
    light = [shade.light_between_lips(head)[front] for head in slits]
    means = [float(share.mean()) for share in light]
    assert means == sorted(means)
    assert means[0] < 0.1 and means[-1] > 0.35
    # Between the rims of the lips more light arrives than behind either of them.
    height, lips = slits[-1][front, 1], model.landmarks(slits[-1][None])[0]
    middle = ((height - (lips[13, 1] + lips[14, 1]) / 2.0).abs()).argmin()
    assert light[-1][middle] > light[-1][height.argmax()] + 0.2
    # Farther back in the mouth less arrives.
    behind = slits[-1] - torch.tensor([0.0, 0.0, 0.02]) * teeth[:, None]
    assert shade.light_between_lips(behind)[front].mean() < 0.7 * means[-1]


def test_forward_renders_have_dark_mouths():
    model, camera = load_default_model(), Camera.centered(500.0, 160, 160)
    shade, occlusion = mouth_occlusion(model), head_occlusion(model)
    size = (camera.height, camera.width)
    pose = HeadPose(np.zeros(3, np.float32), np.array([0.0, 0.05, -0.4], np.float32))
    vertices = expressed(model, jawOpen=0.03)
    maps = ReflectanceMaps.constant((0.5, 0.5, 0.5), 0.0, 2)
    renders = []
    for factors, mouth in ((occlusion, shade), (shade.apply(occlusion, vertices), None), (occlusion, None)):
        forward = ForwardRenderer(model, size, occlusion=factors, mouth=mouth)
        forward.set_maps(maps)
        renders.append(forward.render(vertices.numpy(), pose, camera, Light.ambient()).astype(int))
    assert np.array_equal(renders[0], renders[1])
    assert (renders[0] <= renders[2]).all()
    assert (renders[0] < renders[2] - 30).any()


def test_back_faces_of_the_mouth_s_lining_are_culled():
    model = load_default_model()
    triangles = model.triangles.int().numpy()
    shade = mouth_occlusion(model)
    behind, before = (expressed(model, jawOpen=0.6).numpy() + np.float32([0.0, 0.0, z]) for z in (0.5, -0.5))
    from_front, from_behind = (shade.cull_back_faces(view, triangles) for view in (before, behind))
    lining = model.triangle_region.numpy() == int(Region.MOUTH_INTERIOR)
    for culled in (from_front, from_behind):
        assert np.array_equal(culled[~lining], triangles[~lining])
        empty = (culled == culled[:, :1]).all(1)
        assert 0.2 < empty[lining].mean() < 0.8
    # From opposite sides of the head, a triangle of the lining is front-facing in only one of the views.
    kept = (from_front == triangles).all(1)[lining], (from_behind == triangles).all(1)[lining]
    assert (kept[0] ^ kept[1]).mean() > 0.8

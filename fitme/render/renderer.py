"""The differentiable renderer: a posed, textured head under a light to linear colours, with gradients to everything."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Protocol

import torch
from torch import Tensor

from fitme.geometry import Camera, transform
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES
from fitme.render.cpu import shading as cpu_shading
from fitme.render.cpu.backend import CpuBackend
from fitme.render.light import Light
from fitme.render.rasterizer import RasterizerBackend, select_backend
from fitme.render.reflection import DEFAULT_SHININESS, DIFFUSE_NORMAL_SHARE
from fitme.render.shading import (
    diffuse_shading,
    perturbed_normals,
    specular_shading,
    unit,
)
from fitme.render.shadows import lit_shares
from fitme.render.tangents import vertex_tangents
from fitme.shape.normals import vertex_normals

Shade = Callable[[Tensor, Tensor, Tensor | None, Tensor, Tensor, Light], tuple[Tensor, Tensor, Tensor]]
"""`shade_covered`, or `fitme.render.cpu.shading.shade` on the CPU backend."""


class TexturedMesh(Protocol):
    """Topology that the renderer needs of a model: triangles in space and in the UV layout."""

    @property
    def triangles(self) -> Tensor:
        """(F, 3) int32."""
        ...

    @property
    def uv(self) -> Tensor:
        """(T, 2) float."""
        ...

    @property
    def uv_triangles(self) -> Tensor:
        """(F, 3) int32."""
        ...


@dataclass(frozen=True)
class Rendering:
    """A render and the terms that it is composed of. Pixels that the mesh does not cover are zero throughout."""

    image: Tensor
    """(B, H, W, 3) linear light over black; antialiased at silhouettes unless that was turned off."""
    mask: Tensor
    """(B, H, W, 1) coverage in [0, 1], antialiased as `image` is: `image + (1 - mask) * background` composes."""
    normals: Tensor
    """(B, H, W, 3) unit normals of the smooth surface, view space, without the normal map."""
    uv: Tensor
    """(B, H, W, 2) texture coordinates."""
    rast: Tensor
    """(B, H, W, 4) see `RasterizerBackend.rasterize`."""
    albedo: Tensor
    """(B, H, W, 3) linear diffuse albedo."""
    diffuse_shading: Tensor
    """(B, H, W, 3) irradiance / pi that multiplies the albedo, occlusion included."""
    specular: Tensor
    """(B, H, W, 3) reflected light, specular albedo and occlusion included; albedo * diffuse_shading + specular is the
    image before antialiasing."""

    def to(self, device: torch.device | str) -> "Rendering":
        """The render with its tensors on a device."""
        return Rendering(**{item.name: getattr(self, item.name).to(device) for item in fields(self)})


def clip_positions(view: Tensor, cameras: Sequence[Camera], focal_px: Tensor | None = None) -> Tensor:
    """Clip-space vertices (B, V, 4) of view-space vertices (B, V, 3), one camera each or one for all.

    :param focal_px: (B,) or scalar, differentiable; replaces the cameras' focal lengths.
    """
    batch = view.shape[0]
    if len(cameras) == 1:
        cameras = list(cameras) * batch
    if focal_px is None:
        return torch.stack([camera.clip(item) for camera, item in zip(cameras, view, strict=True)])
    focal = focal_px.to(view).expand(batch)
    clips = []
    for camera, item, tensor in zip(cameras, view, focal, strict=True):
        unfocused = Camera(0.0, camera.center_x_px, camera.center_y_px, camera.width, camera.height).clip(item)
        shift_x = 2.0 * tensor / camera.width * item[..., 0]
        shift_y = -2.0 * tensor / camera.height * item[..., 1]
        zero = torch.zeros_like(shift_x)
        clips.append(unfocused + torch.stack([shift_x, shift_y, zero, zero], -1))
    return torch.stack(clips)


def render(
    model: TexturedMesh,
    vertices: Tensor,  # (B, V, 3)
    rotation: Tensor,  # (B, 3)
    translation: Tensor,  # (B, 3)
    camera: Camera | Sequence[Camera],
    maps: ReflectanceMaps,
    light: Light,
    *,
    focal_px: Tensor | None = None,
    shininess: float | Tensor = DEFAULT_SHININESS,
    occlusion: Tensor | None = None,
    diffuse_only: bool = False,
    antialias: bool = True,
    shadows: bool = True,
    visible_triangles: Tensor | None = None,
    backend: RasterizerBackend | None = None,
) -> Rendering:
    """Draw heads. Differentiable in every float tensor given, silhouettes included when antialiased.

    :param vertices: model space, metres.
    :param rotation: axis-angle, radians, model to view.
    :param translation: metres, view space.
    :param camera: one for all or one per image; all of one image size.
    :param maps: batch of B or 1.
    :param light: batch of B or 1.
    :param focal_px: (B,) or scalar; replaces the cameras' focal length, for fits that optimise it.
    :param shininess: Blinn-Phong exponent: a number, one per triangle (F,), or a map (B|1, Ht, Wt, 1) in the layout.
    :param occlusion: (V,) or (B, V) share of the surroundings' light that reaches each vertex, in [0, 1]; 1 if None.
    :param diffuse_only: leave out specular reflection and the normal map, at half the cost.
    :param shadows: let directional lights cast shadows; where they fall carries no gradient.
    :param visible_triangles: (F, 3) int32 triangles to draw: the mesh's, culled ones with three equal corners; all if
        None.
    :param backend: rasterizer; by default the one for the vertices' device.
    :raises ValueError: the cameras' image sizes differ.
    """
    cameras = [camera] if isinstance(camera, Camera) else list(camera)
    if len({(c.width, c.height) for c in cameras}) != 1:
        raise ValueError("all cameras of one call must have one image size")
    resolution = (cameras[0].height, cameras[0].width)
    raster = select_backend(vertices.device) if backend is None else backend
    batch = vertices.shape[0]

    # 1. Visibility: the nearest triangle of each pixel.
    view = transform(rotation, translation, vertices)  # (B, V, 3)
    clip = clip_positions(view, cameras, focal_px)
    rast = raster.rasterize(clip, model.triangles if visible_triangles is None else visible_triangles, resolution)

    # 2. Surface of each pixel: all vertex attributes in one interpolation, then the maps at its texture coordinates.
    unoccluded = vertices.new_ones(batch, vertices.shape[1]) if occlusion is None else occlusion.expand(batch, -1)
    corners = torch.cat([vertex_normals(view, model.triangles), view, unoccluded[..., None]], -1)  # (B, V, 7)
    surface = raster.interpolate(corners, rast, model.triangles)
    uv = raster.interpolate(model.uv.to(vertices)[None], rast, model.uv_triangles)
    by_name = maps.by_name()
    textures = [maps.diffuse] if diffuse_only else [by_name[modality.name] for modality in MODALITIES.shaded]
    # Joined at the pixels of the image: the maps have many times as many texels.
    texels = torch.cat([raster.texture(texture, uv) for texture in textures], -1)
    tangents = None
    if not diffuse_only:
        frames = vertex_tangents(view, model.triangles, model.uv, model.uv_triangles)
        tangents = raster.interpolate(frames, rast, model.uv_triangles)

    # 3. Shading; with cast shadows one light at a time, since each has its own lit share.
    covered = (rast[..., 3:] > 0).to(vertices.dtype)
    shade = cpu_shading.shade if isinstance(raster, CpuBackend) else shade_covered
    exponent = _pixel_shininess(shininess, rast, uv, raster)
    if shadows and light.directions.shape[1]:
        lit = _lit_shares(view, model.triangles, rast, surface, light)  # (B, H, W, L)
        diffuse, specular, smooth = _shade_each(shade, rast, surface, tangents, texels, exponent, light, lit)
    else:
        diffuse, specular, smooth = shade(rast, surface, tangents, texels, exponent, light)
    # 4. Composition; antialiasing comes last, as it blends shaded colours across silhouettes.
    albedo = texels[..., :3] * covered
    image = torch.cat([albedo * diffuse + specular, covered], -1)
    if antialias:
        image = raster.antialias(image, rast, clip, model.triangles)
    return Rendering(image[..., :3], image[..., 3:], smooth, uv, rast, albedo, diffuse, specular)


def _lit_shares(view: Tensor, triangles: Tensor, rast: Tensor, surface: Tensor, light: Light) -> Tensor:
    """Share (B, H, W, L) of each directional light that reaches a pixel's surface; 1 in uncovered pixels."""
    covered = rast[..., 3] > 0
    shares = surface.new_ones(*rast.shape[:3], light.directions.shape[1])
    for item in range(rast.shape[0]):
        points = surface[item][covered[item]].detach()  # (N, 7)
        directions = light.directions[item if light.directions.shape[0] > 1 else 0]
        shares[item][covered[item]] = lit_shares(view[item], triangles, directions, points[:, 3:6], unit(points[:, :3]))
    return shares


def _shade_each(
    shade: Shade, rast: Tensor, surface: Tensor, tangents: Tensor | None, texels: Tensor, shininess: Tensor,
    light: Light, lit: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """Shade under the harmonics, then add each directional light times its share `lit` (B, H, W, L) at a pixel.

    :returns: diffuse shading, specular light, smooth unit normals, each (B, H, W, 3).
    """
    surroundings = Light(light.sh, light.directions[:, :0], light.colors[:, :0])
    diffuse, specular, smooth = shade(rast, surface, tangents, texels, shininess, surroundings)
    dark = torch.zeros_like(light.sh)
    for index in range(light.directions.shape[1]):
        part = slice(index, index + 1)
        single = Light(dark, light.directions[:, part], light.colors[:, part])
        lobe, glint, _ = shade(rast, surface, tangents, texels, shininess, single)
        diffuse = diffuse + lit[..., part] * lobe
        specular = specular + lit[..., part] * glint
    return diffuse, specular, smooth


def _pixel_shininess(shininess: float | Tensor, rast: Tensor, uv: Tensor, raster: RasterizerBackend) -> Tensor:
    """Blinn-Phong exponent of each pixel, (B|1, H|1, W|1, 1), from the forms that `render` takes."""
    if not isinstance(shininess, Tensor):
        return rast.new_full((1, 1, 1, 1), shininess)
    if shininess.dim() == 0:
        return shininess.to(rast).reshape(1, 1, 1, 1)
    if shininess.dim() == 1:
        return shininess.to(rast)[(rast[..., 3:].long() - 1).clamp(min=0)]
    return raster.texture(shininess, uv)


def shade_covered(
    rast: Tensor,  # (B, H, W, 4)
    surface: Tensor,  # (B, H, W, 7)
    tangents: Tensor | None,  # (B, H, W, 4)
    texels: Tensor,  # (B, H, W, 3 or 7)
    shininess: Tensor,  # (B|1, H|1, W|1, 1)
    light: Light,
) -> tuple[Tensor, Tensor, Tensor]:
    """`fitme.render.cpu.shading.shade` in plain torch, for any device."""
    covered = (rast[..., 3:] > 0).to(surface.dtype)
    smooth = unit(surface[..., :3])
    if tangents is None:
        diffuse = diffuse_shading(smooth, light)
        specular = torch.zeros_like(diffuse)
    else:
        rough = perturbed_normals(smooth, tangents, texels[..., 4:7])
        diffuse = diffuse_shading(unit(torch.lerp(smooth, rough, DIFFUSE_NORMAL_SHARE)), light)
        specular = specular_shading(rough, unit(-surface[..., 3:6]), light, shininess) * texels[..., 3:4]
    visible = surface[..., 6:] * covered
    return diffuse * visible, specular * visible, smooth * covered

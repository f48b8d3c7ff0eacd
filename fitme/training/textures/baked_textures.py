"""Simulated user textures, baked from maps of known reflectance: under random light or none, with errors of exposure,
blur, noise, JPEG artefacts and missing parts. They are the inputs that the translation network is trained on."""

import io
import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as functional
from PIL import Image
from torch import Tensor

from fitme.color import linear_to_srgb, srgb_to_linear
from fitme.render.occlusion import ambient_visibility
from fitme.render.reflection import DIFFUSE_NORMAL_SHARE
from fitme.render.shading import (
    diffuse_shading,
    perturbed_normals,
    specular_shading,
    unit,
)
from fitme.render.tangents import vertex_tangents
from fitme.shape.model_file import load_default_model
from fitme.shape.normals import vertex_normals
from fitme.shape.raster import uv_raster
from fitme.shape.regions import Region
from fitme.skin.texel_geometry import default_texel_geometry
from fitme.synthetic.lights import smooth_and_sharp_lights

LEAST_OCCLUSION = 0.3
"""Least ambient occlusion in baked textures, which the insides of mouth and nose have."""
_FRONT = (0.0, 0.0, 1.0)
"""Direction to the front of the head, model frame."""


@dataclass(frozen=True)
class BakingSettings:
    """Distribution of baked textures. Sigmas are standard deviations of logarithms."""

    plain_share: float = 0.3
    """Share of textures without light, which equal the diffuse albedo."""
    mean_shading: float = 0.9
    """Median shading of the face's skin."""
    exposure_log_sigma: float = 0.22
    white_balance_log_sigma: float = 0.05
    tint_log_sigma: float = 0.1
    """Colour of single lights, warm to cold."""
    directional_share: tuple[float, float] = (0.1, 0.9)
    """Range of the share of directional light in all light."""
    blurred_share: float = 0.5
    largest_blur: float = 0.9
    """Largest standard deviation of the blur, texels of maps of 256 a side."""
    largest_noise: float = 0.015
    """Largest standard deviation of the noise, sRGB-encoded."""
    compressed_share: float = 0.5
    jpeg_quality: tuple[int, int] = (45, 95)
    without_eyes_and_mouth_share: float = 0.35
    """Share of textures without eyeballs, teeth and the inside of the mouth."""
    front_only_share: float = 0.25
    """Share of textures that contain only texels visible from the front."""
    hole_share: float = 0.2
    """Share of textures with a round hole."""


@dataclass(frozen=True, eq=False)
class HeadSurface:
    """Geometry of the mean head per texel of the layout."""

    normals: Tensor
    """(R, R, 3) unit, model frame; zero between islands."""
    tangents: Tensor
    """(R, R, 4) as in `shading.perturbed_normals`."""
    occlusion: Tensor
    """(R, R, 1) ambient occlusion: visible share of the surroundings."""
    covered: Tensor
    """(R, R) bool."""
    eyes_and_mouth: Tensor
    """(R, R) bool: eyeballs, teeth and the inside of the mouth."""
    face: Tensor
    """(R, R, 1) float: skin of the face's front, where exposure is measured."""


@cache
def head_surface(resolution: int) -> HeadSurface:
    """Surface of the package's own head."""
    model, texel_geometry = load_default_model(), default_texel_geometry(resolution)
    coverage = uv_raster(model, resolution)
    triangles, uv_triangles = model.triangles.numpy(), model.uv_triangles.numpy()
    normals = vertex_normals(model.mean[None], model.triangles)[0]
    tangents = vertex_tangents(model.mean[None], model.triangles, model.uv, model.uv_triangles)[0]
    visible = ambient_visibility(model.mean, model.triangles)[:, None].clamp(min=LEAST_OCCLUSION)
    occlusion = coverage.interpolate(visible.numpy(), triangles)
    face = texel_geometry.covered & texel_geometry.is_region(Region.SKIN)
    return HeadSurface(
        normals=unit(torch.from_numpy(coverage.interpolate(normals.numpy(), triangles))),
        tangents=torch.from_numpy(coverage.interpolate(tangents.numpy(), uv_triangles)),
        occlusion=torch.from_numpy(np.where(texel_geometry.covered[..., None], occlusion, 1.0).astype(np.float32)),
        covered=torch.from_numpy(texel_geometry.covered),
        eyes_and_mouth=torch.from_numpy(texel_geometry.is_region(Region.EYES, Region.TEETH, Region.MOUTH_INTERIOR)),
        face=torch.from_numpy(face[..., None].astype(np.float32)),
    )


def bake(
    maps: Tensor,  # (B, 6, R, R) as `MapDataset.batch`
    settings: BakingSettings,
    random: torch.Generator,
    *,
    lit: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """Baked textures (B, 3, R, R), sRGB-encoded, and their coverage (B, 1, R, R). `lit` sets for all whether they
    contain light; by default the settings' share of them do."""
    batch, resolution = len(maps), maps.shape[-1]
    surface = head_surface(resolution)
    chosen = _uniform(random, batch) >= settings.plain_share
    if lit is not None:
        chosen = torch.full((batch,), lit)
    texture = maps[:, :3].clone()
    if bool(chosen.any()):
        texture[chosen] = _lit(maps[chosen], surface, settings, random)
    texture = _blurred(texture, settings, random)
    texture = texture + settings.largest_noise * _uniform(random, batch, 1, 1, 1) * torch.randn(
        texture.shape, generator=random
    )
    texture = _compressed(texture.clamp(0.0, 1.0), settings, random)
    coverage = _coverage(batch, surface, settings, random)
    return texture * coverage, coverage


def _lit(maps: Tensor, surface: HeadSurface, settings: BakingSettings, random: torch.Generator) -> Tensor:
    """Textures (B, 3, R, R), sRGB-encoded, under a random light each."""
    batch = len(maps)
    channels = maps.permute(0, 2, 3, 1)
    albedo, specular, slopes = srgb_to_linear(channels[..., :3]), channels[..., 3:4], channels[..., 4:]
    normals = surface.normals.expand(batch, -1, -1, -1)
    tangents = surface.tangents.expand(batch, -1, -1, -1)
    ones = torch.ones_like(slopes[..., :1])
    rough = perturbed_normals(normals, tangents, torch.cat([slopes, ones], -1))
    smooth = perturbed_normals(normals, tangents, torch.cat([DIFFUSE_NORMAL_SHARE * slopes, ones], -1))
    # Bakers average over viewing directions or fix one: the viewer lies between the normal and the front.
    light = smooth_and_sharp_lights(batch, settings.directional_share, settings.tint_log_sigma, random)
    shading = diffuse_shading(smooth, light)
    frontal = _uniform(random, batch, 1, 1, 1)
    to_viewer = unit(normals + 2.0 * frontal * torch.tensor(_FRONT))
    specular_term = _uniform(random, batch, 1, 1, 1) * specular * specular_shading(rough, to_viewer, light)
    occlusion = surface.occlusion ** _uniform(random, batch, 1, 1, 1)
    level = (shading.mean(-1, keepdim=True) * surface.face).sum((1, 2, 3)) / surface.face.sum()
    exposure = settings.mean_shading * (settings.exposure_log_sigma * _normal(random, batch, 1)).exp()
    balance = exposure * (settings.white_balance_log_sigma * _normal(random, batch, 3)).exp()
    gain = (balance / level.clamp(min=1e-3)[:, None])[:, None, None]
    return linear_to_srgb(gain * occlusion * (albedo * shading + specular_term)).permute(0, 3, 1, 2)


def _blurred(texture: Tensor, settings: BakingSettings, random: torch.Generator) -> Tensor:
    """Textures (B, 3, R, R), a share of them blurred by a Gaussian of a random width."""
    result = texture.clone()
    largest = settings.largest_blur * texture.shape[-1] / 256.0
    for index in range(len(texture)):
        if float(_uniform(random, 1)) < settings.blurred_share:
            sigma = max(largest * float(_uniform(random, 1)), 0.1)
            reach = math.ceil(3.0 * sigma)
            kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma) ** 2)
            kernel = (kernel / kernel.sum()).expand(3, 1, -1)
            padded = functional.pad(texture[index : index + 1], (reach,) * 4, mode="replicate")
            rows = functional.conv2d(padded, kernel[..., None], groups=3)
            result[index] = functional.conv2d(rows, kernel[..., None, :], groups=3)[0]
    return result


def _compressed(texture: Tensor, settings: BakingSettings, random: torch.Generator) -> Tensor:
    """Textures (B, 3, R, R), a share of them after JPEG compression of a random quality."""
    result = texture.clone()
    low, high = settings.jpeg_quality
    for index in range(len(texture)):
        if float(_uniform(random, 1)) < settings.compressed_share:
            codes = np.rint(texture[index].permute(1, 2, 0).numpy() * 255.0).astype(np.uint8)
            buffer = io.BytesIO()
            quality = low + round((high - low) * float(_uniform(random, 1)))
            Image.fromarray(codes).save(buffer, "JPEG", quality=quality)
            result[index] = torch.from_numpy(np.array(Image.open(buffer))).permute(2, 0, 1) / 255.0
    return result


def _coverage(batch: int, surface: HeadSurface, settings: BakingSettings, random: torch.Generator) -> Tensor:
    """Random coverage (B, 1, R, R) in [0, 1]: without eyes and mouth, front only, with a hole."""
    known = surface.covered.float().expand(batch, 1, -1, -1).clone()
    without_eyes_and_mouth = _uniform(random, batch) < settings.without_eyes_and_mouth_share
    known[without_eyes_and_mouth] *= ~surface.eyes_and_mouth
    front_only = _uniform(random, batch) < settings.front_only_share
    limit = 0.6 * _uniform(random, batch, 1, 1, 1) - 0.2
    facing = ((surface.normals[..., 2] - limit) * 8.0 + 0.5).clamp(0.0, 1.0)
    known[front_only] *= facing[front_only]
    resolution = known.shape[-1]
    centres = (torch.arange(resolution) + 0.5) / resolution
    v, u = torch.meshgrid(centres, centres, indexing="ij")
    place, radius = _uniform(random, batch, 2, 1, 1), 0.03 + 0.15 * _uniform(random, batch, 1, 1)
    distance = torch.hypot(u - place[:, 0], v - place[:, 1]) / radius
    holes = (_uniform(random, batch) < settings.hole_share)[:, None, None] * ((1.0 - distance) * 10.0).clamp(0.0, 1.0)
    return known * (1.0 - holes)[:, None]


def _uniform(random: torch.Generator, *shape: int) -> Tensor:
    return torch.rand(*shape, generator=random)


def _normal(random: torch.Generator, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=random)

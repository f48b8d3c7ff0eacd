"""Reflection of light by skin: spherical-harmonics irradiance, directional lights, normalised Blinn-Phong.

Outgoing light = occlusion (albedo * diffuse_shading + specular_albedo * specular_shading), all linear. A specular
albedo of 1 reflects 4 % at normal incidence, as a specular factor of 1 does in glTF's KHR_materials_specular.
"""

import math

import torch
from torch import Tensor

from fitme.render.light import Light
from fitme.render.reflection import (
    DEFAULT_SHININESS,
    GRAZING_REFLECTANCE,
    MIN_COSINE,
    NORMAL_REFLECTANCE,
    SH_COUNT,
    SH_NORMS,
    SMALLEST_SQUARE,
    blinn_phong_factor,
)


def sh_basis(normals: Tensor) -> Tensor:
    """Real spherical harmonics up to order 2 of unit vectors.

    :param normals: (..., 3).
    :returns: (..., 9) in the order of `Light.sh`: Y00, Y1-1, Y10, Y11, Y2-2, Y2-1, Y20, Y21, Y22.
    """
    x, y, z = normals.unbind(-1)
    polynomials = (torch.ones_like(x), y, z, x, x * y, y * z, 3.0 * z * z - 1.0, x * z, x * x - y * y)
    return torch.stack([norm * values for norm, values in zip(SH_NORMS, polynomials, strict=True)], -1)


def sh_irradiance_of_directional(direction: Tensor, color: Tensor) -> Tensor:
    """Order-2 coefficients (..., 9, 3), as `Light.sh` has them, of a directional light's clamped cosine.

    :param direction: (..., 3) unit vector towards the light.
    :param color: (..., 3) its intensity.
    """
    # Clamped-cosine zonal factors A_l = pi, 2 pi / 3, pi / 4 (Ramamoorthi and Hanrahan, 2001).
    bands = torch.tensor([math.pi] + [2.0 * math.pi / 3.0] * 3 + [math.pi / 4.0] * 5)
    return (sh_basis(direction) * bands.to(direction))[..., None] * color[..., None, :]


def sh_shading(normals: Tensor, sh: Tensor) -> Tensor:
    """Irradiance / pi at unit normals (B, ..., 3) under coefficients (B|1, 9, 3): (B, ..., 3), clamped at zero."""
    batch = normals.shape[0]
    shading = torch.bmm(sh_basis(normals).reshape(batch, -1, SH_COUNT), sh.expand(batch, -1, -1))
    return shading.clamp(min=0.0).reshape(*normals.shape[:-1], 3)


def diffuse_shading(normals: Tensor, light: Light) -> Tensor:
    """Irradiance / pi, which a white diffuse surface reflects: (B, ..., 3) at unit view-space normals (B, ..., 3)."""
    shading = sh_shading(normals, light.sh)
    if light.directions.shape[1] == 0:
        return shading
    batch = normals.shape[0]
    cosine = torch.bmm(normals.reshape(batch, -1, 3), light.directions.transpose(1, 2).expand(batch, -1, -1))
    lit = torch.bmm(cosine.clamp(min=0.0), light.colors.expand(batch, -1, -1))
    return shading + lit.reshape(shading.shape)


def blinn_phong(
    normals: Tensor,
    to_viewer: Tensor,
    direction: Tensor,
    shininess: Tensor | float,
) -> Tensor:
    """Specular reflection of one directional light of unit intensity by a specular albedo of 1.

    `NORMAL_REFLECTANCE` (s + 8) / 8 max(0, n . h)^s max(0, n . l), h half-way between viewer and light.

    :param normals: (..., 3) unit vectors.
    :param to_viewer: (..., 3) unit vectors towards the eye.
    :param direction: (3,) or (..., 3) unit vectors towards the light.
    :param shininess: exponent s > 0, a number or (..., 1).
    :returns: (..., 1).
    """
    half = to_viewer + direction
    half_length = (half * half).sum(-1, keepdim=True).clamp(min=SMALLEST_SQUARE).sqrt()
    cos_half = (normals * half).sum(-1, keepdim=True) / half_length
    cos_light = (normals * direction).sum(-1, keepdim=True)
    lobe = cos_half.clamp(min=MIN_COSINE).pow(shininess)
    return NORMAL_REFLECTANCE * blinn_phong_factor(shininess) * lobe * cos_light.clamp(min=0.0)


def ambient_reflectance(facing: Tensor) -> Tensor:
    """Share of ambient light that a specular albedo of 1 mirrors, in the shape of `facing`.

    Schlick's approximation of Fresnel's law ("An inexpensive BRDF model", 1994) between `NORMAL_REFLECTANCE` and
    `GRAZING_REFLECTANCE`: low where skin faces the viewer, where any excess is visible on dark skin.

    :param facing: cosine between normal and direction to the viewer; values below 0, which only
        interpolated normals reach, count as 0.
    """
    return NORMAL_REFLECTANCE + (GRAZING_REFLECTANCE - NORMAL_REFLECTANCE) * (1.0 - facing.clamp(0.0, 1.0)) ** 5


def specular_shading(
    normals: Tensor,  # (B, ..., 3)
    to_viewer: Tensor,  # (B, ..., 3)
    light: Light,
    shininess: Tensor | float = DEFAULT_SHININESS,
) -> Tensor:
    """Specular light of a surface of specular albedo 1 towards the viewer: (B, ..., 3), linear.

    Blinn-Phong for each directional light. For the spherical harmonics, irradiance / pi in the mirror direction times
    `ambient_reflectance`: order 2 is too smooth for highlights, but keeps the broad specular gradient of the room.

    :param normals: unit, view space.
    :param to_viewer: unit, view space.
    :param shininess: a number or (B, ..., 1).
    """
    facing = (normals * to_viewer).sum(-1, keepdim=True)
    mirror = 2.0 * facing * normals - to_viewer
    shading = ambient_reflectance(facing) * sh_shading(mirror, light.sh)
    ones = (1,) * (normals.dim() - 2)
    for index in range(light.directions.shape[1]):
        direction = light.directions[:, index].reshape(-1, *ones, 3)
        color = light.colors[:, index].reshape(-1, *ones, 3)
        shading = shading + blinn_phong(normals, to_viewer, direction, shininess) * color
    return shading


def perturbed_normals(normals: Tensor, tangents: Tensor, mapped: Tensor) -> Tensor:
    """Transform tangent-space normals into the space of a surface's normals: unit (..., 3).

    :param normals: (..., 3) interpolated normals of the surface, unit.
    :param tangents: (..., 4) interpolated tangents, any length; the fourth number's sign is the frame's handedness, as
        in glTF: bitangent = cross(normal, tangent) * sign.
    :param mapped: (..., 3) tangent-space normals, see `ReflectanceMaps.normals`; normalised here.
    """
    along = tangents[..., :3]
    tangent = unit(along - normals * (normals * along).sum(-1, keepdim=True))
    sign = torch.where(tangents[..., 3:] < 0, -1.0, 1.0).to(normals.dtype)
    bitangent = torch.linalg.cross(normals, tangent) * sign
    return unit(tangent * mapped[..., 0:1] + bitangent * mapped[..., 1:2] + normals * mapped[..., 2:3])


def unit(vectors: Tensor) -> Tensor:
    """Vectors (..., 3) scaled to length 1; zero stays zero, with a finite gradient."""
    return vectors * (vectors * vectors).sum(-1, keepdim=True).clamp(min=SMALLEST_SQUARE).rsqrt()

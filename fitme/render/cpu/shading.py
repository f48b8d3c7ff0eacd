"""Shading of covered pixels on the CPU in one pass, with gradients: `fitme.render.shading` as one kernel."""

from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.cpu.rasterize import Floats
from fitme.render.cpu.reflection_formulas import (
    Vector,
    blinn_phong_factor,
    cross,
    dot,
    half_cosine,
    inverse_length,
    mapped_normal,
    mapped_normals,
    mirrored,
    plus,
    scaled,
    schlick_rise,
    sh_polynomials,
)
from fitme.render.light import Light
from fitme.render.reflection import (
    DIFFUSE_NORMAL_SHARE,
    GRAZING_REFLECTANCE,
    MIN_COSINE,
    NORMAL_REFLECTANCE,
    SH_BAND_0,
    SH_BAND_1,
    SH_BAND_2,
    SH_BAND_2_SECTORAL,
    SH_BAND_2_ZONAL,
    SH_COUNT,
    SMALLEST_SQUARE,
)

OUTPUT_CHANNELS = 9
"""Diffuse shading (3), specular light (3), smooth unit normal (3)."""
_GRAZING_SURPLUS = GRAZING_REFLECTANCE - NORMAL_REFLECTANCE


@relaxed_kernel
def _unit_backward(gradient: Vector, unit: Vector, inverse_length: float) -> Vector:
    """Gradient of a vector from the gradient of its unit direction: backward pass of normalisation."""
    return scaled(plus(gradient, unit, -dot(gradient, unit)), inverse_length)


@relaxed_kernel
def _vector(values: Floats, first: int) -> Vector:
    """Three consecutive values as a vector in double precision."""
    return float(values[first]), float(values[first + 1]), float(values[first + 2])


@relaxed_kernel
def _add(values: Floats, first: int, vector: Vector) -> None:
    """Add a vector to three consecutive values."""
    values[first] += vector[0]
    values[first + 1] += vector[1]
    values[first + 2] += vector[2]


@relaxed_kernel
def _sh(sh: Floats, channel: int, n: Vector) -> float:
    """Irradiance / pi at a unit normal, not clamped, from coefficients (9, 3)."""
    y, z, x, xy, yz, zonal, xz, sectoral = sh_polynomials(n)
    value: float = (
        SH_BAND_0 * sh[0, channel]
        + SH_BAND_1 * (y * sh[1, channel] + z * sh[2, channel] + x * sh[3, channel])
        + SH_BAND_2 * (xy * sh[4, channel] + yz * sh[5, channel] + xz * sh[7, channel])
        + SH_BAND_2_ZONAL * zonal * sh[6, channel]
        + SH_BAND_2_SECTORAL * sectoral * sh[8, channel]
    )
    return value


@relaxed_kernel
def _sh_backward(sh: Floats, channel: int, n: Vector, gradient: float, grad_sh: Floats) -> Vector:
    """Add the coefficients' gradient to `grad_sh`; return the normal's gradient."""
    y, z, x, xy, yz, zonal, xz, sectoral = sh_polynomials(n)
    grad_sh[0, channel] += gradient * SH_BAND_0
    grad_sh[1, channel] += gradient * SH_BAND_1 * y
    grad_sh[2, channel] += gradient * SH_BAND_1 * z
    grad_sh[3, channel] += gradient * SH_BAND_1 * x
    grad_sh[4, channel] += gradient * SH_BAND_2 * xy
    grad_sh[5, channel] += gradient * SH_BAND_2 * yz
    grad_sh[6, channel] += gradient * SH_BAND_2_ZONAL * zonal
    grad_sh[7, channel] += gradient * SH_BAND_2 * xz
    grad_sh[8, channel] += gradient * SH_BAND_2_SECTORAL * sectoral
    c1, c2, c3 = SH_BAND_1 * sh[1, channel], SH_BAND_1 * sh[2, channel], SH_BAND_1 * sh[3, channel]
    c4, c5, c7 = SH_BAND_2 * sh[4, channel], SH_BAND_2 * sh[5, channel], SH_BAND_2 * sh[7, channel]
    c6, c8 = 6.0 * SH_BAND_2_ZONAL * sh[6, channel], 2.0 * SH_BAND_2_SECTORAL * sh[8, channel]
    return (
        gradient * (c3 + y * c4 + z * c7 + x * c8),
        gradient * (c1 + x * c4 + z * c5 - y * c8),
        gradient * (c2 + y * c5 + x * c7 + z * c6),
    )


@relaxed_kernel
def _ambient_reflectance(facing: float) -> tuple[float, float]:
    """`fitme.render.shading.ambient_reflectance` and its slope."""
    fourth, aside = schlick_rise(facing)
    rise = _GRAZING_SURPLUS * fourth
    slope = -5.0 * rise if 0.0 < facing < 1.0 else 0.0
    return NORMAL_REFLECTANCE + rise * aside, slope


@relaxed_kernel
def _shade(
    glossy: bool,
    rast: Floats,
    surface: Floats,
    tangents: Floats,
    texels: Floats,
    shininess: Floats,
    sh: Floats,
    directions: Floats,
    colors: Floats,
    out: Floats,
) -> None:
    """Write the `OUTPUT_CHANNELS` of one item into `out`; arguments as in `shade`, without the batch."""
    for row in range(rast.shape[0]):
        for column in range(rast.shape[1]):
            if rast[row, column, 3] == 0.0:
                continue
            here, result = surface[row, column], out[row, column]
            n = _vector(here, 0)
            n = scaled(n, inverse_length(n, SMALLEST_SQUARE))
            visible = float(here[6])
            soft = n
            # Specular term and normal map are left out together, where only the diffuse term is wanted.
            if glossy:
                along, mapped = _vector(tangents[row, column], 0), _vector(texels[row, column], 4)
                sign = -1.0 if tangents[row, column, 3] < 0.0 else 1.0
                r, soft = mapped_normals(n, along, sign, mapped, DIFFUSE_NORMAL_SHARE, SMALLEST_SQUARE)
                v = scaled(_vector(here, 3), -1.0)
                v = scaled(v, inverse_length(v, SMALLEST_SQUARE))
                # Ambient light in the mirror direction, by Fresnel reflectance.
                facing = dot(r, v)
                mirror = mirrored(r, v, facing)
                reflectance, _ = _ambient_reflectance(facing)
                exponent = float(shininess[row % shininess.shape[0], column % shininess.shape[1], 0])
                strength = visible * texels[row, column, 3]
                for c in range(3):
                    ambient = reflectance * max(_sh(sh, c, mirror), 0.0)
                    result[3 + c] = strength * ambient
                # Blinn-Phong lobes; exp and log replace the slower power.
                for index in range(directions.shape[0]):
                    light = _vector(directions[index], 0)
                    cos_light = dot(r, light)
                    if cos_light <= 0.0:
                        continue
                    cos_half = max(half_cosine(r, v, light, SMALLEST_SQUARE), MIN_COSINE)
                    scale = NORMAL_REFLECTANCE * blinn_phong_factor(exponent)
                    glint = scale * np.exp(exponent * np.log(cos_half)) * cos_light
                    for c in range(3):
                        result[3 + c] += strength * glint * colors[index, c]
            # Diffuse term on the softened normal.
            for c in range(3):
                result[c] = visible * max(_sh(sh, c, soft), 0.0)
                result[6 + c] = n[c]
            for index in range(directions.shape[0]):
                cosine = visible * max(dot(soft, _vector(directions[index], 0)), 0.0)
                for c in range(3):
                    result[c] += cosine * colors[index, c]


@relaxed_kernel
def _shade_backward(
    glossy: bool,
    rast: Floats,
    surface: Floats,
    tangents: Floats,
    texels: Floats,
    shininess: Floats,
    sh: Floats,
    directions: Floats,
    colors: Floats,
    grad_out: Floats,
    grad_surface: Floats,
    grad_tangents: Floats,
    grad_texels: Floats,
    grad_shininess: Floats,
    grad_sh: Floats,
    grad_directions: Floats,
    grad_colors: Floats,
) -> None:
    """Backward pass of `_shade`: recompute each pixel's intermediate values, then apply the chain rule in reverse."""
    zero = (0.0, 0.0, 0.0)
    for row in range(rast.shape[0]):
        for column in range(rast.shape[1]):
            if rast[row, column, 3] == 0.0:
                continue
            here, g = surface[row, column], grad_out[row, column]
            # Forward values of the normals: smooth n, mapped r, softened one of the diffuse term.
            n0 = _vector(here, 0)
            n_scale = inverse_length(n0, SMALLEST_SQUARE)
            n = scaled(n0, n_scale)
            visible = float(here[6])
            grad_n, grad_r, grad_v = _vector(g, 6), zero, zero
            grad_visible = 0.0
            grad_diffuse = scaled(_vector(g, 0), visible)
            soft, soft_scale = n, 1.0
            if glossy:
                t0 = _vector(tangents[row, column], 0)
                along = dot(n, t0)
                t = plus(t0, n, -along)
                t_scale = inverse_length(t, SMALLEST_SQUARE)
                t = scaled(t, t_scale)
                sign = -1.0 if tangents[row, column, 3] < 0.0 else 1.0
                mapped = _vector(texels[row, column], 4)
                r, b = mapped_normal(n, t, sign, mapped)
                r_scale = inverse_length(r, SMALLEST_SQUARE)
                r = scaled(r, r_scale)
                soft = plus(n, plus(r, n, -1.0), DIFFUSE_NORMAL_SHARE)
                soft_scale = inverse_length(soft, SMALLEST_SQUARE)
                soft = scaled(soft, soft_scale)

            # Diffuse term: harmonics and clamped cosines; a clamped value carries no gradient.
            grad_soft = zero
            for c in range(3):
                level = _sh(sh, c, soft)
                if level > 0.0:
                    grad_visible += g[c] * level
                    grad_soft = plus(grad_soft, _sh_backward(sh, c, soft, grad_diffuse[c], grad_sh), 1.0)
            for index in range(directions.shape[0]):
                light = _vector(directions[index], 0)
                cosine = dot(soft, light)
                if cosine <= 0.0:
                    continue
                weight = 0.0
                for c in range(3):
                    weight += grad_diffuse[c] * colors[index, c]
                    grad_visible += g[c] * cosine * colors[index, c]
                    grad_colors[index, c] += grad_diffuse[c] * cosine
                grad_soft = plus(grad_soft, light, weight)
                _add(grad_directions[index], 0, scaled(soft, weight))

            # Specular term: mirrored ambient light, then one Blinn-Phong lobe per directional light.
            if glossy:
                v = scaled(_vector(here, 3), -1.0)
                v_scale = inverse_length(v, SMALLEST_SQUARE)
                v = scaled(v, v_scale)
                facing = dot(r, v)
                mirror = mirrored(r, v, facing)
                row_s, column_s = row % shininess.shape[0], column % shininess.shape[1]
                exponent = float(shininess[row_s, column_s, 0])
                albedo = float(texels[row, column, 3])
                incoming = _vector(g, 3)
                grad_gloss = scaled(incoming, visible * albedo)
                reflectance, slope = _ambient_reflectance(facing)
                reflected, grad_facing = 0.0, 0.0
                grad_mirror = zero
                for c in range(3):
                    level = _sh(sh, c, mirror)
                    if level > 0.0:
                        reflected += incoming[c] * reflectance * level
                        grad_facing += grad_gloss[c] * slope * level
                        share = grad_gloss[c] * reflectance
                        grad_mirror = plus(grad_mirror, _sh_backward(sh, c, mirror, share, grad_sh), 1.0)
                turn = 2.0 * dot(grad_mirror, r) + grad_facing
                grad_r = plus(scaled(grad_mirror, 2.0 * facing), v, turn)
                grad_v = plus(scaled(r, turn), grad_mirror, -1.0)
                for index in range(directions.shape[0]):
                    light = _vector(directions[index], 0)
                    cos_light = dot(r, light)
                    if cos_light <= 0.0:
                        continue
                    half = plus(v, light, 1.0)
                    half_scale = inverse_length(half, SMALLEST_SQUARE)
                    half = scaled(half, half_scale)
                    cos_half = max(dot(r, half), MIN_COSINE)
                    power = np.exp(exponent * np.log(cos_half))
                    factor = NORMAL_REFLECTANCE * blinn_phong_factor(exponent)
                    weight, brightness = 0.0, 0.0
                    for c in range(3):
                        weight += grad_gloss[c] * colors[index, c]
                        brightness += incoming[c] * colors[index, c]
                        grad_colors[index, c] += grad_gloss[c] * factor * power * cos_light
                    reflected += brightness * factor * power * cos_light
                    grad_shininess[row_s, column_s, 0] += (
                        weight * cos_light * power * (NORMAL_REFLECTANCE / 8.0 + factor * np.log(cos_half))
                    )
                    grad_light = scaled(r, weight * factor * power)
                    grad_r = plus(grad_r, light, weight * factor * power)
                    if cos_half > MIN_COSINE:
                        slope = weight * cos_light * factor * exponent * power / cos_half
                        grad_r = plus(grad_r, half, slope)
                        grad_half = _unit_backward(scaled(r, slope), half, half_scale)
                        grad_v = plus(grad_v, grad_half, 1.0)
                        grad_light = plus(grad_light, grad_half, 1.0)
                    _add(grad_directions[index], 0, grad_light)
                grad_visible += albedo * reflected
                grad_texels[row, column, 3] = visible * reflected

                # Back through the normal map: r = unit(mapped[0] t + mapped[1] b + mapped[2] n).
                grad_soft = _unit_backward(grad_soft, soft, soft_scale)
                grad_n = plus(grad_n, grad_soft, 1.0 - DIFFUSE_NORMAL_SHARE)
                grad_r = plus(grad_r, grad_soft, DIFFUSE_NORMAL_SHARE)
                grad_r = _unit_backward(grad_r, r, r_scale)
                _add(grad_texels[row, column], 4, (dot(grad_r, t), dot(grad_r, b), dot(grad_r, n)))
                grad_b = scaled(grad_r, mapped[1] * sign)
                grad_n = plus(plus(grad_n, grad_r, mapped[2]), cross(t, grad_b), 1.0)
                grad_t = plus(scaled(grad_r, mapped[0]), cross(grad_b, n), 1.0)
                # Back through the orthogonalisation t = unit(t0 - (n . t0) n).
                grad_t = _unit_backward(grad_t, t, t_scale)
                grad_along = -dot(grad_t, n)
                grad_n = plus(plus(grad_n, grad_t, -along), t0, grad_along)
                _add(grad_tangents[row, column], 0, plus(grad_t, n, grad_along))
                _add(grad_surface[row, column], 3, scaled(_unit_backward(grad_v, v, v_scale), -1.0))
            else:
                grad_n = plus(grad_n, grad_soft, 1.0)
            _add(grad_surface[row, column], 0, _unit_backward(grad_n, n, n_scale))
            grad_surface[row, column, 6] = grad_visible


class _Shade(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rast: Tensor, glossy: bool, *inputs: Tensor) -> Tensor:  # noqa: ANN401
        inputs = tuple(values.contiguous() for values in inputs)
        out = rast.new_zeros(*rast.shape[:3], OUTPUT_CHANNELS)
        for item in range(rast.shape[0]):
            _shade(glossy, _plane(rast, item), *(_plane(values, item) for values in inputs), _plane(out, item))  # type: ignore[call-arg]
        ctx.save_for_backward(rast, *inputs)
        ctx.glossy = glossy
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ANN401
        rast, *inputs = ctx.saved_tensors
        grad_out = grads[0].contiguous()
        gradients = [torch.zeros_like(values) for values in inputs]
        for item in range(rast.shape[0]):
            _shade_backward(  # type: ignore[call-arg]
                ctx.glossy, _plane(rast, item), *(_plane(values, item) for values in inputs), _plane(grad_out, item),
                *(_plane(values, item) for values in gradients),
            )  # fmt: skip
        return None, None, *gradients


def _plane(values: Tensor, item: int) -> Floats:
    """Item of a batch as an array; of a tensor of batch 1, its only item."""
    part: Floats = values[item if values.shape[0] > 1 else 0].detach().numpy()
    return part


def shade(
    rast: Tensor,  # (B, H, W, 4)
    surface: Tensor,  # (B, H, W, 7)
    tangents: Tensor | None,  # (B, H, W, 4)
    texels: Tensor,  # (B, H, W, 7)
    shininess: Tensor,  # (B|1, H|1, W|1, 1)
    light: Light,
) -> tuple[Tensor, Tensor, Tensor]:
    """Shade covered pixels; all others are zero. Differentiable in all but rast.

    :param surface: interpolated normal (3), view-space position (3), occlusion.
    :param tangents: interpolated tangents and handedness; None shades only the diffuse term without normal map.
    :param texels: diffuse albedo (3), specular albedo, tangent-space normal (3); unused without tangents.
    :returns: diffuse shading, specular light, smooth unit normals, each (B, H, W, 3).
    """
    if light.sh.shape[1:] != (SH_COUNT, 3):
        raise ValueError(f"light.sh must be (B, {SH_COUNT}, 3), got {tuple(light.sh.shape)}")
    glossy = tangents is not None
    frames = rast.new_zeros(1, 1, 1, 4) if tangents is None else tangents
    out = cast(
        Tensor,
        _Shade.apply(  # type: ignore[no-untyped-call]
            rast.detach(), glossy, surface, frames, texels, shininess, light.sh, light.directions, light.colors
        ),
    )
    return out[..., :3], out[..., 3:6], out[..., 6:]

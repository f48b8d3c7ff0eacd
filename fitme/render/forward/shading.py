"""Per-pixel kernels of the forward renderer: shading as in `fitme.render.shading`, silhouettes, sRGB encoding."""

from collections.abc import Callable
from typing import cast

import numpy as np

from fitme.arrays import Float32Array, Int32Array, UInt8Array
from fitme.render.cpu.antialias import pair_crossing
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.shading import (
    DIFFUSE_NORMAL_SHARE,
    GRAZING_REFLECTANCE,
    NORMAL_REFLECTANCE,
    SH_BAND_0,
    SH_BAND_1,
    SH_BAND_2,
    SH_BAND_2_SECTORAL,
    SH_BAND_2_ZONAL,
)
from fitme.render.shadows import NORMAL_OFFSET_M, lit_share

TEXEL_CHANNELS = 8
"""Of the packed maps: diffuse albedo (3), specular albedo, tangent-space normal (3), padding."""
SH_SCALE = np.array(
    [SH_BAND_0, SH_BAND_1, SH_BAND_1, SH_BAND_1, SH_BAND_2, SH_BAND_2, SH_BAND_2_ZONAL, SH_BAND_2, SH_BAND_2_SECTORAL],
    dtype=np.float32,
)
"""What `sh_polynomial` wants the coefficients multiplied with."""
LOBE_STEPS = 2048
"""Intervals of a table of the Blinn-Phong lobe over cosines in [0, 1]."""
ENCODING_STEPS = 16384
"""Entries of the table of the sRGB curve over linear values in [0, 1]: below half a code apart everywhere."""


_single = cast(Callable[[float], float], np.float32)
"""To single precision; a constant in double would turn the whole arithmetic of a kernel into double."""
_SMALLEST = _single(1e-12)
_ZERO, _HALF, _ONE, _TWO, _THREE = _single(0.0), _single(0.5), _single(1.0), _single(2.0), _single(3.0)
_FULL = _single(255.0)
_OFFSET = _single(NORMAL_OFFSET_M)
_SHARE = _single(DIFFUSE_NORMAL_SHARE)
_NORMAL, _GRAZING_SURPLUS = _single(NORMAL_REFLECTANCE), _single(GRAZING_REFLECTANCE - NORMAL_REFLECTANCE)
_LAST_LOBE = _single(LOBE_STEPS)
_LAST_CODE = _single(ENCODING_STEPS - 1)


@relaxed_kernel
def sh_polynomial(c: Float32Array, channel: int, x: float, y: float, z: float) -> float:
    """Irradiance / pi at a unit normal, clamped at zero, from coefficients (9, 3) times `SH_SCALE`."""
    value: float = (
        c[0, channel]
        + y * c[1, channel]
        + z * c[2, channel]
        + x * c[3, channel]
        + x * y * c[4, channel]
        + y * z * c[5, channel]
        + (_THREE * z * z - _ONE) * c[6, channel]
        + x * z * c[7, channel]
        + (x * x - y * y) * c[8, channel]
    )
    return max(value, _ZERO)


@relaxed_kernel
def _inverse_length(x: float, y: float, z: float) -> float:
    scale: float = _ONE / np.sqrt(max(x * x + y * y + z * z, _SMALLEST))
    return scale


@relaxed_kernel
def _texel_pair(coordinate: float, size: int) -> tuple[int, int, float]:
    """`fitme.render.cpu.texture.texel_pair` in single precision."""
    position = min(max(coordinate * _single(size) - _HALF, _ZERO), _single(size - 1))
    first = min(int(position), max(size - 2, 0))
    return first, min(first + 1, size - 1), position - _single(first)


@relaxed_kernel
def _lobe(table: Float32Array, cosine: float) -> float:
    position = min(max(cosine, _ZERO), _ONE) * _LAST_LOBE
    first = min(int(position), LOBE_STEPS - 1)
    share = position - _single(first)
    value: float = table[first] + share * (table[first + 1] - table[first])
    return value


@relaxed_kernel
def shade_rows(
    rast: Float32Array,
    triangles: Int32Array,
    uv_triangles: Int32Array,
    view: Float32Array,
    normals: Float32Array,
    occlusion: Float32Array,
    uv: Float32Array,
    tangents: Float32Array,
    handedness: Float32Array,
    texels: Float32Array,
    lobes: Float32Array,
    lobe_of_triangle: Int32Array,
    sh: Float32Array,
    directions: Float32Array,
    colors: Float32Array,
    depths: Float32Array,
    frames: Float32Array,
    background: Float32Array,
    flags: UInt8Array,
    out: Float32Array,
    folds: UInt8Array,
    row_begin: int,
    row_end: int,
) -> None:
    """Colour the pixels of rows [row_begin, row_end).

    :param rast: (H, W, 4) from `rasterize_rows`.
    :param view: (V, 3) positions, metres; normals: (V, 3) unit; occlusion: (V,).
    :param uv: (T, 2); tangents: (T, 3) unit; handedness: (T,).
    :param texels: (Ht, Wt, `TEXEL_CHANNELS`) packed maps.
    :param lobes: (N, `LOBE_STEPS` + 1) scaled Blinn-Phong lobes; lobe_of_triangle: (F,) index into them.
    :param sh: (9, 3) coefficients times `SH_SCALE`.
    :param directions: (L, 3); colors: (L, 3).
    :param depths: (L, S, S) and frames (L, 3, 4) of the lights' `ShadowMaps`; (0, ...) where they cast no shadows.
    :param background: (3,) linear.
    :param flags: (F,) from `mark_silhouettes`.
    :param out: (H, W, 4) receives linear colour and coverage.
    :param folds: (H, W) receives the flags of each pixel's triangle, 0 where there is none.
    """
    map_height, map_width = texels.shape[0], texels.shape[1]
    for row in range(row_begin, row_end):
        for column in range(rast.shape[1]):
            face = int(rast[row, column, 3]) - 1
            if face < 0:
                for c in range(3):
                    out[row, column, c] = background[c]
                out[row, column, 3] = _ZERO
                folds[row, column] = 0
                continue
            folds[row, column] = flags[face]
            b0, b1 = rast[row, column, 0], rast[row, column, 1]
            b2 = _ONE - b0 - b1
            i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            t0, t1, t2 = uv_triangles[face, 0], uv_triangles[face, 1], uv_triangles[face, 2]

            nx = b0 * normals[i0, 0] + b1 * normals[i1, 0] + b2 * normals[i2, 0]
            ny = b0 * normals[i0, 1] + b1 * normals[i1, 1] + b2 * normals[i2, 1]
            nz = b0 * normals[i0, 2] + b1 * normals[i1, 2] + b2 * normals[i2, 2]
            scale = _inverse_length(nx, ny, nz)
            nx, ny, nz = nx * scale, ny * scale, nz * scale
            vx = -(b0 * view[i0, 0] + b1 * view[i1, 0] + b2 * view[i2, 0])
            vy = -(b0 * view[i0, 1] + b1 * view[i1, 1] + b2 * view[i2, 1])
            vz = -(b0 * view[i0, 2] + b1 * view[i1, 2] + b2 * view[i2, 2])
            ox, oy, oz = _OFFSET * nx - vx, _OFFSET * ny - vy, _OFFSET * nz - vz
            scale = _inverse_length(vx, vy, vz)
            vx, vy, vz = vx * scale, vy * scale, vz * scale
            visible = b0 * occlusion[i0] + b1 * occlusion[i1] + b2 * occlusion[i2]

            u = b0 * uv[t0, 0] + b1 * uv[t1, 0] + b2 * uv[t2, 0]
            v = b0 * uv[t0, 1] + b1 * uv[t1, 1] + b2 * uv[t2, 1]
            c0, c1, fx = _texel_pair(u, map_width)
            r0, r1, fy = _texel_pair(v, map_height)
            w00, w01, w10, w11 = (_ONE - fy) * (_ONE - fx), (_ONE - fy) * fx, fy * (_ONE - fx), fy * fx
            s0 = w00 * texels[r0, c0, 0] + w01 * texels[r0, c1, 0] + w10 * texels[r1, c0, 0] + w11 * texels[r1, c1, 0]
            s1 = w00 * texels[r0, c0, 1] + w01 * texels[r0, c1, 1] + w10 * texels[r1, c0, 1] + w11 * texels[r1, c1, 1]
            s2 = w00 * texels[r0, c0, 2] + w01 * texels[r0, c1, 2] + w10 * texels[r1, c0, 2] + w11 * texels[r1, c1, 2]
            s3 = w00 * texels[r0, c0, 3] + w01 * texels[r0, c1, 3] + w10 * texels[r1, c0, 3] + w11 * texels[r1, c1, 3]
            s4 = w00 * texels[r0, c0, 4] + w01 * texels[r0, c1, 4] + w10 * texels[r1, c0, 4] + w11 * texels[r1, c1, 4]
            s5 = w00 * texels[r0, c0, 5] + w01 * texels[r0, c1, 5] + w10 * texels[r1, c0, 5] + w11 * texels[r1, c1, 5]
            s6 = w00 * texels[r0, c0, 6] + w01 * texels[r0, c1, 6] + w10 * texels[r1, c0, 6] + w11 * texels[r1, c1, 6]

            tx = b0 * tangents[t0, 0] + b1 * tangents[t1, 0] + b2 * tangents[t2, 0]
            ty = b0 * tangents[t0, 1] + b1 * tangents[t1, 1] + b2 * tangents[t2, 1]
            tz = b0 * tangents[t0, 2] + b1 * tangents[t1, 2] + b2 * tangents[t2, 2]
            along = nx * tx + ny * ty + nz * tz
            tx, ty, tz = tx - along * nx, ty - along * ny, tz - along * nz
            scale = _inverse_length(tx, ty, tz)
            tx, ty, tz = tx * scale, ty * scale, tz * scale
            sign = _ONE if b0 * handedness[t0] + b1 * handedness[t1] + b2 * handedness[t2] >= _ZERO else -_ONE
            mx, my, mz = s4, s5 * sign, s6
            rx = tx * mx + (ny * tz - nz * ty) * my + nx * mz
            ry = ty * mx + (nz * tx - nx * tz) * my + ny * mz
            rz = tz * mx + (nx * ty - ny * tx) * my + nz * mz
            scale = _inverse_length(rx, ry, rz)
            rx, ry, rz = rx * scale, ry * scale, rz * scale
            sx, sy, sz = nx + _SHARE * (rx - nx), ny + _SHARE * (ry - ny), nz + _SHARE * (rz - nz)
            scale = _inverse_length(sx, sy, sz)
            sx, sy, sz = sx * scale, sy * scale, sz * scale

            facing = rx * vx + ry * vy + rz * vz
            aside = _ONE - min(max(facing, _ZERO), _ONE)
            reflectance = _NORMAL + _GRAZING_SURPLUS * (aside * aside) * (aside * aside) * aside
            facing = _TWO * facing
            gx, gy, gz = facing * rx - vx, facing * ry - vy, facing * rz - vz
            diffuse0 = sh_polynomial(sh, 0, sx, sy, sz)
            diffuse1 = sh_polynomial(sh, 1, sx, sy, sz)
            diffuse2 = sh_polynomial(sh, 2, sx, sy, sz)
            gloss0 = reflectance * sh_polynomial(sh, 0, gx, gy, gz)
            gloss1 = reflectance * sh_polynomial(sh, 1, gx, gy, gz)
            gloss2 = reflectance * sh_polynomial(sh, 2, gx, gy, gz)
            lobe = lobes[lobe_of_triangle[face]]
            for index in range(directions.shape[0]):
                lx, ly, lz = directions[index, 0], directions[index, 1], directions[index, 2]
                soft = max(sx * lx + sy * ly + sz * lz, _ZERO)
                sharp = max(rx * lx + ry * ly + rz * lz, _ZERO)
                if soft + sharp == _ZERO:
                    continue
                if index < depths.shape[0]:
                    reach = lit_share(depths[index], frames[index], ox, oy, oz, nx, ny, nz)
                    if reach == _ZERO:
                        continue
                    soft, sharp = reach * soft, reach * sharp
                hx, hy, hz = vx + lx, vy + ly, vz + lz
                cosine = (rx * hx + ry * hy + rz * hz) * _inverse_length(hx, hy, hz)
                glint = sharp * _lobe(lobe, cosine)
                diffuse0 += soft * colors[index, 0]
                diffuse1 += soft * colors[index, 1]
                diffuse2 += soft * colors[index, 2]
                gloss0 += glint * colors[index, 0]
                gloss1 += glint * colors[index, 1]
                gloss2 += glint * colors[index, 2]
            specular = s3
            out[row, column, 0] = visible * (s0 * diffuse0 + specular * gloss0)
            out[row, column, 1] = visible * (s1 * diffuse1 + specular * gloss1)
            out[row, column, 2] = visible * (s2 * diffuse2 + specular * gloss2)
            out[row, column, 3] = _ONE


@relaxed_kernel
def _blend_towards(
    color: Float32Array,
    rast: Float32Array,
    clip: Float32Array,
    triangles: Int32Array,
    flags: UInt8Array,
    row: int,
    column: int,
    vertical: bool,
    is_first: bool,
    mixed: Float32Array,
) -> None:
    """Add to `mixed` what the crossing between (row, column) and its successor gives to one of the two pixels."""
    next_row, next_column = (row + 1, column) if vertical else (row, column + 1)
    if rast[row, column, 3] == rast[next_row, next_column, 3]:
        return
    face, _, forward, distance = pair_crossing(rast, clip, triangles, flags, row, column, vertical)
    if face < 0:
        return
    alpha = _single(0.5 - min(max(distance, 0.0), 1.0))
    if not forward:
        alpha = -alpha
    if (alpha > _ZERO) != is_first:
        return
    for c in range(4):
        mixed[c] += alpha * (color[next_row, next_column, c] - color[row, column, c])


@relaxed_kernel
def _encode(level: float, encoding: UInt8Array) -> int:
    position = min(max(level, _ZERO), _ONE) * _LAST_CODE + _HALF
    code: int = encoding[int(position)]
    return code


@relaxed_kernel
def finish_rows(
    color: Float32Array,
    folds: UInt8Array,
    rast: Float32Array,
    clip: Float32Array,
    triangles: Int32Array,
    flags: UInt8Array,
    encoding: UInt8Array,
    background: Float32Array,
    picture: UInt8Array,
    mask: UInt8Array,
    row_begin: int,
    row_end: int,
) -> None:
    """Antialias silhouettes of rows [row_begin, row_end) as `fitme.render.cpu.antialias` does, and encode them as sRGB.

    Reads neighbouring rows of `color`, so all rows must be shaded before.

    :param color: (H, W, 4) linear colour and coverage; folds: (H, W) from `shade_rows`.
    :param clip: (V, 4); flags: (F,) from `mark_silhouettes`.
    :param background: (3,) linear.
    :param encoding: (`ENCODING_STEPS`,) sRGB code of each linear value.
    :param picture: (H, W, 3) receives sRGB; mask: (H, W) receives coverage, 255 where full.
    """
    height, width = color.shape[0], color.shape[1]
    code0, code1, code2 = (_encode(background[0], encoding), _encode(background[1], encoding),
                           _encode(background[2], encoding))  # fmt: skip
    mixed = np.empty(4, dtype=np.float32)
    for row in range(row_begin, row_end):
        for column in range(width):
            left, right = max(column - 1, 0), min(column + 1, width - 1)
            above, below = max(row - 1, 0), min(row + 1, height - 1)
            near = folds[row, left] | folds[row, right] | folds[above, column] | folds[below, column]
            if (folds[row, column] | near) == 0:
                if rast[row, column, 3] == _ZERO:
                    picture[row, column, 0] = code0
                    picture[row, column, 1] = code1
                    picture[row, column, 2] = code2
                    mask[row, column] = 0
                    continue
                picture[row, column, 0] = _encode(color[row, column, 0], encoding)
                picture[row, column, 1] = _encode(color[row, column, 1], encoding)
                picture[row, column, 2] = _encode(color[row, column, 2], encoding)
                mask[row, column] = 255
                continue
            for c in range(4):
                mixed[c] = color[row, column, c]
            if right > column:
                _blend_towards(color, rast, clip, triangles, flags, row, column, False, True, mixed)
            if left < column:
                _blend_towards(color, rast, clip, triangles, flags, row, left, False, False, mixed)
            if below > row:
                _blend_towards(color, rast, clip, triangles, flags, row, column, True, True, mixed)
            if above < row:
                _blend_towards(color, rast, clip, triangles, flags, above, column, True, False, mixed)
            for c in range(3):
                picture[row, column, c] = _encode(mixed[c], encoding)
            mask[row, column] = int(min(max(mixed[3], _ZERO), _ONE) * _FULL + _HALF)

"""Per-pixel kernels of the forward renderer: shading as in `fitme.render.shading`, silhouettes, sRGB encoding."""

from collections.abc import Callable
from typing import cast

import numpy as np

from fitme.arrays import Float32Array, Int32Array, UInt8Array
from fitme.render.cpu.antialias import pair_crossing
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.cpu.reflection_formulas import (
    Vector,
    dot,
    half_cosine,
    inverse_length,
    mapped_normals,
    mirrored,
    plus,
    scaled,
    schlick_rise,
    sh_polynomials,
)
from fitme.render.reflection import (
    DIFFUSE_NORMAL_SHARE,
    GRAZING_REFLECTANCE,
    NORMAL_REFLECTANCE,
    SH_NORMS,
    SMALLEST_SQUARE,
)
from fitme.render.shadows import NORMAL_OFFSET_M, lit_share

TEXEL_CHANNELS = 8
"""Channels of the packed maps: diffuse albedo (3), specular albedo, tangent-space normal (3), padding."""
SH_SCALE = np.array(SH_NORMS, np.float32)
"""(9,) norms that `shade_rows` expects multiplied into the coefficients, since `sh_polynomials` leaves them out."""
LOBE_STEPS = 2048
"""Intervals of a table of the Blinn-Phong lobe over cosines in [0, 1]."""
ENCODING_STEPS = 16384
"""Entries of the table of the sRGB curve over linear values in [0, 1]: below half a code apart everywhere."""


_single = cast(Callable[[float], float], np.float32)
"""Conversion to single precision: one double constant would promote all arithmetic of a kernel to double."""
_SMALLEST = _single(SMALLEST_SQUARE)
_ZERO, _HALF, _ONE = _single(0.0), _single(0.5), _single(1.0)
_FULL = _single(255.0)
_OFFSET = _single(NORMAL_OFFSET_M)
_SHARE = _single(DIFFUSE_NORMAL_SHARE)
_PER_TURN, _PER_HALF_TURN = _single(0.5 / np.pi), _single(1.0 / np.pi)
_NORMAL, _GRAZING_SURPLUS = _single(NORMAL_REFLECTANCE), _single(GRAZING_REFLECTANCE - NORMAL_REFLECTANCE)
_LAST_LOBE = _single(LOBE_STEPS)
_LAST_CODE = _single(ENCODING_STEPS - 1)


@relaxed_kernel
def sh_shading(c: Float32Array, channel: int, n: Vector) -> float:
    """Irradiance / pi at a unit normal, clamped at zero, from coefficients (9, 3) times `SH_SCALE`."""
    y, z, x, xy, yz, zonal, xz, sectoral = sh_polynomials(n)
    value: float = (
        c[0, channel]
        + y * c[1, channel]
        + z * c[2, channel]
        + x * c[3, channel]
        + xy * c[4, channel]
        + yz * c[5, channel]
        + zonal * c[6, channel]
        + xz * c[7, channel]
        + sectoral * c[8, channel]
    )
    return max(value, _ZERO)


@relaxed_kernel
def blend_corners(values: Float32Array, i0: int, i1: int, i2: int, b0: float, b1: float, b2: float) -> Vector:
    """Barycentric mean of three rows of (N, 3)."""
    return (
        b0 * values[i0, 0] + b1 * values[i1, 0] + b2 * values[i2, 0],
        b0 * values[i0, 1] + b1 * values[i1, 1] + b2 * values[i2, 1],
        b0 * values[i0, 2] + b1 * values[i1, 2] + b2 * values[i2, 2],
    )


@relaxed_kernel
def _texel_pair(coordinate: float, size: int) -> tuple[int, int, float]:
    """`fitme.render.cpu.texture.texel_pair` in single precision."""
    position = min(max(coordinate * _single(size) - _HALF, _ZERO), _single(size - 1))
    first = min(int(position), max(size - 2, 0))
    return first, min(first + 1, size - 1), position - _single(first)


@relaxed_kernel
def _lobe(table: Float32Array, cosine: float) -> float:
    """Tabulated lobe at a cosine, linearly interpolated."""
    position = min(max(cosine, _ZERO), _ONE) * _LAST_LOBE
    first = min(int(position), LOBE_STEPS - 1)
    share = position - _single(first)
    value: float = table[first] + share * (table[first + 1] - table[first])
    return value


@relaxed_kernel
def panorama_radiance(
    texels: Float32Array, levels: Int32Array, turn: float, direction: Vector, roughness: float
) -> Vector:
    """Radiance of blurred panoramas, `fitme.render.environment.reflections.Reflections`, from a direction.

    Trilinear: bilinear in the two levels round the roughness; closed round the head, clamped at the poles.
    """
    count = levels.shape[0]
    position = min(max(roughness, _ZERO), _ONE) * _single(count - 1)
    level = min(int(position), count - 2)
    share = position - _single(level)
    u = np.arctan2(direction[0], -direction[2]) * _PER_TURN + _HALF + _single(turn)
    v = np.arccos(min(max(direction[1], -_ONE), _ONE)) * _PER_HALF_TURN
    red, green, blue = _ZERO, _ZERO, _ZERO
    for step in range(2):
        first, rows, columns = levels[level + step, 0], levels[level + step, 1], levels[level + step, 2]
        x = (u - np.floor(u)) * _single(columns) - _HALF
        left = int(np.floor(x))
        fx = x - _single(left)
        c0, c1 = left % columns, (left + 1) % columns
        y = min(max(v * _single(rows) - _HALF, _ZERO), _single(rows - 1))
        r0 = min(int(y), rows - 2)
        fy = y - _single(r0)
        weight = share if step == 1 else _ONE - share
        w00, w01 = weight * (_ONE - fy) * (_ONE - fx), weight * (_ONE - fy) * fx
        w10, w11 = weight * fy * (_ONE - fx), weight * fy * fx
        t00, t01 = first + r0 * columns + c0, first + r0 * columns + c1
        t10, t11 = t00 + columns, t01 + columns
        red += w00 * texels[t00, 0] + w01 * texels[t01, 0] + w10 * texels[t10, 0] + w11 * texels[t11, 0]
        green += w00 * texels[t00, 1] + w01 * texels[t01, 1] + w10 * texels[t10, 1] + w11 * texels[t11, 1]
        blue += w00 * texels[t00, 2] + w01 * texels[t01, 2] + w10 * texels[t10, 2] + w11 * texels[t11, 2]
    return red, green, blue


@relaxed_kernel
def split_sum_reflectance(table: Float32Array, facing: float, roughness: float) -> float:
    """Share of the surroundings' light that a specular albedo of 1 mirrors: bilinear in a table (S, S, 2) of factor and
    offset of the reflectance at normal incidence."""
    c0, c1, fx = _texel_pair(min(max(facing, _ZERO), _ONE), table.shape[1])
    r0, r1, fy = _texel_pair(roughness, table.shape[0])
    w00, w01, w10, w11 = (_ONE - fy) * (_ONE - fx), (_ONE - fy) * fx, fy * (_ONE - fx), fy * fx
    factor = w00 * table[r0, c0, 0] + w01 * table[r0, c1, 0] + w10 * table[r1, c0, 0] + w11 * table[r1, c1, 0]
    offset = w00 * table[r0, c0, 1] + w01 * table[r0, c1, 1] + w10 * table[r1, c0, 1] + w11 * table[r1, c1, 1]
    value: float = _NORMAL * factor + offset
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
    panorama: Float32Array,
    levels: Int32Array,
    turn: float,
    split_sum: Float32Array,
    roughness: Float32Array,
    background: Float32Array,
    flags: UInt8Array,
    out: Float32Array,
    folds: UInt8Array,
    row_begin: int,
    row_end: int,
) -> None:
    """Shade the pixels of rows [row_begin, row_end): the formulas of `fitme.render.shading`, in single precision.

    :param rast: (H, W, 4) from `rasterize_rows`.
    :param view: (V, 3) positions, metres; normals: (V, 3) unit; occlusion: (V,).
    :param uv: (T, 2); tangents: (T, 3) unit; handedness: (T,).
    :param texels: (Ht, Wt, `TEXEL_CHANNELS`) packed maps.
    :param lobes: (N, `LOBE_STEPS` + 1) scaled Blinn-Phong lobes; lobe_of_triangle: (F,) index into them.
    :param sh: (9, 3) coefficients times `SH_SCALE`.
    :param directions: (L, 3); colors: (L, 3).
    :param depths: (L, S, S) and frames (L, 3, 4) of the lights' `ShadowMaps`; (0, ...) without cast shadows.
    :param panorama: (N, 3) blurred panoramas of the surroundings with their table levels (K, 3) and their turn, as
        `Reflections` has them; (0, 3) where `sh` alone describes the surroundings.
    :param split_sum: (S, S, 2) table of the BRDF; roughness: (N,) of the lobes.
    :param background: (3,) linear.
    :param flags: (F,) from `mark_silhouettes`.
    :param out: (H, W, 4) receives linear colour and coverage.
    :param folds: (H, W) receives the flags of each pixel's triangle, 0 in uncovered pixels.
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
            # Surface: smooth normal, position and ambient visibility.
            b0, b1 = rast[row, column, 0], rast[row, column, 1]
            b2 = _ONE - b0 - b1
            i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            t0, t1, t2 = uv_triangles[face, 0], uv_triangles[face, 1], uv_triangles[face, 2]

            n = blend_corners(normals, i0, i1, i2, b0, b1, b2)
            n = scaled(n, inverse_length(n, _SMALLEST))
            position = blend_corners(view, i0, i1, i2, b0, b1, b2)
            off = plus(position, n, _OFFSET)
            v = scaled(position, -inverse_length(position, _SMALLEST))
            visible = b0 * occlusion[i0] + b1 * occlusion[i1] + b2 * occlusion[i2]

            # Bilinear sample of the seven channels, unrolled: a loop over channels is slower.
            c0, c1, fx = _texel_pair(b0 * uv[t0, 0] + b1 * uv[t1, 0] + b2 * uv[t2, 0], map_width)
            r0, r1, fy = _texel_pair(b0 * uv[t0, 1] + b1 * uv[t1, 1] + b2 * uv[t2, 1], map_height)
            w00, w01, w10, w11 = (_ONE - fy) * (_ONE - fx), (_ONE - fy) * fx, fy * (_ONE - fx), fy * fx
            s0 = w00 * texels[r0, c0, 0] + w01 * texels[r0, c1, 0] + w10 * texels[r1, c0, 0] + w11 * texels[r1, c1, 0]
            s1 = w00 * texels[r0, c0, 1] + w01 * texels[r0, c1, 1] + w10 * texels[r1, c0, 1] + w11 * texels[r1, c1, 1]
            s2 = w00 * texels[r0, c0, 2] + w01 * texels[r0, c1, 2] + w10 * texels[r1, c0, 2] + w11 * texels[r1, c1, 2]
            s3 = w00 * texels[r0, c0, 3] + w01 * texels[r0, c1, 3] + w10 * texels[r1, c0, 3] + w11 * texels[r1, c1, 3]
            s4 = w00 * texels[r0, c0, 4] + w01 * texels[r0, c1, 4] + w10 * texels[r1, c0, 4] + w11 * texels[r1, c1, 4]
            s5 = w00 * texels[r0, c0, 5] + w01 * texels[r0, c1, 5] + w10 * texels[r1, c0, 5] + w11 * texels[r1, c1, 5]
            s6 = w00 * texels[r0, c0, 6] + w01 * texels[r0, c1, 6] + w10 * texels[r1, c0, 6] + w11 * texels[r1, c1, 6]

            # Normal map: full strength in the specular term, softened in the diffuse one.
            along = blend_corners(tangents, t0, t1, t2, b0, b1, b2)
            sign = _ONE if b0 * handedness[t0] + b1 * handedness[t1] + b2 * handedness[t2] >= _ZERO else -_ONE
            rough, soft = mapped_normals(n, along, sign, (s4, s5, s6), _SHARE, _SMALLEST)

            # Ambient light: irradiance on the soft normal, and its mirror reflection by the rough one.
            facing = dot(rough, v)
            mirror = mirrored(rough, v, facing)
            diffuse0 = sh_shading(sh, 0, soft)
            diffuse1 = sh_shading(sh, 1, soft)
            diffuse2 = sh_shading(sh, 2, soft)
            kind = lobe_of_triangle[face]
            if panorama.shape[0] > 0:
                reflectance = split_sum_reflectance(split_sum, facing, roughness[kind])
                mirrored_light = panorama_radiance(panorama, levels, turn, mirror, roughness[kind])
                specular0 = reflectance * mirrored_light[0]
                specular1 = reflectance * mirrored_light[1]
                specular2 = reflectance * mirrored_light[2]
            else:
                fourth, aside = schlick_rise(facing)
                reflectance = _NORMAL + _GRAZING_SURPLUS * fourth * aside
                specular0 = reflectance * sh_shading(sh, 0, mirror)
                specular1 = reflectance * sh_shading(sh, 1, mirror)
                specular2 = reflectance * sh_shading(sh, 2, mirror)
            # Directional lights, each times the share that no shadow blocks.
            lobe = lobes[kind]
            for index in range(directions.shape[0]):
                light = (directions[index, 0], directions[index, 1], directions[index, 2])
                irradiance = max(dot(soft, light), _ZERO)
                cos_light = max(dot(rough, light), _ZERO)
                if irradiance + cos_light == _ZERO:
                    continue
                if index < depths.shape[0]:
                    reach = lit_share(depths[index], frames[index], off[0], off[1], off[2], n[0], n[1], n[2])
                    if reach == _ZERO:
                        continue
                    irradiance, cos_light = reach * irradiance, reach * cos_light
                glint = cos_light * _lobe(lobe, half_cosine(rough, v, light, _SMALLEST))
                diffuse0 += irradiance * colors[index, 0]
                diffuse1 += irradiance * colors[index, 1]
                diffuse2 += irradiance * colors[index, 2]
                specular0 += glint * colors[index, 0]
                specular1 += glint * colors[index, 1]
                specular2 += glint * colors[index, 2]
            out[row, column, 0] = visible * (s0 * diffuse0 + s3 * specular0)
            out[row, column, 1] = visible * (s1 * diffuse1 + s3 * specular1)
            out[row, column, 2] = visible * (s2 * diffuse2 + s3 * specular2)
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
    """Add the antialiasing term of the pair (row, column) and its successor to `mixed`, the colour of one of the two.

    :param is_first: `mixed` is the colour of the pair's first pixel, not of its successor.
    """
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
    """8-bit sRGB code of a linear value by table look-up, clamped to [0, 1]."""
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
    image: UInt8Array,
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
    :param image: (H, W, 3) receives sRGB; mask: (H, W) receives coverage, 255 where full.
    """
    height, width = color.shape[0], color.shape[1]
    code0, code1, code2 = (_encode(background[0], encoding), _encode(background[1], encoding),
                           _encode(background[2], encoding))  # fmt: skip
    # Only pixels beside a silhouette edge are blended; all others are encoded as they are.
    mixed = np.empty(4, dtype=np.float32)
    for row in range(row_begin, row_end):
        for column in range(width):
            left, right = max(column - 1, 0), min(column + 1, width - 1)
            above, below = max(row - 1, 0), min(row + 1, height - 1)
            near = folds[row, left] | folds[row, right] | folds[above, column] | folds[below, column]
            if (folds[row, column] | near) == 0:
                if rast[row, column, 3] == _ZERO:
                    image[row, column, 0] = code0
                    image[row, column, 1] = code1
                    image[row, column, 2] = code2
                    mask[row, column] = 0
                    continue
                image[row, column, 0] = _encode(color[row, column, 0], encoding)
                image[row, column, 1] = _encode(color[row, column, 1], encoding)
                image[row, column, 2] = _encode(color[row, column, 2], encoding)
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
                image[row, column, c] = _encode(mixed[c], encoding)
            mask[row, column] = int(min(max(mixed[3], _ZERO), _ONE) * _FULL + _HALF)

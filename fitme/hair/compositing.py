"""Per-pixel kernel of the hair renderer: shading by strands, soft edges, compositing over the head."""

from collections.abc import Callable
from typing import cast

import numpy as np

from fitme.arrays import Float32Array, Int32Array, UInt8Array
from fitme.hair.shading import (
    PRIMARY_EXPONENT,
    PRIMARY_SHIFT,
    PRIMARY_STRENGTH,
    SECONDARY_EXPONENT,
    SECONDARY_SHIFT,
    SECONDARY_STRENGTH,
    WRAP,
)
from fitme.render.cpu.kernel import relaxed_kernel
from fitme.render.cpu.reflection_formulas import Vector, cross, dot, inverse_length, plus, scaled
from fitme.render.forward.shading import blend_corners, sh_shading
from fitme.render.reflection import SMALLEST_SQUARE

_single = cast(Callable[[float], float], np.float32)
"""To single precision; a constant in double would turn the whole arithmetic of a kernel into double."""
DEPTH_TOLERANCE = 2e-4
"""Difference of z / w up to which hair that lies on the skin is before it."""
RIM_COSINE = 0.05
"""Cosine between normal and viewing direction from which the envelope covers fully; at 0 it does not cover."""
RAGGEDNESS = 0.05
"""Amplitude of the strands' pattern in that cosine: outlines are as ragged as strands."""
STRAND_TILT = 0.12
"""Amplitude of the strands' pattern in the position of the specular lobes along the strand."""
LOCK_RELIEF = 0.2
"""Slope of the locks' surface over the difference of their pattern from one texel to the next."""
INNER_SHADE = 0.35
"""Share of the light that reaches the inner side of the envelope."""
LEAST_COVERAGE = 1.0 / 512.0
"""Coverage below which a pixel stays as it is."""

_ZERO, _HALF, _ONE, _TWO, _THREE, _FULL = (_single(value) for value in (0.0, 0.5, 1.0, 2.0, 3.0, 255.0))
_SMALLEST, _TOLERANCE, _RIM, _RAGGED, _TILT, _RELIEF, _INNER, _LEAST, _WRAP = (
    _single(value)
    for value in (
        SMALLEST_SQUARE,
        DEPTH_TOLERANCE,
        RIM_COSINE,
        RAGGEDNESS,
        STRAND_TILT,
        LOCK_RELIEF,
        INNER_SHADE,
        LEAST_COVERAGE,
        WRAP,
    )
)
_PRIMARY = (_single(PRIMARY_SHIFT), _single(PRIMARY_EXPONENT / 2.0), _single(PRIMARY_STRENGTH))
_SECONDARY = (_single(SECONDARY_SHIFT), _single(SECONDARY_EXPONENT / 2.0), _single(SECONDARY_STRENGTH))


@relaxed_kernel
def _texel(texels: Float32Array, uv: Vector) -> tuple[float, float, float, float]:
    """Bilinear sample of texels (T, U, 4), closed round the head, at u and v in [0, 1]."""
    height, width = texels.shape[0], texels.shape[1]
    x = uv[0] * _single(width) - _HALF
    y = min(max(uv[1] * _single(height) - _HALF, _ZERO), _single(height - 1))
    left, row = int(np.floor(x)), min(int(y), height - 2)
    fx, fy = x - _single(left), y - _single(row)
    left, right = left % width, (left + 1) % width
    w00, w01, w10, w11 = (_ONE - fy) * (_ONE - fx), (_ONE - fy) * fx, fy * (_ONE - fx), fy * fx
    upper, lower = texels[row], texels[row + 1]
    return (
        w00 * upper[left, 0] + w01 * upper[right, 0] + w10 * lower[left, 0] + w11 * lower[right, 0],
        w00 * upper[left, 1] + w01 * upper[right, 1] + w10 * lower[left, 1] + w11 * lower[right, 1],
        w00 * upper[left, 2] + w01 * upper[right, 2] + w10 * lower[left, 2] + w11 * lower[right, 2],
        w00 * upper[left, 3] + w01 * upper[right, 3] + w10 * lower[left, 3] + w11 * lower[right, 3],
    )


@relaxed_kernel
def _edge(cosine: float) -> float:
    """Share in [0, 1] of the envelope's coverage at a cosine between normal and viewing direction."""
    rise = min(max(cosine / _RIM, _ZERO), _ONE)
    return rise * rise * (_THREE - _TWO * rise)


@relaxed_kernel
def _lobe(half: float, lobe: tuple[float, float, float]) -> float:
    """Kajiya-Kay's specular lobe: a power of the sine between strand and half vector, shifted along the strand."""
    shift, exponent, strength = lobe
    along = half + shift
    value: float = strength * max(_ONE - along * along, _ZERO) ** exponent
    return value


@relaxed_kernel
def _strand_light(strand: Vector, normal: Vector, viewer: Vector, light: Vector, tilt: float) -> tuple[float, float]:
    """Diffuse and specular reflection of one directional light of unit intensity."""
    facing = dot(normal, light)
    reach = min(max((facing + _WRAP) / (_ONE + _WRAP), _ZERO), _ONE)
    if reach == _ZERO:
        return _ZERO, _ZERO
    along = dot(strand, light)
    sine = np.sqrt(max(_ONE - along * along, _ZERO))
    middle = plus(viewer, light, _ONE)
    half = dot(strand, middle) * inverse_length(middle, _SMALLEST) + tilt
    return reach * (sine * reach + _lobe(half, _SECONDARY)), reach * _lobe(half, _PRIMARY)


@relaxed_kernel
def composite_rows(
    rast: Float32Array,
    head: Float32Array,
    triangles: Int32Array,
    view: Float32Array,
    normals: Float32Array,
    strands: Float32Array,
    uv: Float32Array,
    texels: Float32Array,
    pattern: Float32Array,
    upward: Float32Array,
    sh: Float32Array,
    directions: Float32Array,
    colors: Float32Array,
    decoding: Float32Array,
    encoding: UInt8Array,
    image: UInt8Array,
    mask: UInt8Array,
    row_begin: int,
    row_end: int,
) -> None:
    """Composite the hair of rows [row_begin, row_end) over `image` and `mask`.

    :param rast: (H, W, 4) of the envelope; head: (H, W, 4) of the head.
    :param view, normals, strands: (N, 3) in the view frame; uv: (N, 3), of which the third is 0.
    :param texels: (T, U, 4) albedo and coverage; pattern: (T, U); upward: (3,) unit, of the head in the view frame.
    :param sh: (9, 3) softened coefficients times `SH_SCALE`; directions, colors: (L, 3).
    :param decoding: (256,) linear value of each code; encoding: (`ENCODING_STEPS`,) code of each linear value.
    """
    last_code = _single(encoding.shape[0] - 1)
    for row in range(row_begin, row_end):
        for column in range(rast.shape[1]):
            face = int(rast[row, column, 3]) - 1
            if face < 0:
                continue
            if head[row, column, 3] > _ZERO and head[row, column, 2] < rast[row, column, 2] - _TOLERANCE:
                continue
            b0, b1 = rast[row, column, 0], rast[row, column, 1]
            b2 = _ONE - b0 - b1
            i0, i1, i2 = triangles[face, 0], triangles[face, 1], triangles[face, 2]
            place = blend_corners(uv, i0, i1, i2, b0, b1, b2)
            red, green, blue, cover = _texel(texels, place)
            if cover <= _LEAST:
                continue
            normal = blend_corners(normals, i0, i1, i2, b0, b1, b2)
            normal = scaled(normal, inverse_length(normal, _SMALLEST))
            viewer = scaled(blend_corners(view, i0, i1, i2, b0, b1, b2), -_ONE)
            viewer = scaled(viewer, inverse_length(viewer, _SMALLEST))
            strand = blend_corners(strands, i0, i1, i2, b0, b1, b2)
            strand = scaled(strand, inverse_length(strand, _SMALLEST))
            lock_row = min(int(place[1] * _single(pattern.shape[0])), pattern.shape[0] - 1)
            lock_column = int(place[0] * _single(pattern.shape[1])) % pattern.shape[1]
            lock = pattern[lock_row, lock_column]
            facing = dot(normal, viewer)
            shade = _ONE
            if facing < _ZERO:
                # The inner side of the envelope, past the hairline or under long hair.
                normal, facing, shade = scaled(normal, -_ONE), -facing, _INNER
            # Where the envelope is seen edge-on single strands begin and end.
            cover *= _edge(facing + _RAGGED * lock)
            if cover <= _LEAST:
                continue
            # Locks stand out of the envelope: their sides face other ways than it does.
            aside = cross((upward[0], upward[1], upward[2]), normal)
            aside = scaled(aside, inverse_length(aside, _SMALLEST))
            across = pattern[lock_row, (lock_column + 1) % pattern.shape[1]] - lock
            down = pattern[min(lock_row + 1, pattern.shape[0] - 1), lock_column] - lock
            normal = plus(plus(normal, aside, -_RELIEF * across), cross(aside, normal), -_RELIEF * down)
            normal = scaled(normal, inverse_length(normal, _SMALLEST))
            diffuse = (sh_shading(sh, 0, normal), sh_shading(sh, 1, normal), sh_shading(sh, 2, normal))
            specular = (_ZERO, _ZERO, _ZERO)
            for index in range(directions.shape[0]):
                light = (directions[index, 0], directions[index, 1], directions[index, 2])
                color = (colors[index, 0], colors[index, 1], colors[index, 2])
                scattered, mirrored = _strand_light(strand, normal, viewer, light, _TILT * lock)
                diffuse, specular = plus(diffuse, color, scattered), plus(specular, color, mirrored)
            levels = (
                shade * (red * diffuse[0] + specular[0]),
                shade * (green * diffuse[1] + specular[1]),
                shade * (blue * diffuse[2] + specular[2]),
            )
            for channel in range(3):
                level = cover * levels[channel] + (_ONE - cover) * decoding[image[row, column, channel]]
                image[row, column, channel] = encoding[int(min(max(level, _ZERO), _ONE) * last_code + _HALF)]
            uncovered = (_ONE - cover) * (_FULL - _single(mask[row, column]))
            mask[row, column] = np.uint8(_FULL - uncovered + _HALF)

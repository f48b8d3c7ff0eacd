"""Per-sample formulas of the reflection model for compiled kernels; `fitme.render.shading` has them for torch tensors.

Every function computes in the precision of its arguments, so that one definition serves the differentiable kernel
(double) and the forward renderer (single): constants are exact in single precision, all others are arguments.
"""

from collections.abc import Callable
from typing import cast

import numpy as np

from fitme.render import reflection
from fitme.render.cpu.kernel import relaxed_kernel

Vector = tuple[float, float, float]

_single = cast(Callable[[float], float], np.float32)
_ZERO, _ONE, _TWO, _THREE = _single(0.0), _single(1.0), _single(2.0), _single(3.0)
"""Constants in single precision: one double constant would promote all arithmetic of a kernel to double."""


blinn_phong_factor = relaxed_kernel(reflection.blinn_phong_factor)


@relaxed_kernel
def dot(a: Vector, b: Vector) -> float:
    """Scalar product."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@relaxed_kernel
def cross(a: Vector, b: Vector) -> Vector:
    """Vector product."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@relaxed_kernel
def scaled(a: Vector, scale: float) -> Vector:
    """Vector a times a scale."""
    return a[0] * scale, a[1] * scale, a[2] * scale


@relaxed_kernel
def plus(a: Vector, b: Vector, scale: float) -> Vector:
    """Sum a + scale b."""
    return a[0] + scale * b[0], a[1] + scale * b[1], a[2] + scale * b[2]


@relaxed_kernel
def inverse_length(a: Vector, smallest_square: float) -> float:
    """Inverse length 1 / |a|, with |a|^2 clamped to at least `smallest_square`."""
    scale: float = _ONE / np.sqrt(max(dot(a, a), smallest_square))
    return scale


@relaxed_kernel
def sh_polynomials(n: Vector) -> tuple[float, float, float, float, float, float, float, float]:
    """Real spherical harmonics 1 to 8 at a unit vector before their norms, `SH_NORMS`; harmonic 0 before its norm is 1.

    :returns: y, z, x, xy, yz, 3 z^2 - 1, xz, x^2 - y^2.
    """
    x, y, z = n
    return y, z, x, x * y, y * z, _THREE * z * z - _ONE, x * z, x * x - y * y


@relaxed_kernel
def schlick_rise(facing: float) -> tuple[float, float]:
    """Factors (1 - cos)^4 and 1 - cos of Schlick's approximation of Fresnel's law, R0 + (R90 - R0) (1 - cos)^5.

    :param facing: cosine between normal and direction to the viewer; values below 0, which only interpolated normals
        reach, count as 0.
    """
    aside = _ONE - min(max(facing, _ZERO), _ONE)
    return (aside * aside) * (aside * aside), aside


@relaxed_kernel
def mapped_normal(n: Vector, t: Vector, sign: float, mapped: Vector) -> tuple[Vector, Vector]:
    """Tangent-space normal in the space of n, not normalised, and the bitangent cross(n, t) * sign.

    :param n: unit normal; t: unit tangent perpendicular to it; sign: handedness, +1 or -1.
    :param mapped: tangent-space normal, of any length.
    """
    b = scaled(cross(n, t), sign)
    return plus(plus(scaled(t, mapped[0]), b, mapped[1]), n, mapped[2]), b


@relaxed_kernel
def mapped_normals(
    n: Vector, along: Vector, sign: float, mapped: Vector, diffuse_share: float, smallest_square: float
) -> tuple[Vector, Vector]:
    """Unit normals of the specular and of the diffuse term.

    :param n: unit normal of the smooth surface; along: its interpolated tangent, of any length; sign: its handedness.
    :param mapped: tangent-space normal, of any length.
    :param diffuse_share: `DIFFUSE_NORMAL_SHARE`.
    """
    t = plus(along, n, -dot(n, along))
    t = scaled(t, inverse_length(t, smallest_square))
    rough, _ = mapped_normal(n, t, sign, mapped)
    rough = scaled(rough, inverse_length(rough, smallest_square))
    soft = plus(n, plus(rough, n, -_ONE), diffuse_share)
    return rough, scaled(soft, inverse_length(soft, smallest_square))


@relaxed_kernel
def mirrored(n: Vector, viewer: Vector, facing: float) -> Vector:
    """Direction whose light the unit normal n mirrors to the viewer: 2 (n . v) n - v, for facing = n . v."""
    return plus(scaled(n, _TWO * facing), viewer, -_ONE)


@relaxed_kernel
def half_cosine(n: Vector, viewer: Vector, light: Vector, smallest_square: float) -> float:
    """Cosine between the unit normal n and the half vector between unit vectors to viewer and light."""
    half = plus(viewer, light, _ONE)
    return dot(n, half) * inverse_length(half, smallest_square)

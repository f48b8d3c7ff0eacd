"""Quaternions (x, y, z, w) and head angles of single poses, without arrays: some hundred a second."""

import math
from typing import Final

from fitme.motion.motion import FRONTAL, Quaternion

LEAST_LENGTH: Final = 1e-6
"""Length of a quaternion below which it has no direction."""


def multiplied(first: Quaternion, second: Quaternion) -> Quaternion:
    """The product: `second` is applied first."""
    ax, ay, az, aw = first
    bx, by, bz, bw = second
    return (
        aw * bx + ax * bw + ay * bz - az * by,
        aw * by - ax * bz + ay * bw + az * bx,
        aw * bz + ax * by - ay * bx + az * bw,
        aw * bw - ax * bx - ay * by - az * bz,
    )


def unit(quaternion: Quaternion) -> Quaternion:
    """Of length 1 and with w >= 0; frontal if it has no length."""
    length = math.sqrt(sum(value * value for value in quaternion))
    if not length > LEAST_LENGTH or not math.isfinite(length):
        return FRONTAL
    scale = math.copysign(1.0 / length, quaternion[3])
    x, y, z, w = (scale * value for value in quaternion)
    return x, y, z, w


def rotation_of_angles(yaw: float, pitch: float, roll: float) -> Quaternion:
    """Rotation by roll about +Z first, then by pitch about +X, then by yaw about +Y; radians, right-handed.

    Of a head: yaw > 0 turns to the person's left, pitch > 0 down, roll > 0 tilts to the person's right.
    """
    turn = (0.0, math.sin(yaw / 2.0), 0.0, math.cos(yaw / 2.0))
    nod = (math.sin(pitch / 2.0), 0.0, 0.0, math.cos(pitch / 2.0))
    tilt = (0.0, 0.0, math.sin(roll / 2.0), math.cos(roll / 2.0))
    return unit(multiplied(multiplied(turn, nod), tilt))


def angles_of_rotation(rotation: Quaternion) -> tuple[float, float, float]:
    """Yaw, pitch and roll in radians, the inverse of `rotation_of_angles`; pitch in [-pi / 2, pi / 2]."""
    x, y, z, w = rotation
    forward = (2.0 * (x * z + w * y), 2.0 * (y * z - w * x), 1.0 - 2.0 * (x * x + y * y))
    yaw = math.atan2(forward[0], forward[2])
    pitch = math.asin(min(max(-forward[1], -1.0), 1.0))
    roll = math.atan2(2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z))
    return yaw, pitch, roll


def mirrored_in_x(rotation: Quaternion) -> Quaternion:
    """The same rotation in a frame whose x axis points the other way: Unity's left-handed one, for a right-handed one
    with y up and z forward. Its own inverse."""
    x, y, z, w = rotation
    return x, -y, -z, w


def rotation_of_axis_angle(x: float, y: float, z: float) -> Quaternion:
    """Rotation about the axis (x, y, z) by its length in radians."""
    angle = math.sqrt(x * x + y * y + z * z)
    scale = 0.5 if angle < LEAST_LENGTH else math.sin(angle / 2.0) / angle
    return unit((scale * x, scale * y, scale * z, math.cos(angle / 2.0)))


def axis_angle_of_rotation(rotation: Quaternion) -> tuple[float, float, float]:
    """Axis times angle in radians, of length in [0, pi]."""
    x, y, z, w = unit(rotation)
    sine = math.sqrt(x * x + y * y + z * z)
    scale = 2.0 if sine < LEAST_LENGTH else 2.0 * math.atan2(sine, w) / sine
    return scale * x, scale * y, scale * z

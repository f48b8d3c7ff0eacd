"""Rotations, head poses and pinhole cameras.

Frames
------
*model*: glTF's. Right-handed, +Y up, the face looks along +Z, metres, origin midway between the eyeballs.
*view*: axes of a glTF camera. +X right, +Y up, +Z towards the viewer; visible points have negative z. A frontal head
has the identity rotation here, so that axis-angle optimisers stay far from their singularity. Lights are in this frame.
*camera*: OpenCV's. x right, y down, z forward: `view` with y and z negated.
*pixel*: x right, y down, (0, 0) is the top-left corner of the top-left pixel, whose centre is (0.5, 0.5).
"""

from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array, Float64Array

VIEW_TO_CAMERA = (1.0, -1.0, -1.0)
"""Diagonal of the matrix from view axes to OpenCV's camera axes (its own inverse)."""

_SMALL_ANGLE_RAD = 1e-4
"""Below this angle Taylor series replace quotients of angles: their error is beyond float64."""

_SHORTEST = 1e-9
"""Length below which a vector is not scaled to unit length."""

_IDENTITY = np.eye(3)
_ROTATION_GENERATORS = np.array(
    [[0, 0, 0, 0, 0, -1, 0, 1, 0], [0, 0, 1, 0, 0, 0, -1, 0, 0], [0, -1, 0, 1, 0, 0, 0, 0, 0]], np.float64
)
"""(3, 9) matrices [x]x, [y]x and [z]x of the axes, flattened."""

ArrayT = TypeVar("ArrayT", Tensor, Float64Array)
"""A torch tensor or a float64 NumPy array."""
RealArrayT = TypeVar("RealArrayT", Float32Array, Float64Array)
"""A NumPy array of either precision."""


def rotation_matrix(axis_angle: ArrayT) -> ArrayT:
    """Rotation matrices (..., 3, 3) of axis-angle vectors (..., 3) in radians, by Rodrigues' formula.

    R = I + sin(t)/t [w]x + (1 - cos(t))/t^2 [w]x^2 with t = |w|; both factors by their Taylor series near zero, so that
    gradients are finite there. Torch tensors stay on their device and are differentiable; NumPy arrays are float64.
    """
    xp: Any = torch if isinstance(axis_angle, Tensor) else np
    squared = (axis_angle * axis_angle).sum(-1)  # (...)
    small = squared < _SMALL_ANGLE_RAD**2
    # The branch that is not taken must not divide by zero either: its gradient would be NaN.
    safe = xp.where(small, xp.ones_like(squared), squared)
    angle = xp.sqrt(safe)
    a = xp.where(small, 1.0 - squared / 6.0, xp.sin(angle) / angle)
    b = xp.where(small, 0.5 - squared / 24.0, (1.0 - xp.cos(angle)) / safe)
    cross = cross_matrix(axis_angle)
    identity: Any = _IDENTITY
    if isinstance(axis_angle, Tensor):
        identity = torch.eye(3, dtype=axis_angle.dtype, device=axis_angle.device)
    rotation: ArrayT = identity + a[..., None, None] * cross + b[..., None, None] * (cross @ cross)
    return rotation


def head_rotation(yaw_rad: float, pitch_rad: float = 0.0, roll_rad: float = 0.0) -> Float64Array:
    """(3, 3) rotation from model to view of a head with these angles, the inverse of `HeadPose.yaw_pitch_roll`: roll
    about its forward axis first, then pitch, then yaw."""
    turn, nod, tilt = rotation_matrix(np.array([[0.0, yaw_rad, 0.0], [-pitch_rad, 0.0, 0.0], [0.0, 0.0, roll_rad]]))
    return np.asarray(turn @ nod @ tilt)


def unit_vectors(vectors: RealArrayT) -> RealArrayT:
    """Vectors (..., 3) scaled to length 1, of the same precision; zero stays zero."""
    unit: RealArrayT = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), _SHORTEST)
    return unit


def cross_matrix(vector: ArrayT) -> ArrayT:
    """Matrices [v]x (..., 3, 3) with [v]x w = v x w, of vectors (..., 3): torch tensors or float64 NumPy arrays."""
    if not isinstance(vector, Tensor):
        return (vector @ _ROTATION_GENERATORS).reshape(*vector.shape[:-1], 3, 3)  # twice as fast as stacking
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape[:-1], 3, 3)


def quaternion_from_axis_angle(axis_angle: Tensor) -> Tensor:
    """Unit quaternions (..., 4) in the order x, y, z, w of axis-angle vectors (..., 3) in radians."""
    squared = (axis_angle * axis_angle).sum(-1, keepdim=True)
    small = squared < _SMALL_ANGLE_RAD**2
    angle = torch.where(small, torch.ones_like(squared), squared).sqrt()
    scale = torch.where(small, 0.5 - squared / 48.0, (angle / 2).sin() / angle)
    real = torch.where(small, 1.0 - squared / 8.0, (angle / 2).cos())
    quaternion = torch.cat([axis_angle * scale, real], -1)
    return torch.nn.functional.normalize(quaternion, dim=-1)


def axis_angle_from_quaternion(quaternion: Tensor) -> Tensor:
    """Axis-angle vectors (..., 3) in radians, norm in [0, pi], of unit quaternions (..., 4) in the order x, y, z, w."""
    quaternion = torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
    sine = quaternion[..., :3].norm(dim=-1, keepdim=True)
    angle = 2.0 * torch.atan2(sine, quaternion[..., 3:])
    small = sine < _SMALL_ANGLE_RAD
    scale = torch.where(small, 2.0 + 0.0 * angle, angle / sine.clamp(min=_SMALL_ANGLE_RAD))
    return quaternion[..., :3] * scale


def axis_angle_from_matrix(matrix: Tensor) -> Tensor:
    """Axis-angle vectors (..., 3) in radians, norm in [0, pi], of rotation matrices (..., 3, 3)."""
    return axis_angle_from_quaternion(quaternion_from_matrix(matrix))


def quaternion_from_matrix(matrix: Tensor) -> Tensor:
    """Unit quaternions (..., 4) in the order x, y, z, w, w >= 0, of rotation matrices (..., 3, 3).

    The quaternion is the dominant eigenvector of a symmetric 4x4 matrix (Bar-Itzhack, JGCD 2000), which needs no case
    distinction and is stable at every angle.
    """
    m = matrix
    rows = [
        [m[..., 0, 0] - m[..., 1, 1] - m[..., 2, 2], m[..., 0, 1] + m[..., 1, 0], m[..., 0, 2] + m[..., 2, 0],
         m[..., 2, 1] - m[..., 1, 2]],
        [m[..., 0, 1] + m[..., 1, 0], m[..., 1, 1] - m[..., 0, 0] - m[..., 2, 2], m[..., 1, 2] + m[..., 2, 1],
         m[..., 0, 2] - m[..., 2, 0]],
        [m[..., 0, 2] + m[..., 2, 0], m[..., 1, 2] + m[..., 2, 1], m[..., 2, 2] - m[..., 0, 0] - m[..., 1, 1],
         m[..., 1, 0] - m[..., 0, 1]],
        [m[..., 2, 1] - m[..., 1, 2], m[..., 0, 2] - m[..., 2, 0], m[..., 1, 0] - m[..., 0, 1],
         m[..., 0, 0] + m[..., 1, 1] + m[..., 2, 2]],
    ]  # fmt: skip
    symmetric = torch.stack([torch.stack(row, -1) for row in rows], -2) / 3.0
    quaternion = torch.linalg.eigh(symmetric).eigenvectors[..., :, -1]
    return torch.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


@dataclass(frozen=True)
class HeadPose:
    """Rigid motion from model space to view space: x_view = R(rotation) x_model + translation."""

    rotation: Float32Array
    """(3,) axis-angle, radians."""
    translation: Float32Array
    """(3,) metres; z is negative for a head in front of the camera."""

    def yaw_pitch_roll(self) -> tuple[float, float, float]:
        """Angles of the head in radians: yaw > 0 looks to the viewer's right, pitch > 0 looks up, roll > 0 tilts to the
        viewer's left (counter-clockwise in the image)."""
        r = rotation_matrix(self.rotation.astype(np.float64))
        forward = r[:, 2]
        yaw = float(np.arctan2(forward[0], forward[2]))
        pitch = float(np.arcsin(np.clip(forward[1], -1.0, 1.0)))
        cos_yaw, sin_yaw, cos_pitch, sin_pitch = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch)
        right = np.array([cos_yaw, 0.0, -sin_yaw])
        up = np.array([-sin_yaw * sin_pitch, cos_pitch, -cos_yaw * sin_pitch])
        roll = float(np.arctan2(r[:, 0] @ up, r[:, 0] @ right))
        return yaw, pitch, roll

    def opencv_extrinsics(self) -> Float32Array:
        """(4, 4) matrix from model space to OpenCV's camera space, metres."""
        flip = np.array(VIEW_TO_CAMERA)
        extrinsics = np.eye(4, dtype=np.float32)
        extrinsics[:3, :3] = flip[:, None] * rotation_matrix(self.rotation.astype(np.float64))
        extrinsics[:3, 3] = flip * self.translation
        return extrinsics


@dataclass(frozen=True)
class Camera:
    """Pinhole camera with square pixels and no distortion."""

    focal_px: float
    """Focal length in pixels."""
    center_x_px: float
    """Principal point, pixels from the left edge."""
    center_y_px: float
    """Principal point, pixels from the top edge."""
    width: int
    """Width of the image in pixels."""
    height: int
    """Height of the image in pixels."""
    whole_side_px: float | None = None
    """Longer side, in pixels of this image, of the whole image of which it is a window; None if it is a whole one."""

    @property
    def longer_side_px(self) -> float:
        """Longer side of the whole image, to which relative focal lengths refer."""
        return max(self.width, self.height) if self.whole_side_px is None else self.whole_side_px

    @staticmethod
    def centered(focal_px: float, width: int, height: int) -> "Camera":
        """Camera whose principal point is the centre of the image."""
        return Camera(focal_px, width / 2.0, height / 2.0, width, height)

    def window(self, left_px: float, top_px: float, size_px: float, resolution: int) -> "Camera":
        """Camera of a square window of this one's image, resampled to `resolution` pixels a side."""
        scale = resolution / size_px
        return Camera(
            self.focal_px * scale,
            (self.center_x_px - left_px) * scale,
            (self.center_y_px - top_px) * scale,
            resolution,
            resolution,
            self.longer_side_px * scale,
        )

    def project(self, view: Tensor) -> Tensor:
        """Pixel coordinates (..., 2) of view-space points (..., 3) in metres; z must be negative."""
        depth = -view[..., 2]
        x = self.center_x_px + self.focal_px * view[..., 0] / depth
        y = self.center_y_px - self.focal_px * view[..., 1] / depth
        return torch.stack([x, y], -1)

    def clip(self, view: Tensor, near_m: float = 0.05, far_m: float = 10.0) -> Tensor:
        """Clip-space positions (..., 4) of view-space points (..., 3).

        Clip y grows downwards, so that row 0 of a rasterized image (clip y = -1, as in nvdiffrast) is the image's top
        row.
        """
        depth = -view[..., 2]
        x = 2.0 * self.focal_px / self.width * view[..., 0] + (2.0 * self.center_x_px / self.width - 1.0) * depth
        y = -2.0 * self.focal_px / self.height * view[..., 1] + (2.0 * self.center_y_px / self.height - 1.0) * depth
        z = (far_m + near_m) / (far_m - near_m) * depth - 2.0 * far_m * near_m / (far_m - near_m)
        return torch.stack([x, y, z, depth], -1)


def image_points(points: Float32Array, pose: HeadPose, camera: Camera) -> Float32Array:
    """Pixel coordinates (N, 2) of points (N, 3) of the model frame, metres."""
    turned = pose.opencv_extrinsics()
    view = (points @ turned[:3, :3].T + turned[:3, 3]) * np.array(VIEW_TO_CAMERA, np.float32)
    return np.asarray(camera.project(torch.from_numpy(view.astype(np.float32))).numpy(), np.float32)


def transform(rotation: Tensor, translation: Tensor, points: Tensor) -> Tensor:
    """Points (..., N, 3), rotated by axis-angle vectors (..., 3) in radians and then moved by translations (..., 3)."""
    return points @ rotation_matrix(rotation).transpose(-1, -2) + translation[..., None, :]

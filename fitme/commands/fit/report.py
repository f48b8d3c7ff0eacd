"""Cameras, poses, expressions and lights in `report.json`. Rotations are unit quaternions x, y, z, w."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from fitme.fit.estimate import Illumination, KeyframeEstimate
from fitme.fit.state import RoundReport
from fitme.geometry import Camera, HeadPose, quaternion_from_axis_angle
from fitme.shape.expressions import EXPRESSION_NAMES

Json = dict[str, Any]

VERSION = 1
_DIGITS = 6


def frame_json(estimate: KeyframeEstimate, camera: Camera) -> Json:
    """Camera, pose, expression, light and loss of one frame."""
    return {
        "camera": camera_json(camera),
        "pose": pose_json(estimate.pose),
        "expression": dict(zip(EXPRESSION_NAMES, _rounded(estimate.expression), strict=True)),
        "light": light_json(estimate.illumination),
        "loss": finite(estimate.loss),
    }


def light_json(light: Illumination) -> Json:
    """Harmonics, and the key light or null."""
    key = light.key
    return {
        "frame": "view: +X right, +Y up, +Z towards the viewer",
        "sh": _rounded(light.sh),
        "key": None if key is None else {"direction": _rounded(key.direction), "color": _rounded(key.color)},
    }


def camera_json(camera: Camera) -> Json:
    """Pinhole camera, pixels."""
    return {
        "focal_px": camera.focal_px,
        "center_px": [camera.center_x_px, camera.center_y_px],
        "width": camera.width,
        "height": camera.height,
    }


def pose_json(pose: HeadPose) -> Json:
    """Pose of the head, model frame to view frame, also as OpenCV's extrinsics."""
    quaternion = quaternion_from_axis_angle(torch.from_numpy(pose.rotation).double()).numpy()
    yaw, pitch, roll = (math.degrees(angle) for angle in pose.yaw_pitch_roll())
    return {
        "rotation_xyzw": _rounded(quaternion),
        "translation_m": _rounded(pose.translation),
        "yaw_pitch_roll_deg": _rounded(np.array([yaw, pitch, roll])),
        "opencv_extrinsics": _rounded(pose.opencv_extrinsics()),
    }


def round_json(report: RoundReport) -> Json:
    """One round of refinement."""
    return {
        "index": report.index,
        "stage": report.stage,
        "seconds": round(report.seconds, 3),
        "keyframes": report.keyframes,
        "losses": losses_json(report.losses),
    }


def losses_json(losses: Mapping[str, float]) -> Json:
    """Named figures."""
    return {name: finite(value) for name, value in losses.items()}


def finite(value: float) -> float | None:
    """The value, or None (JSON's null) for one that JSON cannot hold."""
    return float(value) if math.isfinite(value) else None


def _rounded(values: npt.NDArray[Any]) -> list[Any]:
    numbers: list[Any] = np.round(np.asarray(values, np.float64), _DIGITS).tolist()
    return numbers

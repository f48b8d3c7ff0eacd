"""Virtual camera: an avatar, drawn as it moves, that calls and recorders list beside the real cameras.

Needs the package pyvirtualcam (GPL-2.0; extra `virtual-camera`), and a driver: v4l2loopback on Linux, OBS's own on
Windows and macOS.
"""

import threading
from typing import TYPE_CHECKING

import numpy as np
import torch

from fitme.arrays import UInt8Array
from fitme.avatar import Avatar
from fitme.color import srgb_to_linear
from fitme.commands.drive.settings import VirtualCameraSettings
from fitme.errors import BackendError
from fitme.export.portrait import (
    DISTANCE_M,
    PIVOT_M,
    expression_of,
    portrait_camera,
    portrait_light,
    portrait_renderer,
)
from fitme.geometry import HeadPose, rotation_matrix
from fitme.motion.motion import Motion
from fitme.motion.rotations import axis_angle_of_rotation
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel

if TYPE_CHECKING:
    import pyvirtualcam

LIGHT_RAD = (0.6, 0.45)
"""Azimuth and elevation of the key light."""


class AvatarFrames:
    """Draws an avatar under motion."""

    def __init__(self, avatar: Avatar, model: MorphableModel, settings: VirtualCameraSettings) -> None:
        self._avatar = avatar
        self._model = model
        self._side = min(settings.width, settings.height)
        self._renderer = portrait_renderer(avatar, model, self._side)
        self._light = portrait_light(*LIGHT_RAD)
        encoded = torch.tensor(settings.background, dtype=torch.float64)
        self._background = srgb_to_linear(encoded).tolist()
        codes = np.rint(255.0 * np.asarray(settings.background)).astype(np.uint8)
        self._frame = np.broadcast_to(codes, (settings.height, settings.width, 3)).copy()

    @torch.no_grad()
    def draw(self, motion: Motion) -> UInt8Array:
        """(height, width, 3) sRGB: the avatar in the middle, before the background."""
        weights = dict(zip(EXPRESSION_NAMES, motion.weights, strict=True))
        expression = expression_of(weights)
        vertices = self._model.vertices(self._avatar.identity[None], expression[None])[0].numpy()
        axis_angle = np.array(axis_angle_of_rotation(motion.rotation))
        # About the pivot in the skull, so that the head stays in the frame.
        translation = np.array([0.0, 0.0, -DISTANCE_M]) - rotation_matrix(axis_angle) @ np.array(PIVOT_M)
        pose = HeadPose(axis_angle.astype(np.float32), translation.astype(np.float32))
        image = self._renderer.render(vertices, pose, portrait_camera(self._side), self._light, self._background)
        height, width = self._frame.shape[:2]
        top, left = (height - self._side) // 2, (width - self._side) // 2
        self._frame[top : top + self._side, left : left + self._side] = image
        return self._frame

    def close(self) -> None:
        """End the renderer's threads."""
        self._renderer.close()


def open_virtual_camera(settings: VirtualCameraSettings) -> "pyvirtualcam.Camera":
    """The first virtual camera of this machine.

    :raises BackendError: if the package or a driver is missing.
    """
    try:
        import pyvirtualcam
    except ImportError as error:
        raise BackendError(
            "a virtual camera needs the package pyvirtualcam: pip install 'fitme[virtual-camera]'"
        ) from error
    try:
        return pyvirtualcam.Camera(settings.width, settings.height, settings.frames_per_second)
    except RuntimeError as error:
        raise BackendError(
            "there is no virtual camera: on Linux load its driver (sudo modprobe v4l2loopback), on Windows and macOS "
            f"install OBS and start its virtual camera once ({' '.join(str(error).split())})"
        ) from error


class VirtualCameraOutput:
    """Draws the newest motion in a thread of its own and shows it."""

    def __init__(self, frames: AvatarFrames, camera: "pyvirtualcam.Camera") -> None:
        self._frames = frames
        self._camera = camera
        self._motion: Motion | None = None
        self._changed = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="virtual camera", daemon=True)
        self._thread.start()

    def send(self, motion: Motion) -> None:
        """Draw this motion next, in place of an earlier one that is not drawn yet."""
        self._motion = motion
        self._changed.set()

    async def close(self) -> None:
        """End the camera."""
        self._stopped = True
        self._changed.set()
        self._thread.join()

    def _run(self) -> None:
        with self._camera:
            while True:
                self._changed.wait()
                self._changed.clear()
                if self._stopped:
                    break
                motion, self._motion = self._motion, None
                if motion is not None:
                    self._camera.send(self._frames.draw(motion))
        self._frames.close()

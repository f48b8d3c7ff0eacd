"""Virtual camera, head pose and light of a scene's controls."""

import math
from functools import cache, lru_cache

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.color import srgb_to_linear
from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation, rotation_matrix
from fitme.render.environment.presets import preset_environment
from fitme.render.environment.surroundings import Surroundings, surroundings_of
from fitme.render.light import Light
from fitme.render.reflection import SH_BAND_0, SH_BAND_1, SH_COUNT
from stream.protocol.protocol import LightPreset, Mode
from stream.protocol.scene import Scene, Vector

FOCAL_PER_SIZE = 1.55
"""Focal length over the render's size: a head at the default distance fills three quarters of the render."""
CENTER_HEIGHT = 0.45
"""Height of the midpoint between the eyes, from the top, over the render's size."""
FOLLOW = 0.6
"""Share of the head's sideways motion that the avatar takes over."""
TURNTABLE_PERIOD_S = 8.0
TURNTABLE_SWING_RAD = 1.0


def virtual_camera(size_px: int) -> Camera:
    """Camera of the renders, square."""
    return Camera(FOCAL_PER_SIZE * size_px, size_px / 2.0, CENTER_HEIGHT * size_px, size_px, size_px)


def head_pose(scene: Scene, tracked: HeadPose | None, time_s: float) -> HeadPose:
    """Pose of the avatar before the virtual camera.

    In mirror mode it takes over the tracked rotation and some of the sideways motion; the scene's orbit then turns the
    head, not the lights, which stay with the viewer.
    """
    rotation, offset = np.eye(3), np.zeros(2)
    if scene.mode is Mode.TURNTABLE:
        phase = 2.0 * math.pi * time_s / TURNTABLE_PERIOD_S
        rotation = head_rotation(TURNTABLE_SWING_RAD * math.sin(phase))
    elif tracked is not None:
        rotation = rotation_matrix(torch.from_numpy(tracked.rotation).double()).numpy()
        depth = max(-float(tracked.translation[2]), 1e-3)
        offset = FOLLOW * tracked.translation[:2].astype(np.float64) * scene.distance / depth
    # A camera that moves right or up sees a head that turns left or down.
    rotation = head_rotation(0.0, -scene.pitch) @ head_rotation(-scene.yaw) @ rotation
    axis_angle = axis_angle_from_matrix(torch.from_numpy(rotation)).numpy()
    translation = np.array([offset[0], offset[1], -scene.distance])
    return HeadPose(axis_angle.astype(np.float32), translation.astype(np.float32))


def scene_light(scene: Scene, fitted_sh: Float32Array | None) -> Light:
    """The light of a scene; `fitted_sh` (9, 3) is the illumination estimated in the newest keyframe."""
    directions, colors = [], []
    if scene.intensity > 0.0:
        directions.append(scene.direction)
        colors.append([scene.intensity * value for value in linear_color(scene.color)])
    if (surroundings := scene_surroundings(scene)) is not None:
        sh = surroundings.light.sh[0]
        directions += surroundings.light.directions[0].tolist()
        colors += surroundings.light.colors[0].tolist()
    elif scene.preset is LightPreset.CAMERA and fitted_sh is not None:
        sh = scene.ambient * torch.from_numpy(np.asarray(fitted_sh, np.float32))
    else:
        level, gradient, extra = _PRESETS.get(scene.preset, _PRESETS[LightPreset.STUDIO])
        sh = torch.zeros(SH_COUNT, 3)
        sh[0] = scene.ambient * torch.tensor(level) / SH_BAND_0
        # Order 1 in the order y, z, x: shading level + gradient . n.
        slopes = torch.tensor([gradient[1], gradient[2], gradient[0]])[:, None]
        sh[1:4] = scene.ambient * slopes * torch.tensor(level) / SH_BAND_1
        directions += [direction for direction, _ in extra]
        colors += [[scene.ambient * value for value in color] for _, color in extra]
    return Light(
        sh[None],
        torch.tensor(directions, dtype=torch.float32).reshape(1, -1, 3),
        torch.tensor(colors, dtype=torch.float32).reshape(1, -1, 3),
    )


def scene_surroundings(scene: Scene) -> Surroundings | None:
    """Surroundings of a scene, turned and scaled; None if its light has none."""
    name = scene.preset.panorama
    return None if name is None else _surroundings(name, scene.turn, scene.ambient)


@lru_cache(maxsize=8)
def _surroundings(name: str, turn: float, level: float) -> Surroundings:
    return _preset_surroundings(name).turned(turn).scaled(level)


@cache
def _preset_surroundings(name: str) -> Surroundings:
    """Some 0.1 s for each name."""
    return surroundings_of(preset_environment(name))


def linear_color(encoded: Vector) -> Vector:
    """An sRGB-encoded colour as linear light."""
    r, g, b = srgb_to_linear(torch.tensor(encoded, dtype=torch.float64)).tolist()
    return r, g, b


_PRESETS: dict[LightPreset, tuple[Vector, Vector, tuple[tuple[Vector, Vector], ...]]] = {
    # Mean level, relative gradient along x, y, z, and (direction, colour) of further lights.
    LightPreset.STUDIO: ((0.55, 0.55, 0.55), (-0.1, 0.45, 0.4), (((-0.45, 0.55, 0.70), (0.55, 0.53, 0.50)),)),
    LightPreset.SKY: ((0.62, 0.70, 0.82), (0.0, 0.6, 0.1), (((0.3, 0.9, 0.3), (0.35, 0.33, 0.28)),)),
    LightPreset.RIM: (
        (0.12, 0.12, 0.14),
        (0.0, 0.2, 0.2),
        (((-0.93, 0.15, -0.33), (1.6, 0.75, 0.35)), ((0.93, 0.15, -0.33), (0.3, 0.65, 1.7))),
    ),
    LightPreset.DARK: ((0.03, 0.03, 0.035), (0.0, 0.0, 0.0), ()),
}

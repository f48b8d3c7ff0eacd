"""Renders and files of an avatar from Python, in degrees and named expressions."""

import math
from collections.abc import Mapping
from pathlib import Path

from fitme.arrays import UInt8Array
from fitme.avatar import Avatar
from fitme.errors import InputError
from fitme.export.gltf.avatar import write_glb as _write_glb
from fitme.export.portrait import draw_portrait, portrait_light, portrait_pose
from fitme.export.turntable import write_turntable as _write_turntable
from fitme.render.environment.files import load_environment
from fitme.render.environment.surroundings import Surroundings, surroundings_of
from fitme.render.light import Light
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model

DEFAULT_SIZE_PX = 512
DEFAULT_AZIMUTH_DEG, DEFAULT_ELEVATION_DEG = 35.0, 25.0
"""Direction of the key light where none is given."""


def key_light(
    azimuth: float = DEFAULT_AZIMUTH_DEG, elevation: float = DEFAULT_ELEVATION_DEG, intensity: float = 1.0
) -> Light:
    """Key light with a fill and a rim.

    :param azimuth: degrees from the camera towards the viewer's right.
    :param elevation: degrees upwards.
    :param intensity: of the key light, over its usual one.
    """
    return portrait_light(math.radians(azimuth), math.radians(elevation), intensity)


def environment_light(source: str | Path, turn: float = 0.0) -> Surroundings:
    """Light by picture: surroundings that light the avatar, are mirrored by it and lie blurred behind it.

    :param source: an equirectangular panorama (.hdr, .jpg, .png), or one of studio, window, overcast, sunset, club.
    :param turn: degrees by which the surroundings turn, to the left.
    :raises InputError: the file is no panorama, or too large.
    """
    return surroundings_of(load_environment(source), math.radians(turn))


def render_avatar(
    avatar: Avatar,
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    light: Light | Surroundings | None = None,
    expression: Mapping[str, float] | None = None,
    size: int = DEFAULT_SIZE_PX,
) -> UInt8Array:
    """Draw an avatar.

    :param yaw: degrees by which the head looks to the viewer's right; pitch: degrees upwards.
    :param light: of `key_light` or `environment_light`, or any `fitme.render.light.Light` with a batch of 1.
    :param expression: ARKit coefficients by name (`fitme.EXPRESSION_NAMES`), 0 to 1.
    :param size: pixels a side.
    :returns: (`size`, `size`, 3) uint8 sRGB.
    :raises InputError: a name that ARKit does not have.
    """
    expression = expression or {}
    unknown = sorted(expression.keys() - set(EXPRESSION_NAMES))
    if unknown:
        raise InputError(f"{', '.join(unknown)}: not ARKit expressions; fitme.EXPRESSION_NAMES has them all")
    key = portrait_light(math.radians(DEFAULT_AZIMUTH_DEG), math.radians(DEFAULT_ELEVATION_DEG))
    pose = portrait_pose(math.radians(yaw), math.radians(pitch))
    return draw_portrait(avatar, load_default_model(), expression, pose, key if light is None else light, size)


def load_avatar(path: str | Path) -> Avatar:
    """Read an avatar: the file that `Avatar.save` wrote, or a folder of `fitme fit`. ModelFileError if it is none."""
    return Avatar.load(Path(path))


def write_glb(avatar: Avatar, path: str | Path) -> None:
    """Write an avatar as binary glTF 2.0 with maps and 52 ARKit blendshapes."""
    _write_glb(avatar, load_default_model(), Path(path))


def write_turntable(avatar: Avatar, path: str | Path) -> None:
    """Write a video (.mp4) of the avatar, turning under a moving light."""
    _write_turntable(avatar, load_default_model(), Path(path).absolute())

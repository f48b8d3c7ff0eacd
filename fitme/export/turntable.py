"""A short video of an avatar that turns its head under a moving light."""

import math
from collections.abc import Iterator
from pathlib import Path

from fitme.arrays import UInt8Array
from fitme.avatar import Avatar
from fitme.export.portrait import (
    avatar_vertices,
    encoded_portrait,
    portrait_camera,
    portrait_light,
    portrait_pose,
    portrait_renderer,
)
from fitme.export.video import write_mp4
from fitme.render.environment.surroundings import Surroundings
from fitme.render.light import Light
from fitme.shape.morphable_model import MorphableModel

RATE_HZ = 30
SECONDS = 4.0
RESOLUTION_PX = 512
LARGEST_YAW_RAD = math.radians(60.0)
LARGEST_LIGHT_AZIMUTH_RAD = math.radians(75.0)
LIGHT_TURNS = 2
"""Times that the light goes there and back while the head does once."""
LIGHT_ELEVATION_RAD = math.radians(25.0)


def turntable_frames(
    avatar: Avatar, model: MorphableModel, surroundings: Surroundings | None = None
) -> Iterator[UInt8Array]:
    """Renders (`RESOLUTION_PX`, `RESOLUTION_PX`, 3), sRGB, that loop without a jump.

    :param surroundings: turn once round the head; a key light moves if None.
    """
    renderer = portrait_renderer(avatar, model, RESOLUTION_PX)
    camera = portrait_camera(RESOLUTION_PX)
    vertices = avatar_vertices(avatar, model, {})
    count = round(RATE_HZ * SECONDS)
    for index in range(count):
        phase = 2.0 * math.pi * index / count
        light: Light | Surroundings
        if surroundings is None:
            light = portrait_light(LARGEST_LIGHT_AZIMUTH_RAD * math.sin(LIGHT_TURNS * phase), LIGHT_ELEVATION_RAD)
        else:
            light = surroundings.turned(phase)
        pose = portrait_pose(LARGEST_YAW_RAD * math.sin(phase))
        yield encoded_portrait(renderer, vertices, pose, camera, light)


def write_turntable(
    avatar: Avatar, model: MorphableModel, path: Path, surroundings: Surroundings | None = None
) -> None:
    """Write the avatar's turntable as an mp4 file."""
    write_mp4(turntable_frames(avatar, model, surroundings), RATE_HZ, path)

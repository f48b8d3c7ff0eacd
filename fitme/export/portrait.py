"""Set-up of an avatar's portrait: the virtual camera, the pose of the head, and a key light with a fill and a rim."""

import math
from collections.abc import Mapping

import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.avatar import Avatar
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation
from fitme.hair.head_renderer import HeadRenderer
from fitme.render.environment.surroundings import Surroundings
from fitme.render.light import Light
from fitme.render.supersampling import SUPERSAMPLING, averaged_samples
from fitme.shape.expressions import EXPRESSION_COUNT, EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.resting_lids import with_resting_lids

DISTANCE_M = 0.9
"""Distance of the camera from the pivot."""
FOCAL_OVER_SIDE = 2.5
"""Focal length over the render's side: a portrait lens, whose frame the head fills."""
PIVOT_M = (0.0, -0.025, -0.07)
"""Point of the model frame about which the head turns, and which stays in the render's middle: inside the skull."""
BACKGROUND = (0.03, 0.033, 0.038)
"""Linear colour behind the head."""
FILL_LEVEL = 0.3
"""Uniform light: shading of a white surface."""
KEY_COLOR = (0.95, 0.9, 0.84)
"""Linear colour of the light that the user moves."""
RIM_COLOR = (0.22, 0.26, 0.34)
"""Linear colour of the light that stays behind the head."""
RIM_DIRECTION = (-0.75, 0.35, -0.56)
"""Where the rim light comes from, view frame."""


def portrait_camera(resolution: int) -> Camera:
    """Camera of a square render of `resolution` pixels a side."""
    return Camera.centered(FOCAL_OVER_SIDE * resolution, resolution, resolution)


def portrait_pose(yaw_rad: float, pitch_rad: float = 0.0) -> HeadPose:
    """Head in the middle of the render, looking to the viewer's right by `yaw_rad` and up by `pitch_rad`."""
    rotation = head_rotation(yaw_rad, pitch_rad)
    axis_angle = axis_angle_from_matrix(torch.from_numpy(rotation)).numpy().astype(np.float32)
    translation = np.array([0.0, 0.0, -DISTANCE_M]) - rotation @ np.array(PIVOT_M)
    return HeadPose(axis_angle, translation.astype(np.float32))


def portrait_light(azimuth_rad: float, elevation_rad: float, intensity: float = 1.0) -> Light:
    """Fill, rim, and a key light of the given relative `intensity`.

    `azimuth_rad` is measured from the camera towards the viewer's right, `elevation_rad` upwards.
    """
    horizontal = math.cos(elevation_rad)
    key = [horizontal * math.sin(azimuth_rad), math.sin(elevation_rad), horizontal * math.cos(azimuth_rad)]
    directions = torch.nn.functional.normalize(torch.tensor([[key, list(RIM_DIRECTION)]]), dim=-1)
    colors = torch.tensor([[[intensity * channel for channel in KEY_COLOR], list(RIM_COLOR)]])
    return Light(Light.ambient(FILL_LEVEL).sh, directions, colors)


def avatar_vertices(avatar: Avatar, model: MorphableModel, coefficients: Mapping[str, float]) -> Float32Array:
    """(V, 3) metres, model frame: the avatar with the ARKit expressions named in `coefficients`, its lids at
    rest without."""
    with torch.no_grad():
        expression = with_resting_lids(expression_of(coefficients), avatar.resting_lids)
        posed = model.vertices(avatar.identity[None], expression[None])[0]
    vertices: Float32Array = posed.numpy()
    return vertices


def expression_of(coefficients: Mapping[str, float]) -> torch.Tensor:
    """(52,) of ARKit expressions by name."""
    expression = torch.zeros(EXPRESSION_COUNT)
    for name, value in coefficients.items():
        expression[EXPRESSION_NAMES.index(name)] = value
    return expression


def portrait_renderer(avatar: Avatar, model: MorphableModel, resolution: int) -> HeadRenderer:
    """Renderer of square images of the avatar, `resolution` pixels a side."""
    renderer = HeadRenderer(model, resolution, shadows=True)
    renderer.set_maps(avatar.maps)
    renderer.set_hair(avatar.hair, model, avatar.identity)
    renderer.set_glasses(avatar.glasses)
    return renderer


def linear_portrait(
    renderer: HeadRenderer, vertices: Float32Array, pose: HeadPose, camera: Camera, light: Light | Surroundings
) -> Float32Array:
    """Linear render (H, W, 3) of a head before `BACKGROUND`, or before its surroundings, which it then mirrors."""
    if isinstance(light, Light):
        return bytes_to_linear(renderer.render(vertices, pose, camera, light, BACKGROUND))
    renderer.set_reflections(light.reflections)
    image, mask = renderer.render_with_mask(vertices, pose, camera, light.light)
    uncovered = 1.0 - mask[..., None].astype(np.float32) / 255.0
    return np.asarray(bytes_to_linear(image) + uncovered * light.backdrop(camera), np.float32)


def encoded_portrait(
    renderer: HeadRenderer, vertices: Float32Array, pose: HeadPose, camera: Camera, light: Light | Surroundings
) -> UInt8Array:
    """`linear_portrait` as 8-bit sRGB."""
    if isinstance(light, Light):
        return renderer.render(vertices, pose, camera, light, BACKGROUND)
    return linear_to_bytes(linear_portrait(renderer, vertices, pose, camera, light))


def draw_portrait(
    avatar: Avatar,
    model: MorphableModel,
    coefficients: Mapping[str, float],
    pose: HeadPose,
    light: Light | Surroundings,
    resolution: int,
) -> UInt8Array:
    """A still render (`resolution`, `resolution`, 3), sRGB, of the avatar before `BACKGROUND` or its surroundings."""
    samples = resolution * SUPERSAMPLING
    renderer = portrait_renderer(avatar, model, samples)
    renderer.set_maps(avatar.maps_with(expression_of(coefficients)))
    vertices = avatar_vertices(avatar, model, coefficients)
    fine = linear_portrait(renderer, vertices, pose, portrait_camera(samples), light)
    return linear_to_bytes(averaged_samples(fine))

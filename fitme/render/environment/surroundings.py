"""Surroundings, turned and ready to be rendered: light, reflections, and the blurred panorama behind the head."""

from dataclasses import dataclass, replace

import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.geometry import Camera
from fitme.render.environment.panorama import Environment, panorama_place
from fitme.render.environment.reflections import Reflections, reflections_of
from fitme.render.light import Light

BACKDROP_LEVEL = 2
"""Level of the reflections that is seen behind the head: blurred, as by a portrait lens."""


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What a head is rendered in: for `ForwardRenderer.set_reflections` and `ForwardRenderer.render`."""

    environment: Environment
    light: Light
    """Batch of one, view frame."""
    reflections: Reflections

    def turned(self, turn_rad: float) -> "Surroundings":
        """The same, turned to another angle, without blurring anything again."""
        reflections = replace(self.reflections, turn=turn_rad / (2.0 * np.pi))
        return Surroundings(self.environment, self.environment.light(turn_rad), reflections)

    def scaled(self, level: float) -> "Surroundings":
        """The same, brighter or darker by a factor."""
        light = Light(level * self.light.sh, self.light.directions, level * self.light.colors)
        reflections = replace(self.reflections, texels=np.float32(level) * self.reflections.texels)
        return Surroundings(self.environment, light, reflections)

    def backdrop(self, camera: Camera) -> Float32Array:
        """(H, W, 3) linear: what a camera sees of the surroundings, blurred."""
        rows, columns = np.mgrid[: camera.height, : camera.width] + 0.5
        x = (columns - camera.center_x_px) / camera.focal_px
        y = (camera.center_y_px - rows) / camera.focal_px
        rays = np.stack([x, y, -np.ones_like(x)], -1)
        rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
        place = panorama_place(rays) + np.array([self.reflections.turn, 0.0])
        return sampled(self.reflections.level(BACKDROP_LEVEL), place)


def surroundings_of(environment: Environment, turn_rad: float = 0.0) -> Surroundings:
    """Surroundings turned about the vertical axis, counter-clockwise seen from above."""
    return Surroundings(environment, environment.light(turn_rad), reflections_of(environment, turn_rad))


def sampled(panorama: Float32Array, place: Float64Array) -> Float32Array:
    """Bilinear samples (..., 3) of a panorama (R, C, 3), closed round the head, at places (..., 2)."""
    rows, columns = panorama.shape[:2]
    x, y = place[..., 0] * columns - 0.5, np.clip(place[..., 1] * rows - 0.5, 0.0, rows - 1.0)
    left, top = np.floor(x).astype(int), np.minimum(y.astype(int), rows - 2)
    fx, fy = (x - left)[..., None], (y - top)[..., None]
    c0, c1 = left % columns, (left + 1) % columns
    upper = (1.0 - fx) * panorama[top, c0] + fx * panorama[top, c1]
    lower = (1.0 - fx) * panorama[top + 1, c0] + fx * panorama[top + 1, c1]
    return np.asarray((1.0 - fy) * upper + fy * lower, np.float32)

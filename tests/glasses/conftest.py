"""A painted head before a camera, with or without glasses that are drawn into its images as strokes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from fitme.arrays import Float32Array, Float64Array
from fitme.color import bytes_to_linear, linear_to_bytes
from fitme.export.portrait import portrait_pose
from fitme.geometry import Camera
from fitme.glasses.fit import fit_glasses
from fitme.glasses.glasses import Glasses
from fitme.glasses.settings import GlassesSettings
from fitme.glasses.sheet import GlassesFrame
from fitme.parts.renderer import PartsRenderer
from fitme.render.light import Light
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.skin.painter import synthesize_skin

CAMERA = Camera.centered(900.0, 480, 480)
LIGHT = Light.ambient(0.8)
YAWS_DEG = (0.0, -8.0, 8.0, 25.0, -25.0)
FINE = 4
"""Samples a pixel of the strokes."""


@dataclass(frozen=True)
class DrawnGlasses:
    """Glasses as they are drawn: ellipses on a plane before the eyes, with a bridge."""

    color: tuple[float, float, float]
    """Linear, light included."""
    width_m: float = 0.003
    half_axes_m: tuple[float, float] = (0.025, 0.019)
    middle_m: tuple[float, float] = (0.033, -0.005)
    before_corneas_m: float = 0.012
    lens: float = 1.0
    """Share of the light that lenses let through."""

    def rim(self, side: float, depth_m: float) -> Float64Array:
        """(200, 3) middle line of a rim: side 1 is the person's left, -1 the right."""
        angle = np.linspace(0.0, 2.0 * np.pi, 200, endpoint=False)
        x = side * (self.middle_m[0] + self.half_axes_m[0] * np.cos(angle))
        return np.stack([x, self.middle_m[1] + self.half_axes_m[1] * np.sin(angle), np.full(200, depth_m)], 1)


BLACK = DrawnGlasses((0.008, 0.008, 0.008))


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="session")
def neutral(model: MorphableModel) -> Float32Array:
    return model.mean.numpy()


@pytest.fixture(scope="session")
def depth_m(model: MorphableModel, neutral: Float32Array) -> float:
    """z of the foremost point of the corneas."""
    return float(max(neutral[ball.numpy(), 2].max() for ball in model.eyeball_vertices))


@pytest.fixture(scope="session")
def bare(model: MorphableModel, neutral: Float32Array) -> Sequence[GlassesFrame]:
    """Frames of a bare face from several directions."""
    renderer = PartsRenderer(model, (CAMERA.height, CAMERA.width), threads=1)
    renderer.set_maps(synthesize_skin(5, 256).maps())
    poses = [portrait_pose(np.radians(yaw)) for yaw in YAWS_DEG]
    images = [renderer.render(neutral, pose, CAMERA, LIGHT, (0.3, 0.35, 0.4)) for pose in poses]
    sh = LIGHT.sh[0].numpy()
    return [GlassesFrame(image, pose, CAMERA, sh) for image, pose in zip(images, poses, strict=True)]


@pytest.fixture(scope="session")
def wearing(bare: Sequence[GlassesFrame], depth_m: float) -> Callable[[DrawnGlasses], list[GlassesFrame]]:
    """Draws glasses into the bare frames."""

    def draw(glasses: DrawnGlasses) -> list[GlassesFrame]:
        return [replace(frame, image=_over(frame, glasses, depth_m)) for frame in bare]

    return draw


@pytest.fixture(scope="session")
def glasses(
    model: MorphableModel, neutral: Float32Array, wearing: Callable[[DrawnGlasses], list[GlassesFrame]]
) -> Glasses:
    """Fitted black glasses."""
    found = fit_glasses(model, neutral, wearing(BLACK), GlassesSettings())
    assert found is not None
    return found


def strokes(frame: GlassesFrame, glasses: DrawnGlasses, depth_m: float) -> tuple[Float32Array, Float32Array]:
    """Coverage (H, W) of the frame and of the lenses in an image."""
    height, width = frame.image.shape[:2]
    cover, lenses = (np.zeros((height * FINE, width * FINE), np.float32) for _ in range(2))
    z = depth_m + glasses.before_corneas_m
    scale = frame.camera.focal_px / float(-frame.pose.translation[2] - z)
    thickness = max(1, round(glasses.width_m * scale * FINE))
    inner = glasses.middle_m[0] - glasses.half_axes_m[0]
    bridge = np.stack([np.linspace(-inner, inner, 30), np.full(30, glasses.middle_m[1]), np.full(30, z)], 1)
    for line, closed in ((glasses.rim(1.0, z), True), (glasses.rim(-1.0, z), True), (bridge, False)):
        pixels = [np.rint(frame.pixels(line.astype(np.float32)) * FINE).astype(np.int32).reshape(-1, 1, 2)]
        cv2.polylines(cover, pixels, closed, (1.0,), thickness)
        if closed:
            cv2.fillPoly(lenses, pixels, (1.0,))
    size = (width, height)
    first, second = (cv2.resize(layer, size, interpolation=cv2.INTER_AREA) for layer in (cover, lenses))
    return np.asarray(first, np.float32), np.asarray(second, np.float32)


def _over(frame: GlassesFrame, glasses: DrawnGlasses, depth_m: float) -> np.ndarray:
    cover, lenses = strokes(frame, glasses, depth_m)
    linear = bytes_to_linear(frame.image) * (1.0 - (1.0 - glasses.lens) * lenses[..., None])
    return linear_to_bytes(linear + cover[..., None] * (np.array(glasses.color, np.float32) - linear))

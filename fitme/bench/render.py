"""Benchmark `render`: rate of the forward renderer, and time of a forward and backward pass of the differentiable
one."""

import math
import time
from collections.abc import Callable

import numpy as np
import torch

from fitme.bench.rows import BenchmarkRow
from fitme.geometry import Camera, HeadPose
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.light import Light
from fitme.render.occlusion import head_occlusion, mouth_occlusion
from fitme.render.renderer import render
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel

RENDER_PX = 512
STEP_PX = 256
MAP_PX = 256
FOCAL_PER_SIZE = 1.9
"""Focal length over the render's side, so that the head fills its height."""
HEAD_POSITION_M = (0.0, 0.02, -0.62)
FRAMES = 120
STEPS = 20
FORWARD_TARGET = ">= 40"
STEP_TARGET = "<= 60"


def forward_fps() -> list[BenchmarkRow]:
    """Rows of the mean head at `RENDER_PX` under harmonics and two directional lights, with normal and specular maps
    and occlusion; then one differentiable step, forward and backward, at `STEP_PX`."""
    model = load_default_model()
    maps, light = _maps(), _light()
    return [
        *_forward_rows(model, maps, light, threads=1),
        *_forward_rows(model, maps, light, threads=2),
        _step_row(model, maps, light, diffuse_only=False),
        _step_row(model, maps, light, diffuse_only=True),
    ]


def _forward_rows(model: MorphableModel, maps: ReflectanceMaps, light: Light, *, threads: int) -> list[BenchmarkRow]:
    """Rows of the forward renderer's rate and processor time, with the head turning between renders."""
    renderer = ForwardRenderer(
        model, RENDER_PX, occlusion=head_occlusion(model), mouth=mouth_occlusion(model), threads=threads
    )
    renderer.set_maps(maps)
    camera = Camera.centered(FOCAL_PER_SIZE * RENDER_PX, RENDER_PX, RENDER_PX)
    vertices = model.mean.numpy()

    def draw(index: int) -> None:
        yaw = 0.5 * math.sin(2.0 * math.pi * index / FRAMES)
        pose = HeadPose(np.array([0.0, yaw, 0.0], np.float32), np.array(HEAD_POSITION_M, np.float32))
        renderer.render(vertices, pose, camera, light)

    name = f"forward render, {RENDER_PX}x{RENDER_PX}, {threads} thread{'s' if threads > 1 else ''}"
    wall_s, processor_s = _median_seconds(draw, FRAMES)
    return [
        BenchmarkRow(name, 1.0 / wall_s, "renders/s", FORWARD_TARGET),
        BenchmarkRow(f"{name}, processor time of one render", 1e3 * processor_s, "ms"),
    ]


def _step_row(model: MorphableModel, maps: ReflectanceMaps, light: Light, *, diffuse_only: bool) -> BenchmarkRow:
    """Row of one differentiable render and its backward pass."""
    camera = Camera.centered(FOCAL_PER_SIZE * STEP_PX, STEP_PX, STEP_PX)
    trainable = maps.mapped(lambda _, values: values.clone().requires_grad_())
    identity = torch.zeros(1, model.identity_count, requires_grad=True)
    expression = torch.zeros(1, EXPRESSION_COUNT, requires_grad=True)
    rotation = torch.zeros(1, 3, requires_grad=True)
    translation = torch.tensor([HEAD_POSITION_M], requires_grad=True)

    def step(_: int) -> None:
        vertices = model.vertices(identity, expression)
        rendering = render(model, vertices, rotation, translation, camera, trainable, light, diffuse_only=diffuse_only)
        (rendering.image - 0.5).square().mean().backward()  # type: ignore[no-untyped-call]

    name = f"differentiable render, {STEP_PX}x{STEP_PX}, {'diffuse only' if diffuse_only else 'all shading'}"
    return BenchmarkRow(f"{name}, forward + backward", 1e3 * _median_seconds(step, STEPS)[0], "ms", STEP_TARGET)


def _median_seconds(work: Callable[[int], None], count: int) -> tuple[float, float]:
    """Median wall-clock and processor time (all threads) of a call in seconds, after warm-up calls."""
    for index in range(3):
        work(index)
    seconds = []
    for index in range(count):
        begin = time.perf_counter(), time.process_time()
        work(index)
        seconds.append((time.perf_counter() - begin[0], time.process_time() - begin[1]))
    wall_s, processor_s = np.median(seconds, axis=0).tolist()
    return wall_s, processor_s


def _maps() -> ReflectanceMaps:
    relief = 0.05 * torch.randn(1, MAP_PX, MAP_PX, 3)
    relief[..., 2] = 1.0
    albedo = torch.tensor([0.45, 0.28, 0.2]) * (1.0 + 0.1 * torch.rand(1, MAP_PX, MAP_PX, 1))
    return ReflectanceMaps(
        albedo, torch.full((1, MAP_PX, MAP_PX, 1), 0.5), torch.nn.functional.normalize(relief, dim=-1)
    )


def _light() -> Light:
    directions = torch.nn.functional.normalize(torch.tensor([[[0.6, 0.5, 0.6], [-0.8, 0.0, 0.4]]]), dim=-1)
    return Light(Light.ambient(0.3).sh, directions, torch.tensor([[[1.0, 0.9, 0.8], [0.2, 0.3, 0.9]]]))

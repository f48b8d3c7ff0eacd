"""A synthetic head that turns before a camera, and a real server process."""

import math
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from fitme.color import linear_to_bytes
from fitme.geometry import Camera
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.renderer import render
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from stream.bench.native_peer import frames_of
from stream.bench.server_process import ServerProcess

SETTINGS = """
session: {limit: 2, grace_s: 4.0, silence_timeout_s: 1.5, connect_timeout_s: 5.0, retry_after_s: 3}
render: {size_px: 256}
fit:
  {niceness: 0, slice_s: 0.5, warm_up: false, alignment_rounds: 0, coarse_steps: 2, inversion_steps: 2, tuning_steps: 2}
"""


@pytest.fixture(scope="session")
def face_images() -> list[np.ndarray]:
    """A head of one skin colour looks to both sides, up and down, and opens its mouth: images (480, 640, 3)."""
    model = load_default_model()
    maps = ReflectanceMaps.constant((0.45, 0.28, 0.2), 0.03, 64)
    camera = Camera.centered(800.0, 640, 480)
    light = Light(Light.ambient(0.4).sh, torch.tensor([[[0.3, 0.5, 0.81]]]), torch.full((1, 1, 3), 0.7))
    identity = torch.zeros(1, model.identity_count)
    identity[0, :6] = torch.tensor([1.0, -0.8, 0.6, 1.1, -0.5, 0.7])
    images = []
    count = 30
    for index in range(count):
        phase = 2.0 * math.pi * index / count
        expression = torch.zeros(1, 52)
        expression[0, EXPRESSION_NAMES.index("jawOpen")] = 0.25 * (1.0 - math.cos(2.0 * phase)) / 2.0
        rotation = torch.tensor([[0.18 * math.sin(2.0 * phase), 0.5 * math.sin(phase), 0.0]])
        translation = torch.tensor([[0.02 * math.sin(phase), 0.0, -0.6]])
        with torch.no_grad():
            vertices = model.vertices(identity, expression)
            rendering = render(model, vertices, rotation, translation, camera, maps, light)
        images.append(linear_to_bytes((rendering.image + (1.0 - rendering.mask) * 0.15)[0].numpy()))
    return images


@pytest.fixture(scope="session")
def face_clip(face_images: list[np.ndarray]) -> list[av.VideoFrame]:
    """The same, ready to be encoded."""
    return frames_of(face_images)


@pytest.fixture(scope="session")
def grey_clip() -> list[av.VideoFrame]:
    """Enough for a session, too little for a fit."""
    return frames_of([np.full((240, 320, 3), 90 + shade, np.uint8) for shade in range(3)])


@pytest.fixture(scope="session")
def settings_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Short times, small renders, and fits that do not take long, nor wait for the tests that run beside this one."""
    path = tmp_path_factory.mktemp("settings") / "serve.yaml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, settings_file: Path) -> Iterator[ServerProcess]:
    """A real server with two places, for all tests: each ends its sessions."""
    store = tmp_path_factory.mktemp("store")
    with ServerProcess(store, "--config", str(settings_file)) as running:
        yield running

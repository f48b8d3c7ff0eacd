"""Fixtures of tracking: the default head, its landmarks under a known pose, a public-domain portrait."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage import data

from fitme.geometry import Camera, HeadPose, axis_angle_from_matrix, head_rotation, transform
from fitme.hair.head_renderer import HeadRenderer
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.skin.attributes import sample_attributes
from fitme.skin.painter import synthesize_skin
from fitme.synthetic.clip import clip_identity
from fitme.synthetic.lights import room_light
from fitme.track.landmarks import FaceFinder
from fitme.track.mediapipe_tasks import TasksBackend

torch.set_num_threads(1)

CAMERA = Camera.centered(704.0, 640, 480)
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@dataclass(frozen=True)
class Projected:
    """Landmarks of a posed head."""

    landmarks: npt.NDArray[np.float32]
    depth: npt.NDArray[np.float32]


def project_head(
    model: MorphableModel,
    pose: HeadPose,
    camera: Camera,
    expression: npt.NDArray[np.float32] | None = None,
    identity: npt.NDArray[np.float32] | None = None,
) -> Projected:
    """Projected landmarks of a head of the model."""
    expression = np.zeros(EXPRESSION_COUNT, np.float32) if expression is None else expression
    identity = np.zeros(model.identity_count, np.float32) if identity is None else identity
    vertices = model.vertices(torch.from_numpy(identity)[None], torch.from_numpy(expression)[None])
    points = model.landmarks(vertices)[0]
    view = transform(torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation), points)
    pixels = camera.project(view).numpy()
    depth = -view[:, 2].numpy() * camera.focal_px / -float(pose.translation[2])
    return Projected(pixels.astype(np.float32), (depth - depth.mean()).astype(np.float32))


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="session")
def astronaut() -> npt.NDArray[np.uint8]:
    """(512, 512, 3) NASA portrait in the public domain."""
    image: npt.NDArray[np.uint8] = data.astronaut()
    return image


@pytest.fixture(scope="session")
def posed() -> Callable[..., Projected]:
    """`project_head`."""
    return project_head


@pytest.fixture(scope="session")
def finder() -> Iterator[FaceFinder]:
    found = FaceFinder(TasksBackend())
    yield found
    found.close()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of external data beside the checkout; tests that need it are skipped without it."""
    if not SHARED.is_dir():
        pytest.skip("no shared data beside this checkout")
    return SHARED


@pytest.fixture(scope="session")
def camera_frame(model):
    """Image (480, 640, 3) of a painted head of a seed with an expression by names."""
    renderer = HeadRenderer(model, (CAMERA.height, CAMERA.width), shadows=True)
    painted = {}

    def draw(seed, yaw_deg=0.0, **weights):
        if seed not in painted:
            attributes = replace(sample_attributes(np.random.default_rng(seed)), hair_density=1.0)
            painted[seed] = synthesize_skin(seed, 256, attributes=attributes).maps()
        renderer.set_maps(painted[seed])
        expression = torch.zeros(1, EXPRESSION_COUNT)
        for name, weight in weights.items():
            expression[0, expression_index(name)] = weight
        vertices = model.vertices(clip_identity(seed, model)[None], expression)[0].numpy()
        rotation = axis_angle_from_matrix(torch.from_numpy(head_rotation(math.radians(yaw_deg)))).numpy()
        pose = HeadPose(rotation.astype(np.float32), np.array([0.0, 0.02, -0.5], np.float32))
        light = room_light(np.random.default_rng(seed - 110))
        image = renderer.render(vertices, pose, CAMERA, light, (0.2, 0.22, 0.25)).astype(np.float32)
        noise = np.random.default_rng(0).normal(0.0, 1.3, image.shape)
        return np.clip(image + noise, 0.0, 255.0).round().astype(np.uint8)

    yield draw
    renderer.close()

"""Fixtures of tracking: the default head, its landmarks under a known pose, a public-domain portrait."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from skimage import data

from fitme.geometry import Camera, HeadPose, transform
from fitme.shape.expressions import EXPRESSION_COUNT
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.track.landmarks import FaceFinder
from fitme.track.mediapipe_tasks import TasksBackend

torch.set_num_threads(1)

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

"""Fixtures: keyframes of a synthetic person with known shape, skin and light."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fitme.color import linear_to_bytes
from fitme.fit.alignment.landmark_errors import direction_terms, load_default_errors, pixels_per_metre
from fitme.fit.keyframe import Keyframe
from fitme.geometry import Camera, HeadPose, rotation_matrix, transform
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.renderer import render
from fitme.shape.expressions import expression_index
from fitme.shape.landmark_groups import SURFACE_LANDMARK_COUNT
from fitme.shape.model_file import load_default_model
from fitme.shape.morphable_model import MorphableModel
from fitme.track.observation import FaceObservation, FaceStatus, FrameQuality

CAMERA = Camera.centered(320.0, 320, 240)


@pytest.fixture(scope="session")
def model() -> MorphableModel:
    return load_default_model()


@pytest.fixture(scope="session")
def identity(model: MorphableModel) -> torch.Tensor:
    coefficients = torch.zeros(model.identity_count)
    coefficients[:10] = torch.randn(10, generator=torch.Generator().manual_seed(4))
    return coefficients


@pytest.fixture(scope="session")
def skin() -> ReflectanceMaps:
    """Skin maps with random blotches: enough texture for optical flow."""
    noise = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    smooth = torch.nn.functional.interpolate(noise, size=256, mode="bicubic").clamp(0.0, 1.0).permute(0, 2, 3, 1)
    diffuse = torch.tensor([0.5, 0.3, 0.22]) * (0.6 + 0.7 * smooth)
    flat = ReflectanceMaps.constant((0.5, 0.3, 0.22), 0.5, 256)
    return ReflectanceMaps(diffuse.contiguous(), flat.specular, flat.normals)


@pytest.fixture(scope="session")
def light() -> Light:
    sh = Light.ambient(0.8).sh.clone()
    sh[0, 1] = 0.15
    sh[0, 3] = 0.2
    return Light(sh, torch.zeros(1, 0, 3), torch.zeros(1, 0, 3))


def mean_error(
    model: MorphableModel, landmarks: npt.NDArray[np.float32], rotation: npt.NDArray[np.float64], identity: torch.Tensor
) -> npt.NDArray[np.float64]:
    """(478, 2) mean errors of MediaPipe, pixels, for landmarks (478, 2) of a head with rotation (3, 3)."""
    errors = load_default_errors()
    places = model.landmarks(model.mean[None])[0, :SURFACE_LANDMARK_COUNT].double().numpy()
    scale = pixels_per_metre(places, landmarks[:SURFACE_LANDMARK_COUNT].astype(np.float64), rotation)
    displacement = errors.direction @ direction_terms(rotation[None])[0]
    displacement += errors.identity @ identity[: errors.identity.shape[2]].double().numpy()
    missed = np.zeros((478, 2))
    missed[errors.landmarks] = scale * displacement @ rotation[:2].T * (1.0, -1.0)
    return missed


@pytest.fixture(scope="session")
def photograph(
    model: MorphableModel, identity: torch.Tensor, skin: ReflectanceMaps, light: Light
) -> Callable[..., Keyframe]:
    """Renders a keyframe of the person, with MediaPipe's mean landmark errors and an inexact pose of the tracker."""

    def take(
        key: str, yaw_deg: float = 0.0, jaw: float = 0.0, smile: float = 0.0, landmark_noise_px: float = 0.0
    ) -> Keyframe:
        expression = torch.zeros(1, 52)
        expression[0, expression_index("jawOpen")] = jaw
        expression[0, [expression_index("mouthSmileLeft"), expression_index("mouthSmileRight")]] = smile
        vertices = model.vertices(identity[None], expression)
        rotation = torch.tensor([[0.0, np.radians(yaw_deg), 0.0]], dtype=torch.float32)
        translation = torch.tensor([[0.0, 0.0, -0.45]])
        rendering = render(model, vertices, rotation, translation, CAMERA, skin, light)
        image = linear_to_bytes((rendering.image + (1.0 - rendering.mask) * 0.1)[0].numpy())
        landmarks = CAMERA.project(transform(rotation, translation, model.landmarks(vertices)))[0].numpy()
        landmarks = landmarks + mean_error(model, landmarks, rotation_matrix(rotation)[0].double().numpy(), identity)
        noise = np.random.default_rng(0).normal(0.0, 1.0, landmarks.shape) * landmark_noise_px
        guess = HeadPose(rotation[0].numpy() * 0.7, translation[0].numpy() + np.float32(0.02))
        observation = FaceObservation(
            (landmarks + noise).astype(np.float32),
            np.zeros(478, np.float32),
            guess,
            np.zeros(52, np.float32),
            CAMERA,
            FrameQuality(1.0, 0.5, 0.0, 100.0, 0.0),
            FaceStatus.OK,
            None,
        )
        return Keyframe(key, image, observation, 0.0)

    return take

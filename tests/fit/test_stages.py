"""Shape of a fit under wrong landmarks: tracks of several keyframes correct it, and their information is kept."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from fitme.fit.alignment.settings import AlignmentSettings
from fitme.fit.alignment.surface_tracks import TrackSettings
from fitme.fit.fitter import IncrementalFitter
from fitme.fit.inversion.settings import InversionSettings
from fitme.fit.keyframe import Keyframe
from fitme.fit.settings import FitSettings
from fitme.geometry import transform
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.generator_config import GeneratorConfig
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage

SETTINGS = FitSettings(
    map_resolution=256,
    reference_keyframes=1,
    alignment=AlignmentSettings(tracks=TrackSettings(count=400)),
    inversion=InversionSettings(
        crop_resolution=96, coarse_resolution=32, coarse_steps=2, inversion_steps=1, tuning_steps=1, refresh_steps=1
    ),
)
CONFIG = GeneratorConfig(
    resolution=64,
    noise_size=8,
    latent_size=16,
    trunk_channels=(16, 16, 16, 16),
    branches={"diffuse": (8,), "specular": (8,), "normals": (8,)},
    detail_maps=(4, 4),
)
LANDMARKS_SHARE = 0.2
"""Share of the person's difference from the mean head that the landmarks have."""


def small_generator() -> ReflectanceGenerator:
    torch.manual_seed(0)
    generator = ReflectanceGenerator(CONFIG)
    generator.measure_mean_w(64)
    return generator


def new_fitter(model: MorphableModel) -> IncrementalFitter:
    return IncrementalFitter(model, small_generator(), SETTINGS)


@pytest.fixture(scope="module")
def take(
    model: MorphableModel, identity: torch.Tensor, photograph: Callable[..., Keyframe]
) -> Callable[[str, float], Keyframe]:
    """Renders a keyframe whose landmarks are those of a more average head."""

    def misled(key: str, yaw_deg: float) -> Keyframe:
        keyframe = photograph(key, yaw_deg)
        observation = keyframe.observation
        vertices = model.neutral(LANDMARKS_SHARE * identity[None])
        rotation = torch.tensor([[0.0, np.radians(yaw_deg), 0.0]], dtype=torch.float32)
        view = transform(rotation, torch.tensor([[0.0, 0.0, -0.45]]), model.landmarks(vertices))
        landmarks = observation.camera.project(view)[0].numpy()
        return replace(keyframe, observation=replace(observation, landmarks=landmarks))

    return misled


def shape_error(model: MorphableModel, found: npt.NDArray[np.float32], true: torch.Tensor) -> float:
    """Root mean square distance of the face's vertices after the best similarity, metres."""
    a, b = (
        model.neutral(coefficients[None])[0, model.face_vertices].double().numpy()
        for coefficients in (torch.from_numpy(found), true)
    )
    a, b = a - a.mean(0), b - b.mean(0)
    u, singular, v = np.linalg.svd(b.T @ a)
    return float(np.sqrt((((singular.sum() / (a**2).sum()) * a @ (u @ v).T - b) ** 2).sum(1).mean()))


def to_inversion(fitter: IncrementalFitter) -> npt.NDArray[np.float32]:
    """Identity once geometry is done."""
    while fitter.stage is not Stage.INVERSION:
        fitter.refine(0.0)
    return fitter.state().identity


def test_one_keyframe_leaves_shape_to_landmarks(model: MorphableModel, take: Callable[[str, float], Keyframe]) -> None:
    fitter = new_fitter(model)
    fitter.add_keyframe(take("front", 0.0))
    fitter.refine(0.0)
    by_landmarks = fitter.state().identity
    np.testing.assert_array_equal(to_inversion(fitter), by_landmarks)


def test_several_keyframes_find_shape_and_keep_it(
    model: MorphableModel, identity: torch.Tensor, take: Callable[[str, float], Keyframe]
) -> None:
    fitter = new_fitter(model)
    for key, yaw in (("left", -35.0), ("half left", -15.0), ("front", 0.0), ("right", 30.0)):
        fitter.add_keyframe(take(key, yaw))
    fitter.refine(0.0)
    misled = shape_error(model, fitter.state().identity, identity)
    found = shape_error(model, to_inversion(fitter), identity)
    assert found < 0.75 * misled
    while not fitter.converged:
        fitter.refine(1.0)
    # One more keyframe with wrong landmarks; most of what contradicts them is marginalised, in memory or in a state.
    resumed = IncrementalFitter.from_state(fitter.state(), model, small_generator(), SETTINGS)
    assert resumed.converged
    ends = []
    for each in (fitter, resumed):
        each.add_keyframe(take("half right", 15.0))
        while not each.converged:
            each.refine(0.0)
            assert shape_error(model, each.state().identity, identity) < 0.85 * misled
        ends.append(each.state().identity)
    assert shape_error(model, ends[1], torch.from_numpy(ends[0])) < 0.15 * misled

"""Tracked points: their places on the mesh, and their matches in images."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from fitme.color import linear_to_bytes
from fitme.fit.alignment.face_crop import FaceCrop, crop_face
from fitme.fit.alignment.optical_flow import FLOW_REGIONS
from fitme.fit.alignment.surface_tracks import (
    SurfacePoints,
    TrackSettings,
    shared_only,
    spread_points,
)
from fitme.fit.keyframe import Keyframe
from fitme.fit.solver.point_targets import MeshBasis
from fitme.fit.solver.structure_from_motion import TrackView
from fitme.geometry import HeadPose, transform
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.light import Light
from fitme.render.renderer import render
from fitme.shape.morphable_model import MorphableModel

SETTINGS = TrackSettings(count=300, resolution=192)


@pytest.fixture(scope="module")
def surface(model: MorphableModel) -> SurfacePoints:
    return SurfacePoints(model, MeshBasis(model), SETTINGS.count)


def test_points_spread_evenly_over_the_front(model: MorphableModel) -> None:
    triangles, barycentric = spread_points(model, 200)
    assert np.isin(model.triangle_region.numpy()[triangles], [int(region) for region in FLOW_REGIONS]).all()
    places = (model.mean.numpy()[model.triangles.numpy()[triangles]] * barycentric[..., None]).sum(1)
    distance = np.linalg.norm(places[:, None] - places, axis=-1) + 10.0 * np.eye(len(places))
    nearest = distance.min(1)
    assert nearest.min() > 0.55 * nearest.max()
    left = (places[:, 0] > 0.0).mean()
    assert 0.42 < left < 0.58


def test_tangents_lie_in_the_surface(model: MorphableModel, surface: SurfacePoints) -> None:
    tangents = surface.tracks(model.mean).tangents
    np.testing.assert_allclose(
        tangents.transpose(0, 2, 1) @ tangents, np.tile(np.eye(2), (len(tangents), 1, 1)), atol=1e-6
    )


def posed(model: MorphableModel, identity: torch.Tensor, pose: HeadPose) -> torch.Tensor:
    vertices = model.neutral(identity[None])[0]
    return transform(torch.from_numpy(pose.rotation), torch.from_numpy(pose.translation), vertices)


def test_finds_points_where_the_picture_has_them(
    model: MorphableModel,
    surface: SurfacePoints,
    identity: torch.Tensor,
    skin: ReflectanceMaps,
    light: Light,
    photograph: Callable[..., Keyframe],
) -> None:
    keyframe = photograph("left", -25.0)
    camera = keyframe.observation.camera
    crop = crop_face(keyframe, np.ones(keyframe.image.shape[:2], np.float32), SETTINGS.resolution)
    true = HeadPose(np.array([0.0, np.radians(-25.0), 0.0], np.float32), np.array([0.0, 0.0, -0.45], np.float32))
    guess = HeadPose(np.array([0.01, np.radians(-23.5), 0.0], np.float32), np.array([0.002, 0.0, -0.45], np.float32))
    vertices = posed(model, identity, guess)
    window = crop.camera(camera)
    drawn = render(
        model,
        model.neutral(identity[None]),
        torch.from_numpy(guess.rotation)[None],
        torch.from_numpy(guess.translation)[None],
        window,
        skin,
        Light.ambient(0.8),
    )
    view = surface.view(
        vertices, linear_to_bytes(drawn.image[0].numpy()), drawn.rast[0].numpy(), crop, window, SETTINGS
    )
    assert len(view.index) > 60
    places = surface.places(posed(model, identity, true).numpy())[view.index]
    expected = camera.project(torch.from_numpy(places)).numpy()
    before = surface.places(vertices.numpy())[view.index]
    moved = np.linalg.norm(camera.project(torch.from_numpy(before)).numpy() - expected, axis=1)
    error = view.pixels - expected
    assert np.median(moved) > 1.5
    assert np.median(np.linalg.norm(error, axis=1)) < 0.5
    # Hidden and covered points have no tracks.
    assert (places[:, 2] > surface.places(posed(model, identity, true).numpy())[:, 2].min()).all()
    covered = FaceCrop(crop.image, np.zeros_like(crop.usable), crop.left_px, crop.top_px, crop.size_px)
    nothing = surface.view(
        vertices, linear_to_bytes(drawn.image[0].numpy()), drawn.rast[0].numpy(), covered, window, SETTINGS
    )
    assert not len(nothing.index)


def test_keeps_what_several_keyframes_show() -> None:
    def view(*index: int) -> TrackView:
        return TrackView(np.array(index), np.zeros((len(index), 2)), np.tile(np.eye(2), (len(index), 1, 1)))

    kept = shared_only([view(0, 2, 5), view(2, 3), view(5)], 2)
    assert [list(item.index) for item in kept] == [[2, 5], [2], [5]]
    assert all(len(item.index) == len(item.pixels) == len(item.whitening) for item in kept)

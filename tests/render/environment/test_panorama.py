"""Panoramas as harmonics, directional lights and reflections."""

import numpy as np
import pytest
import torch

from fitme.color import linear_to_bytes
from fitme.geometry import Camera, HeadPose
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.environment.panorama import (
    COLUMNS,
    MEAN_RADIANCE,
    ROWS,
    environment_of,
    panorama_directions,
    panorama_place,
    texel_solid_angles,
)
from fitme.render.environment.presets import PRESETS, preset_environment
from fitme.render.environment.reflections import LEVELS, reflections_of, roughness_of, split_sum_table
from fitme.render.environment.surroundings import sampled, surroundings_of
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.shading import diffuse_shading
from tests.render.conftest import Sphere


@pytest.fixture(scope="module")
def directions():
    return panorama_directions(ROWS, COLUMNS)


def test_places_and_directions_are_inverse(directions):
    place = panorama_place(directions)
    rows, columns = np.mgrid[:ROWS, :COLUMNS] + 0.5
    np.testing.assert_allclose(place, np.stack([columns / COLUMNS, rows / ROWS], -1), atol=1e-9)
    assert texel_solid_angles(ROWS, COLUMNS).sum() * COLUMNS == pytest.approx(4.0 * np.pi)
    # Straight ahead is the middle, right is right, up is up.
    axes = panorama_place(np.array([[0.0, 0.0, -1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(axes[:2], [[0.5, 0.5], [0.75, 0.5]], atol=1e-9)
    assert axes[2, 1] == pytest.approx(0.0)


def test_shading_under_a_smooth_panorama_is_its_convolution_with_the_cosine(directions):
    panorama = (0.4 + 0.3 * directions[..., 1:2] + 0.2 * directions[..., :1] ** 2) * np.array([1.0, 0.8, 0.6])
    light = environment_of(panorama.astype(np.float32), normalized=False).light()
    assert light.directions.shape == (1, 0, 3)
    normals = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8], [0.0, 1.0, 0.0], [-1.0, 0.2, 0.1]]), dim=-1)
    shading = diffuse_shading(normals[None], light)[0].numpy()
    weights = texel_solid_angles(ROWS, COLUMNS) * np.maximum(
        directions @ normals.numpy().T.astype(float), 0.0
    ).transpose(2, 0, 1)
    expected = np.einsum("nrc,rck->nk", weights, panorama) / np.pi
    np.testing.assert_allclose(shading, expected, atol=0.01)


def test_the_sun_becomes_a_directional_light_and_leaves_no_hole(directions):
    sun = np.array([0.6, 0.48, 0.64])
    panorama = np.full((ROWS, COLUMNS, 3), 0.3, np.float32)
    disc = directions @ sun > np.cos(np.radians(3.0))
    panorama[disc] = (300.0, 200.0, 100.0)
    environment = environment_of(panorama, normalized=False)
    assert environment.directions.shape == (1, 3)
    assert environment.directions[0] @ sun > np.cos(np.radians(1.0))
    solid = (texel_solid_angles(ROWS, COLUMNS) * disc).sum()
    np.testing.assert_allclose(
        environment.colors[0], solid / np.pi * (np.array([300.0, 200.0, 100.0]) - 0.3), rtol=1e-3
    )
    np.testing.assert_allclose(environment.panorama, 0.3, rtol=1e-3)


def test_a_broad_sky_stays_in_the_harmonics(directions):
    sky = np.where(directions[..., 1:2] > 0.0, 1.0, 0.05) * np.ones(3)
    environment = environment_of(sky.astype(np.float32))
    assert len(environment.directions) == 0
    mean = (texel_solid_angles(ROWS, COLUMNS)[..., None] * environment.panorama).sum((0, 1)) / (4.0 * np.pi)
    np.testing.assert_allclose(mean, MEAN_RADIANCE, rtol=1e-3)


def test_turning_turns_light_and_backdrop_alike(directions):
    lamp = np.full((ROWS, COLUMNS, 3), 0.1, np.float32)
    lamp[directions @ np.array([0.0, 0.0, -1.0]) > np.cos(np.radians(4.0))] = 80.0
    lamp[directions @ np.array([1.0, 0.0, 0.0]) > 0.8] += (0.0, 0.0, 0.3)
    surroundings = surroundings_of(environment_of(lamp, normalized=False))
    turned = surroundings.turned(np.pi / 2)
    # What was straight ahead is now on the left, and what was on the right is ahead.
    np.testing.assert_allclose(turned.light.directions[0, 0].numpy(), [-1.0, 0.0, 0.0], atol=0.02)
    camera = Camera.centered(64.0, 32, 32)
    assert surroundings.backdrop(camera)[..., 2].mean() == pytest.approx(0.1, abs=0.03)
    assert turned.backdrop(camera)[..., 2].mean() > 0.3
    ahead = torch.tensor([[[0.0, 0.0, -1.0]]])
    assert diffuse_shading(ahead, turned.light)[..., 2] > diffuse_shading(ahead, turned.light)[..., 1] + 0.05


def test_reflections_keep_the_mean_and_blur_more_from_level_to_level():
    reflections = reflections_of(preset_environment("studio"))
    assert len(reflections.levels) == LEVELS
    spreads, means = [], []
    for index in range(LEVELS):
        level = reflections.level(index)
        weights = np.broadcast_to(texel_solid_angles(*level.shape[:2]), level.shape[:2])
        means.append((weights[..., None] * level).sum((0, 1)) / (4.0 * np.pi))
        spreads.append(float(level.std()))
    np.testing.assert_allclose(means, np.broadcast_to(means[0], (LEVELS, 3)), rtol=0.03)
    assert spreads == sorted(spreads, reverse=True)


def test_the_split_sum_table_has_the_energy_of_its_lobes():
    table = split_sum_table()
    assert table.min() >= 0.0 and (table.sum(-1) <= 1.01).all(), "a white surface reflects at most all"
    # Smooth and seen straight on: the reflectance at normal incidence itself.
    np.testing.assert_allclose(table[0, -1], [1.0, 0.0], atol=0.02)
    assert roughness_of(np.array([24.0]))[0] == pytest.approx(0.527, abs=1e-3)


def test_samples_close_round_the_head():
    panorama = np.zeros((4, 8, 3), np.float32)
    panorama[:, 0], panorama[:, -1] = 1.0, 3.0
    np.testing.assert_allclose(sampled(panorama, np.array([[0.0, 0.5], [1.0, 0.5], [-1.0, 0.1]])), 2.0)


def test_a_mirroring_sphere_shows_the_panorama(sphere: Sphere):
    """A sphere of a huge exponent mirrors what lies in the mirrored direction, as bright as the table says."""
    vertices, triangles = sphere(2000)
    mesh = type("Mesh", (), {"triangles": triangles, "uv_triangles": triangles, "uv": torch.rand(2000, 2)})()
    surroundings = surroundings_of(preset_environment("sunset"))
    camera, pose = Camera.centered(220.0, 64, 64), HeadPose(np.zeros(3, np.float32), np.array([0, 0, -8.0], np.float32))
    renderer = ForwardRenderer(mesh, 64, shininess=1e9, threads=1)
    renderer.set_maps(ReflectanceMaps.constant((0.0, 0.0, 0.0), 1.0, 4))
    plain = renderer.render(vertices.float().numpy(), pose, camera, surroundings.light)
    renderer.set_reflections(surroundings.reflections)
    mirrored = renderer.render(vertices.float().numpy(), pose, camera, surroundings.light)
    assert np.abs(plain.astype(int) - mirrored).max() > 10
    # The middle mirrors what is behind the camera: 4 % of it.
    behind = surroundings.reflections.level(0)[ROWS // 2, 0]
    np.testing.assert_allclose(mirrored[32, 32].astype(int), linear_to_bytes(0.04 * behind).astype(int), atol=4)


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_light_a_face_neither_black_nor_white(name):
    environment = preset_environment(name)
    light = environment.light()
    level = diffuse_shading(torch.tensor([[[0.0, 0.0, 1.0]]]), light)[0, 0].numpy()
    assert level.max() > 0.15 and level.min() < 1.1

"""Light in closed form: exact on exact data, robust to highlights, with a sane split between albedo and light."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.fit.lighting.spherical_harmonics import LightSettings, estimate_illumination, lit_surface

COUNT = 2000
OPEN = np.ones((COUNT, 1), np.float32)


def sphere(seed: int) -> tuple[np.ndarray, np.ndarray]:
    normals = np.random.default_rng(seed).normal(size=(COUNT, 3))
    normals[:, 2] = np.abs(normals[:, 2])
    normals = (normals / np.linalg.norm(normals, axis=1, keepdims=True)).astype(np.float32)
    return normals, np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (COUNT, 1))


def some_light(seed: int) -> np.ndarray:
    light = np.random.default_rng(seed).normal(0.0, 0.15, (9, 3)).astype(np.float32)
    light[0] = 3.0
    return light


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 1000))
def test_recovers_light(seed: int) -> None:
    normals, viewer = sphere(seed)
    surface = lit_surface(normals, viewer, np.full((COUNT, 1), 0.5, np.float32), OPEN)
    albedo = np.random.default_rng(seed).uniform(0.1, 0.6, (COUNT, 3)).astype(np.float32)
    light = some_light(seed)
    color = albedo * (surface.diffuse @ light) + surface.specular @ light
    numerics = LightSettings(directional_ridge=1e-6, hue_ridge=1e-6)
    found = estimate_illumination(surface, color, albedo, np.ones(COUNT, np.float32), numerics)
    np.testing.assert_allclose(found, light, atol=0.02)


def test_highlights_and_shadows_are_ignored() -> None:
    normals, viewer = sphere(3)
    surface = lit_surface(normals, viewer, np.zeros((COUNT, 1), np.float32), OPEN)
    albedo = np.full((COUNT, 3), 0.4, np.float32)
    light = some_light(3)
    color = albedo * (surface.diffuse @ light)
    color[::12] += 0.9
    color[1::12] *= 0.05
    weight = np.ones(COUNT, np.float32)
    numerics = LightSettings(directional_ridge=1e-4, hue_ridge=1e-4, iterations=10, robust_scale=0.08)
    found = estimate_illumination(surface, color, albedo, weight, numerics)
    np.testing.assert_allclose(surface.diffuse @ found, surface.diffuse @ light, atol=0.06)


def test_undetermined_coefficients_are_those_of_the_prior() -> None:
    normals, viewer = sphere(4)
    frontal = np.tile(np.array([[0.0, 0.0, 1.0]], np.float32), (COUNT, 1))
    surface = lit_surface(frontal, viewer, np.zeros((COUNT, 1), np.float32), OPEN)
    prior = some_light(4)
    color = np.full((COUNT, 3), 0.5, np.float32) * (surface.diffuse @ prior)
    albedo = np.full((COUNT, 3), 0.5, np.float32)
    found = estimate_illumination(surface, color, albedo, np.ones(COUNT, np.float32), LightSettings(), prior)
    sideways = lit_surface(normals, viewer, np.zeros((COUNT, 1), np.float32), OPEN)
    np.testing.assert_allclose(sideways.shading(found), sideways.shading(prior), atol=1e-3)


def test_redder_skin_is_not_taken_for_redder_light() -> None:
    """Flushed on one side: what a light of each channel by itself would explain to a good part."""
    normals, viewer = sphere(5)
    surface = lit_surface(normals, viewer, np.zeros((COUNT, 1), np.float32), OPEN)
    light = np.zeros((9, 3), np.float32)
    light[0], light[2] = 3.0, 0.5
    albedo = np.full((COUNT, 3), 0.4, np.float32)
    flushed = albedo * np.where(normals[:, :1] > 0.0, np.array([1.0, 0.8, 0.8], np.float32), 1.0)
    color, weight = flushed * (surface.diffuse @ light), np.ones(COUNT, np.float32)

    def hue(numerics: LightSettings) -> float:
        shading = surface.shading(estimate_illumination(surface, color, albedo, weight, numerics))
        ratio = np.log(shading[:, 0] / shading[:, 1])
        return float(ratio[normals[:, 0] > 0.5].mean() - ratio[normals[:, 0] < -0.5].mean())

    assert 0.0 < hue(LightSettings()) < 0.8 * hue(LightSettings(hue_ridge=1e-4))


def test_dim_light_keeps_its_hue() -> None:
    normals, viewer = sphere(6)
    surface = lit_surface(normals, viewer, np.zeros((COUNT, 1), np.float32), OPEN)
    tint = np.array([1.5, 1.0, 0.5], np.float32)
    light = np.zeros((9, 3), np.float32)
    light[0], light[3] = 1.0, 1.5
    shading = surface.shading(light * tint)
    np.testing.assert_allclose(shading / shading[:, 1:2], np.broadcast_to(tint, shading.shape), rtol=1e-4)
    assert shading[:, 1].min() > 0.0 > (surface.diffuse @ light).min()

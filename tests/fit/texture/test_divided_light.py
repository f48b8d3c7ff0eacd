"""Compiled division by light against the same formulas in NumPy."""

import numpy as np
import pytest

from fitme.arrays import BoolArray, Float32Array
from fitme.fit.lighting.spherical_harmonics import lit_surface
from fitme.fit.texture.divided_light import (
    IN_SHADE,
    MAXIMAL_ALBEDO,
    SMALLEST_WEIGHT,
    delit_albedo,
    light_at,
    lit_share,
)

COUNT = 400


@pytest.fixture
def draw() -> np.random.Generator:
    return np.random.default_rng(3)


def unit(draw: np.random.Generator) -> Float32Array:
    vectors = draw.normal(size=(COUNT, 3))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def uniform(draw: np.random.Generator, *shape: int) -> Float32Array:
    return draw.random(shape).astype(np.float32)


def test_light_matches_the_transport_matrices(draw: np.random.Generator) -> None:
    parts = unit(draw), unit(draw), uniform(draw, COUNT, 1), uniform(draw, COUNT, 1)
    light = draw.normal(0.0, 0.3, (9, 3)).astype(np.float32)
    light[0] += 1.5
    index = np.flatnonzero(uniform(draw, COUNT) > 0.5)
    surface = lit_surface(*(part[index] for part in parts))
    shading, specular_term = light_at(*parts, index, light)
    np.testing.assert_allclose(shading, surface.shading(light), atol=2e-6)
    np.testing.assert_allclose(specular_term, surface.specular_term(light), atol=2e-6)


def reference(
    color: Float32Array, shading: Float32Array, term: Float32Array, expected: Float32Array, behind: BoolArray
) -> Float32Array:
    ratio = np.maximum(color / np.maximum(expected * shading + term, SMALLEST_WEIGHT), 0.0)
    grey = ratio.mean(-1, keepdims=True)
    level = shading.mean(-1, keepdims=True)
    hue_share = np.minimum(level / max(IN_SHADE * float(np.median(level)), SMALLEST_WEIGHT), 1.0)
    hue_share = np.where(behind[:, None], 1.0, hue_share)
    albedo = expected * (grey + hue_share * (ratio - grey))
    return np.asarray(albedo / np.maximum(albedo.max(-1, keepdims=True) / MAXIMAL_ALBEDO, 1.0), np.float32)


def test_albedo_matches_numpy(draw: np.random.Generator) -> None:
    color, shading, term, expected = (uniform(draw, COUNT, 3) for _ in range(4))
    behind = uniform(draw, COUNT) > 0.7
    found = delit_albedo(color, shading, 0.1 * term, expected, behind)
    np.testing.assert_allclose(found, reference(color, shading, 0.1 * term, expected, behind), rtol=1e-5, atol=1e-6)
    assert found.max() == pytest.approx(MAXIMAL_ALBEDO)


def test_no_texel_has_no_albedo() -> None:
    nothing = np.zeros((0, 3), np.float32)
    assert delit_albedo(nothing, nothing, nothing, nothing).shape == (0, 3)
    assert lit_share(nothing).shape == (0,)

"""Spherical harmonics, Blinn-Phong, normal maps: properties that hold for every input."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fitme.geometry import rotation_matrix
from fitme.render.light import Light
from fitme.render.reflection import DEFAULT_SHININESS, GRAZING_REFLECTANCE, NORMAL_REFLECTANCE
from fitme.render.shading import (
    ambient_reflectance,
    blinn_phong,
    diffuse_shading,
    perturbed_normals,
    sh_basis,
    sh_irradiance_of_directional,
    specular_shading,
    unit,
)

seeds = st.integers(0, 2**31)
shininesses = st.floats(1.0, 300.0)


def unit_vectors(seed: int, count: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return unit(torch.randn(count, 3, dtype=torch.float64, generator=generator))


def sphere_grid(count: int = 10000) -> torch.Tensor:
    """Evenly spread unit vectors (count, 3): means over them are integrals over the sphere / 4 pi."""
    index = torch.arange(count, dtype=torch.float64) + 0.5
    z = 1.0 - 2.0 * index / count
    angle = math.pi * (1.0 + math.sqrt(5.0)) * index
    radius = (1.0 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], -1)


def test_sh_basis_is_orthonormal():
    basis = sh_basis(sphere_grid())
    gram = basis.T @ basis * (4.0 * math.pi / len(basis))
    torch.testing.assert_close(gram, torch.eye(9, dtype=torch.float64), atol=2e-4, rtol=0)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_sh_bands_keep_their_energy_under_rotation(seed):
    turn = rotation_matrix(torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 2.0)
    before = sh_basis(unit_vectors(seed, 16))
    after = sh_basis(unit_vectors(seed, 16) @ turn.T)
    for band in (slice(0, 1), slice(1, 4), slice(4, 9)):
        torch.testing.assert_close(before[:, band].square().sum(-1), after[:, band].square().sum(-1))


@settings(deadline=None, max_examples=25)
@given(seeds, st.floats(0.0, 5.0))
def test_ambient_light_shades_every_normal_alike(seed, level):
    light = Light(*(t.double() for t in vars(Light.ambient(level)).values()))
    normals = unit_vectors(seed, 32)[None]
    shading = diffuse_shading(normals, light)
    torch.testing.assert_close(shading, torch.full_like(shading, level), rtol=1e-6, atol=1e-6)
    viewer = unit_vectors(seed + 1, 32)[None]
    specular = specular_shading(normals, viewer, light)
    expected = level * ambient_reflectance((normals * viewer).sum(-1, keepdim=True)).expand_as(specular)
    torch.testing.assert_close(specular, expected, rtol=1e-6, atol=1e-6)


def test_ambient_reflectance_grows_towards_grazing_angles():
    facing = torch.linspace(-0.5, 1.0, 151, dtype=torch.float64)
    reflectance = ambient_reflectance(facing)
    assert (reflectance.diff() <= 0.0).all()
    assert reflectance[0] == pytest.approx(GRAZING_REFLECTANCE)
    assert reflectance[-1] == pytest.approx(NORMAL_REFLECTANCE)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_sh_of_a_directional_light_is_its_clamped_cosine(seed):
    # Order 2 holds the clamped cosine to within 3 / 32 (Ramamoorthi and Hanrahan).
    direction = unit_vectors(seed, 1)[0]
    color = torch.tensor([1.0, 0.5, 0.25], dtype=torch.float64)
    normals = sphere_grid(500)
    shading = sh_basis(normals) @ sh_irradiance_of_directional(direction, color)
    expected = (normals @ direction).clamp(min=0.0)[:, None] * color
    assert (shading - expected).abs().max() < 0.0938


@settings(deadline=None, max_examples=25)
@given(seeds, shininesses)
def test_blinn_phong_is_reciprocal_and_not_negative(seed, shininess):
    normals, viewer, light = (unit_vectors(seed + k, 64) for k in range(3))
    facing = ((normals * viewer).sum(-1) > 0.05) & ((normals * light).sum(-1) > 0.05)
    normals, viewer, light = normals[facing], viewer[facing], light[facing]
    there = blinn_phong(normals, viewer, light, shininess) / (normals * light).sum(-1, keepdim=True)
    back = blinn_phong(normals, light, viewer, shininess) / (normals * viewer).sum(-1, keepdim=True)
    assert (there >= 0).all()
    torch.testing.assert_close(there, back)


@settings(deadline=None, max_examples=25)
@given(st.floats(8.0, 300.0), st.floats(0.0, 0.7))
def test_blinn_phong_keeps_its_energy(shininess, angle):
    # Light reflected into the hemisphere, from not too low, stays near the mirror's reflectance.
    count = 5000
    outgoing = sphere_grid(2 * count)[:count]  # z > 0
    normals = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(count, 3)
    direction = torch.tensor([math.sin(angle), 0.0, math.cos(angle)], dtype=torch.float64)
    radiance = blinn_phong(normals, outgoing, direction, shininess)[:, 0]
    # Intensities are irradiance / pi: exitance / irradiance = integral of radiance cos / (pi cos_light).
    reflectance = (radiance * outgoing[:, 2]).mean() * 2.0 * math.pi / (math.pi * math.cos(angle))
    assert 0.4 * NORMAL_REFLECTANCE < reflectance.item() < 1.1 * NORMAL_REFLECTANCE


def test_highlight_is_where_the_half_vector_meets_the_normal():
    viewer = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    light = unit(torch.tensor([1.0, 0.0, 1.0], dtype=torch.float64))
    angles = torch.linspace(-1.0, 1.5, 2501, dtype=torch.float64)
    normals = torch.stack([angles.sin(), torch.zeros_like(angles), angles.cos()], -1)
    lobe = blinn_phong(normals, viewer, light, 200.0)[:, 0]
    assert angles[lobe.argmax()].item() == pytest.approx(math.pi / 8, abs=0.01)


def test_shading_gradients():
    generator = torch.Generator().manual_seed(0)
    normals = unit_vectors(1, 3)[None]
    viewer = unit_vectors(2, 3)[None]
    sh = torch.rand(1, 9, 3, dtype=torch.float64, generator=generator) * 0.1
    sh[:, 0] += 2.0
    direction = unit_vectors(3, 2)[None]
    color = torch.rand(1, 2, 3, dtype=torch.float64, generator=generator)
    inputs = [t.requires_grad_() for t in (normals, viewer, sh, direction, color)]

    def shade(n, v, s, d, c):
        light = Light(s, d, c)
        return diffuse_shading(n, light) + specular_shading(unit(n), unit(v), light, 12.0)

    assert torch.autograd.gradcheck(shade, inputs)


@settings(deadline=None, max_examples=25)
@given(seeds)
def test_flat_normal_map_changes_nothing(seed):
    normals = unit_vectors(seed, 8)
    tangents = torch.cat([unit_vectors(seed + 1, 8), torch.ones(8, 1, dtype=torch.float64)], -1)
    flat = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64).expand(8, 3)
    torch.testing.assert_close(perturbed_normals(normals, tangents, flat), normals)


def test_normal_map_axes():
    # A layout with the axes of an image on a wall that faces the viewer: u to the right, v down, so green tilts up.
    normal = torch.tensor([[0.0, 0.0, 1.0]])
    tangent = torch.tensor([[1.0, 0.0, 0.0, 1.0]])
    for mapped, expected in (((0.6, 0.0, 0.8), (0.6, 0.0, 0.8)), ((0.0, 0.6, 0.8), (0.0, 0.6, 0.8))):
        turned = perturbed_normals(normal, tangent, torch.tensor([mapped]))
        torch.testing.assert_close(turned[0], torch.tensor(expected))


def test_specular_gradient_stays_finite_in_the_dark():
    normals = torch.tensor([[[0.0, 0.0, -1.0], [0.0, 0.0, 1.0]]], requires_grad=True)
    viewer = torch.tensor([[[0.0, 0.0, 1.0]]]).expand(1, 2, 3)
    light = Light(torch.zeros(1, 9, 3), torch.tensor([[[0.0, 0.0, -1.0]]]), torch.ones(1, 1, 3))
    specular_shading(normals, viewer, light, DEFAULT_SHININESS).sum().backward()
    assert np.isfinite(normals.grad.numpy()).all()

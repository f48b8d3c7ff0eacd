"""Compiled per-sample formulas against those for torch tensors, in both precisions."""

import math

import numpy as np
import pytest
import torch

from fitme.render.cpu import reflection_formulas
from fitme.render.reflection import (
    DIFFUSE_NORMAL_SHARE,
    GRAZING_REFLECTANCE,
    NORMAL_REFLECTANCE,
    SH_NORMS,
    SMALLEST_SQUARE,
)
from fitme.render.shading import ambient_reflectance, blinn_phong, perturbed_normals, sh_basis, unit

PRECISIONS = {np.float32: 1e-6, np.float64: 1e-14}


def unit_vectors(seed: int, count: int = 32) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return unit(torch.randn(count, 3, dtype=torch.float64, generator=generator))


def rows(vectors: torch.Tensor, precision: type) -> list[tuple]:
    return [tuple(row) for row in vectors.numpy().astype(precision)]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_spherical_harmonics_are_those_of_torch(precision):
    normals = unit_vectors(0)
    found = np.array([reflection_formulas.sh_polynomials(row) for row in rows(normals, precision)])
    expected = sh_basis(normals)[:, 1:] / torch.tensor(SH_NORMS[1:], dtype=torch.float64)
    np.testing.assert_allclose(found, expected.numpy(), atol=10 * PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_fresnel_reflectance_is_that_of_torch(precision):
    facing = np.linspace(-0.5, 1.5, 41).astype(precision)
    fourth, aside = np.array([reflection_formulas.schlick_rise(value) for value in facing]).T
    found = NORMAL_REFLECTANCE + (GRAZING_REFLECTANCE - NORMAL_REFLECTANCE) * fourth * aside
    expected = ambient_reflectance(torch.from_numpy(facing).double()).numpy()
    np.testing.assert_allclose(found, expected, atol=PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_mapped_normals_are_those_of_torch(precision, sign):
    normals, along, mapped = unit_vectors(1), 0.3 * unit_vectors(2), 2.0 * unit_vectors(3)
    tangents = torch.cat([along, torch.full((len(along), 1), sign, dtype=torch.float64)], -1)
    rough = perturbed_normals(normals, tangents, mapped)
    soft = unit(torch.lerp(normals, rough, DIFFUSE_NORMAL_SHARE))
    share, smallest = precision(DIFFUSE_NORMAL_SHARE), precision(SMALLEST_SQUARE)
    found = np.array(
        [
            reflection_formulas.mapped_normals(*vectors, precision(sign), texel, share, smallest)
            for *vectors, texel in zip(*(rows(part, precision) for part in (normals, along, mapped)), strict=True)
        ]
    )
    np.testing.assert_allclose(found, torch.stack([rough, soft], 1).numpy(), atol=100 * PRECISIONS[precision])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_arithmetic_stays_in_the_precision_of_the_arguments(precision):
    normal, smallest = (precision(0.0), precision(0.6), precision(0.8)), precision(SMALLEST_SQUARE)
    reflection_formulas.sh_polynomials(normal)
    reflection_formulas.schlick_rise(precision(0.5))
    reflection_formulas.mapped_normals(normal, normal, smallest, normal, smallest, smallest)
    reflection_formulas.mirrored(normal, normal, smallest)
    reflection_formulas.half_cosine(normal, normal, normal, smallest)
    kernels = (
        reflection_formulas.sh_polynomials,
        reflection_formulas.schlick_rise,
        reflection_formulas.mapped_normals,
        reflection_formulas.mirrored,
        reflection_formulas.half_cosine,
    )
    name = np.dtype(precision).name
    for compiled in kernels:
        mine = [str(s.return_type) for s in compiled.nopython_signatures if name in str(s.args[0])]
        assert mine, compiled
        assert not any(("float64" if name == "float32" else "float32") in returned for returned in mine), compiled


@pytest.mark.parametrize("shininess", [5.0, 24.0, 300.0])
def test_blinn_phong_lobe_is_that_of_torch(shininess):
    normals, viewers, lights = unit_vectors(4), unit_vectors(5), unit_vectors(6)
    expected = blinn_phong(normals, viewers, lights, shininess)[:, 0]
    scale = NORMAL_REFLECTANCE * reflection_formulas.blinn_phong_factor(shininess)
    for n, v, light, wanted in zip(*(rows(t, np.float64) for t in (normals, viewers, lights)), expected, strict=True):
        cosine = max(reflection_formulas.half_cosine(n, v, light, SMALLEST_SQUARE), 1e-3)
        assert scale * cosine**shininess * max(reflection_formulas.dot(n, light), 0.0) == pytest.approx(
            float(wanted), rel=1e-9
        )


def test_a_mirrored_direction_lies_as_far_beyond_the_normal():
    normal = (0.0, math.sin(0.4), math.cos(0.4))
    viewer = (0.0, 0.0, 1.0)
    mirrored = reflection_formulas.mirrored(normal, viewer, reflection_formulas.dot(normal, viewer))
    np.testing.assert_allclose(mirrored, (0.0, math.sin(0.8), math.cos(0.8)), atol=1e-14)

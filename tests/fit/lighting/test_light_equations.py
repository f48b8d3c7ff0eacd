"""Compiled normal equations of a light against the same sums in NumPy."""

import numpy as np
import pytest

from fitme.fit.lighting.light_equations import light_equations


@pytest.mark.parametrize("scale", [0.2, np.inf])
def test_sums_match_numpy(scale: float) -> None:
    draw = np.random.default_rng(5)
    count, columns = 600, 10
    diffuse, specular = (draw.normal(size=(count, columns)).astype(np.float32) for _ in range(2))
    color, albedo = (draw.random((count, 3)).astype(np.float32) for _ in range(2))
    weight = np.maximum(draw.normal(size=count), 0.0).astype(np.float32)
    center, light = (draw.normal(0.0, 0.1, (columns, 3)) for _ in range(2))
    found = light_equations(diffuse, specular, color, albedo, weight, center, light, scale**2)

    design = albedo.T[..., None].astype(np.float64) * diffuse + specular  # (3, N, K)
    residual = color - np.einsum("cnk,kc->nc", design, light)
    robust = weight / (1.0 + (residual**2).sum(1) / scale**2) ** 2
    unmodelled = color - np.einsum("cnk,kc->nc", design, center)
    expected = (
        np.einsum("n,cnj,cnk->cjk", robust, design, design),
        np.einsum("n,cnk,nc->ck", robust, design, unmodelled),
        robust @ albedo.astype(np.float64) ** 2,
    )
    for value, wanted in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-4, atol=1e-4)

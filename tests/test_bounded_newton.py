"""Steps between bounds, against a general solver."""

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import lsq_linear

from fitme.bounded_newton import bounded_step

Array = npt.NDArray[np.float64]


def quadratic(seed: int, size: int) -> tuple[Array, Array]:
    """A positive definite Hessian and a gradient."""
    g = np.random.default_rng(seed)
    root = g.normal(size=(size + 3, size))
    return root.T @ root + 0.05 * np.eye(size), g.normal(0.0, 3.0, size)


@given(st.integers(0, 10_000), st.integers(1, 40))
def test_no_step_between_the_bounds_is_better(seed: int, size: int) -> None:
    hessian, gradient = quadratic(seed, size)
    g = np.random.default_rng(seed + 1)
    lower, upper = -g.uniform(0.0, 1.0, size), g.uniform(0.0, 1.0, size)
    step = bounded_step(hessian, gradient, lower, upper)
    assert (step >= lower).all()
    assert (step <= upper).all()
    root = np.linalg.cholesky(hessian).T
    best = lsq_linear(root, -np.linalg.solve(root.T, gradient), (lower - 1e-12, upper + 1e-12)).x

    def value(x: Array) -> float:
        return float(0.5 * x @ hessian @ x + gradient @ x)

    assert value(step) <= value(best) + 1e-6 * abs(value(best))


def test_an_unbounded_step_is_newtons() -> None:
    hessian, gradient = quadratic(0, 12)
    step = bounded_step(hessian, gradient, np.full(12, -np.inf), np.full(12, np.inf))
    np.testing.assert_allclose(hessian @ step, -gradient, atol=1e-10)


def test_fixed_parameters_do_not_move() -> None:
    hessian, gradient = quadratic(1, 8)
    bounds = np.where(np.arange(8) < 3, 0.0, np.inf)
    step = bounded_step(hessian, gradient, -bounds, bounds)
    assert not step[:3].any()
    np.testing.assert_allclose((hessian @ step + gradient)[3:], 0.0, atol=1e-10)

"""Newton steps of quadratics between bounds, which keep blendshape coefficients in [0, 1] during a solve.

Block principal pivoting (Judice and Pires, Computers & Operations Research 1994): parameters of the *active set* are
fixed at a bound, all others are free; after each solve of the free ones, every parameter on the wrong side changes
sides at once.
"""

from collections.abc import Callable

import numpy as np

from fitme.arrays import BoolArray, Float64Array

MOST_PIVOTS = 10
"""Largest number of solves of a step; mostly three are enough."""

ActiveSetSolver = Callable[[BoolArray, Float64Array], tuple[Float64Array, Float64Array]]
"""Takes an active set and a step, both (...), and returns the step whose active parameters are as given and whose free
ones minimise the quadratic, and the gradient of the quadratic after that step."""


def pivoted_step(solve: ActiveSetSolver, active: BoolArray, lower: Float64Array, upper: Float64Array) -> Float64Array:
    """The step (...) that minimises a quadratic between bounds, by block principal pivoting.

    :param active: (...) first guess of the active set, whose parameters do not move in the first solve.
    :param lower: (...) smallest step of each parameter, <= 0.
    :param upper: (...) largest step of each parameter, >= 0.
    """
    step = np.zeros(active.shape)
    for _ in range(MOST_PIVOTS):
        step, gradient = solve(active, step)
        wrong = _on_the_wrong_side(step, active, gradient, lower, upper)
        if not wrong.any():
            break
        step, active = np.clip(step, lower, upper), active ^ wrong
    return np.clip(step, lower, upper)


def bounded_step(
    hessian: Float64Array, gradient: Float64Array, lower: Float64Array, upper: Float64Array
) -> Float64Array:
    """The step (F,) that minimises a quadratic with a Hessian (F, F) and a gradient (F,) between `lower` and `upper`
    (F,). Raises `numpy.linalg.LinAlgError` where the free part of the Hessian is not positive definite."""
    # Imported at the first step, since it takes a tenth of a second of every start.
    from scipy.linalg.lapack import dposv

    def solve(active: BoolArray, step: Float64Array) -> tuple[Float64Array, Float64Array]:
        free = np.flatnonzero(~active)
        if not len(free):
            return step, hessian @ step + gradient
        slope = (gradient + hessian @ np.where(active, step, 0.0))[free]
        # The Hessian is symmetric and positive definite: LAPACK's Cholesky, without the checks of NumPy's `solve`.
        _, found, info = dposv(hessian[free[:, None], free], -slope)
        if info != 0:
            raise np.linalg.LinAlgError("the free part of the Hessian is not positive definite")
        step[free] = found
        return step, hessian @ step + gradient

    # Parameters at a bound that the gradient drives against it start in the active set.
    active = ((lower >= 0.0) & (gradient > 0.0)) | ((upper <= 0.0) & (gradient < 0.0))
    return pivoted_step(solve, active, lower, upper)


def coefficient_bounds(coefficients: Float64Array, fixed: BoolArray) -> Float64Array:
    """(2, C) smallest and largest step after which coefficients (C,) lie in [0, 1]; both 0 for `fixed` ones (C,)."""
    return np.where(fixed, 0.0, np.subtract([[0.0], [1.0]], coefficients))


def _on_the_wrong_side(
    step: Float64Array, active: BoolArray, gradient: Float64Array, lower: Float64Array, upper: Float64Array
) -> BoolArray:
    """(...) free parameters that a step takes beyond a bound, and active ones that the gradient draws back inside."""
    inward = ((step <= lower) & (gradient < 0.0)) | ((step >= upper) & (gradient > 0.0))
    return np.where(active, inward & (lower < upper), (step < lower) | (step > upper))

"""Newton's step of a quadratic between bounds: what keeps blendshape coefficients between 0 and 1 in a solve."""

import numpy as np

from fitme.arrays import BoolArray, Float64Array

BOUND_ROUNDS = 10
"""Times at most that a step is looked at for parameters that it takes beyond their bounds; mostly three are enough."""


def bounded_step(
    hessian: Float64Array, gradient: Float64Array, least: Float64Array, most: Float64Array
) -> Float64Array:
    """The step (F,) that minimises a quadratic with a Hessian (F, F) and a gradient (F,) between the bounds `least` and
    `most` (F,), by block principal pivoting (Judice and Pires, Computers & Operations Research 1994)."""
    step = np.zeros(len(gradient))
    held = ((least >= 0.0) & (gradient > 0.0)) | ((most <= 0.0) & (gradient < 0.0))
    for _ in range(BOUND_ROUNDS):
        free, still = np.flatnonzero(~held), np.flatnonzero(held)
        rest = gradient[free] + hessian[np.ix_(free, still)] @ step[still]
        step[free] = -np.linalg.solve(hessian[np.ix_(free, free)], rest)
        wrong = misplaced(step, held, hessian @ step + gradient, least, most)
        if not wrong.any():
            break
        step, held = np.clip(step, least, most), held ^ wrong
    return np.clip(step, least, most)


def coefficient_bounds(coefficients: Float64Array, still: BoolArray) -> Float64Array:
    """(2, C) the least and the largest step that leaves coefficients (C,) between 0 and 1, and those alone that are to
    be `still` (C,)."""
    return np.where(still, 0.0, np.subtract([[0.0], [1.0]], coefficients))


def misplaced(
    step: Float64Array, held: BoolArray, slope: Float64Array, least: Float64Array, most: Float64Array
) -> BoolArray:
    """Parameters (...) that are to change between the free ones and those that are `held` at a bound: free ones that a
    step takes beyond one, and held ones that the slope of the quadratic draws back inside."""
    inside = ((step <= least) & (slope < 0.0)) | ((step >= most) & (slope > 0.0))
    return np.where(held, inside & (least < most), (step < least) | (step > most))

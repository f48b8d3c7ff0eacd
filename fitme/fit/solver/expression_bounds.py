"""Step bounds and free parameters of one keyframe in a joint solve.

A keyframe's parameters are its pose increment (6), its 52 expression coefficients, and the E coefficients of its own
observation errors (`fitme.fit.solver.point_targets.PointErrors.own`), which have no bounds.
"""

import numpy as np

from fitme.arrays import Float64Array, IndexArray
from fitme.bounded_newton import coefficient_bounds
from fitme.fit.solver.joint_estimate import GAZE, POSE_COUNT


def step_bounds(expression: Float64Array, expression_free: bool) -> Float64Array:
    """(2, 58 + E) smallest and largest step of a keyframe's parameters at expression and error coefficients (52 + E,).

    Expression coefficients stay in [0, 1]; gaze, and all of them unless `expression_free`, do not move.
    """
    bounds = np.full((2, POSE_COUNT + len(expression)), [[-np.inf], [np.inf]])
    fixed = GAZE | (not expression_free)
    bounds[:, POSE_COUNT : POSE_COUNT + len(GAZE)] = coefficient_bounds(expression[: len(GAZE)], fixed)
    return bounds


def free_indices(expression: Float64Array, gradient: Float64Array, expression_free: bool) -> IndexArray:
    """Indices of a keyframe's parameters that are free to move, at expression and error coefficients (52 + E,).

    All but gaze, coefficients at a bound that the `gradient` (52 + E,) drives against it, and all expression
    coefficients unless `expression_free`.
    """
    error_count = len(expression) - len(GAZE)
    expression, gradient = expression[: len(GAZE)], gradient[: len(GAZE)]
    active = GAZE | ((expression <= 0.0) & (gradient > 0.0)) | ((expression >= 1.0) & (gradient < 0.0))
    if not expression_free:
        active = np.ones_like(active)
    active = np.append(active, np.zeros(error_count, bool))
    return np.concatenate([np.arange(POSE_COUNT), POSE_COUNT + np.flatnonzero(~active)])

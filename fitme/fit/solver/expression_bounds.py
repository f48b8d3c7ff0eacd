"""Which parameters of a keyframe a step may move, and how far."""

import numpy as np

from fitme.arrays import Float64Array, IndexArray
from fitme.bounded_newton import coefficient_bounds
from fitme.fit.solver.joint_estimate import GAZE, POSE_COUNT


def room(expression: Float64Array, expression_free: bool) -> Float64Array:
    """(2, F) the least and the largest step of the pose and of expressions, errors of observation at their end, that
    leaves no coefficient below 0 or above 1, and those alone that are not free."""
    bounds = np.full((2, POSE_COUNT + len(expression)), [[-np.inf], [np.inf]])
    still = GAZE | (not expression_free)
    bounds[:, POSE_COUNT : POSE_COUNT + len(GAZE)] = coefficient_bounds(expression[: len(GAZE)], still)
    return bounds


def free_parameters(expression: Float64Array, gradient: Float64Array, expression_free: bool) -> IndexArray:
    """Indices of the pose and of the expression coefficients that are free to move."""
    errors = len(expression) - len(GAZE)
    expression, gradient = expression[: len(GAZE)], gradient[: len(GAZE)]
    held = GAZE | ((expression <= 0.0) & (gradient > 0.0)) | ((expression >= 1.0) & (gradient < 0.0))
    if not expression_free:
        held = np.ones_like(held)
    held = np.append(held, np.zeros(errors, bool))
    return np.concatenate([np.arange(POSE_COUNT), POSE_COUNT + np.flatnonzero(~held)])

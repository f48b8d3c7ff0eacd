"""Step bounds of a keyframe's parameters."""

import numpy as np

from fitme.fit.solver.expression_bounds import step_bounds
from fitme.fit.solver.joint_estimate import GAZE, POSE_COUNT


def test_step_bounds_end_where_coefficients_are_0_and_1() -> None:
    expression = np.linspace(0.0, 1.0, len(GAZE) + 2)  # two errors of observation at the end
    lower, upper = step_bounds(expression, expression_free=True)
    moving = POSE_COUNT + np.flatnonzero(~GAZE)
    np.testing.assert_allclose((expression + lower[POSE_COUNT:])[moving - POSE_COUNT], 0.0, atol=1e-12)
    np.testing.assert_allclose((expression + upper[POSE_COUNT:])[moving - POSE_COUNT], 1.0)
    unbounded = np.r_[np.arange(POSE_COUNT), POSE_COUNT + len(GAZE), POSE_COUNT + len(GAZE) + 1]
    assert np.isinf(lower[unbounded]).all()
    assert np.isinf(upper[unbounded]).all()
    fixed = POSE_COUNT + np.flatnonzero(GAZE)
    assert not lower[fixed].any()
    assert not upper[fixed].any()
    assert not np.any(step_bounds(expression, expression_free=False)[:, POSE_COUNT : POSE_COUNT + len(GAZE)])

"""How far a step may move what it may move."""

import numpy as np

from fitme.fit.solver.expression_bounds import room
from fitme.fit.solver.joint_estimate import GAZE, POSE_COUNT


def test_room_ends_at_shut_and_at_full() -> None:
    expression = np.linspace(0.0, 1.0, len(GAZE) + 2)  # two errors of observation at the end
    least, most = room(expression, expression_free=True)
    moving = POSE_COUNT + np.flatnonzero(~GAZE)
    np.testing.assert_allclose((expression + least[POSE_COUNT:])[moving - POSE_COUNT], 0.0, atol=1e-12)
    np.testing.assert_allclose((expression + most[POSE_COUNT:])[moving - POSE_COUNT], 1.0)
    unbounded = np.r_[np.arange(POSE_COUNT), POSE_COUNT + len(GAZE), POSE_COUNT + len(GAZE) + 1]
    assert np.isinf(least[unbounded]).all()
    assert np.isinf(most[unbounded]).all()
    still = POSE_COUNT + np.flatnonzero(GAZE)
    assert not least[still].any()
    assert not most[still].any()
    assert not np.any(room(expression, expression_free=False)[:, POSE_COUNT : POSE_COUNT + len(GAZE)])

"""Motion while no face is seen."""

from itertools import pairwise

import numpy as np

from fitme.motion.absence import EASE_S, HOLD_S, AbsenceFilter
from fitme.motion.motion import FRONTAL, NEUTRAL_WEIGHTS, Motion


def test_the_last_pose_is_held_then_eased_to_rest(moving):
    shown, seen = AbsenceFilter(), moving(1.0)
    assert shown(seen) == seen
    held = shown(Motion(1.0 + 0.5 * HOLD_S, tracked=False))
    assert (held.rotation, held.weights, held.tracked) == (seen.rotation, seen.weights, False)
    times = 1.0 + HOLD_S + EASE_S * np.linspace(0.0, 1.0, 9)
    sums = [sum(shown(Motion(time_s, tracked=False)).weights) for time_s in times]
    assert all(earlier > later for earlier, later in pairwise(sums))
    rest = shown(Motion(9.0, tracked=False))
    assert (rest.rotation, rest.weights) == (FRONTAL, NEUTRAL_WEIGHTS)


def test_a_face_that_was_never_seen():
    assert AbsenceFilter()(Motion(1.0, tracked=False)) == Motion(1.0, tracked=False)

"""Motion while no face is seen: the last pose is held for a moment, as for a hand before the face, then eased to the
neutral one."""

from typing import Final

from fitme.motion.motion import Motion
from fitme.motion.rotations import unit

HOLD_S: Final = 0.5
EASE_S: Final = 0.7


class AbsenceFilter:
    """Replaces motions that are not tracked; others pass unchanged."""

    def __init__(self) -> None:
        self._last: Motion | None = None

    def __call__(self, motion: Motion) -> Motion:
        """The motion to show at that time."""
        if motion.tracked:
            self._last = motion
            return motion
        if self._last is None:
            return motion
        share = min(max((motion.time_s - self._last.time_s - HOLD_S) / EASE_S, 0.0), 1.0)
        return blended(self._last, motion, share * share * (3.0 - 2.0 * share))


def blended(first: Motion, second: Motion, share: float) -> Motion:
    """A share in [0, 1] of the way from one motion to another; time and tracked are the second one's."""

    def between(one: float, other: float) -> float:
        return one + share * (other - one)

    # Of a rotation's two quaternions the one that is nearer, so that the head turns the short way.
    dot = sum(one * other for one, other in zip(first.rotation, second.rotation, strict=True))
    sign = -1.0 if dot < 0.0 else 1.0
    x, y, z, w = (between(one, sign * other) for one, other in zip(first.rotation, second.rotation, strict=True))
    right, up, back = map(between, first.position, second.position)
    left_yaw, left_pitch, right_yaw, right_pitch = map(between, first.gaze, second.gaze)
    return Motion(
        second.time_s,
        second.tracked,
        unit((x, y, z, w)),
        (right, up, back),
        (left_yaw, left_pitch, right_yaw, right_pitch),
        tuple(map(between, first.weights, second.weights)),
    )

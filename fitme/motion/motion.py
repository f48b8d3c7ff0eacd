"""Motion of a head at one moment: pose, gaze and ARKit's 52 weights, as a tracker measures them and other programs send
them. Free of torch, so that network code may use it.

Frames and signs are the project's (`fitme.geometry`), and those of `stream.protocol.parameters`.
"""

from dataclasses import dataclass, replace
from typing import Final

from fitme.shape.expressions import EXPRESSION_COUNT

Quaternion = tuple[float, float, float, float]
"""Unit quaternion x, y, z, w."""
Position = tuple[float, float, float]
Gaze = tuple[float, float, float, float]

FRONTAL: Final[Quaternion] = (0.0, 0.0, 0.0, 1.0)
AHEAD: Final[Gaze] = (0.0, 0.0, 0.0, 0.0)
USUAL_POSITION: Final[Position] = (0.0, 0.0, -0.6)
"""Metres: of a head whose sender measures no position, and of one that nobody moves."""
NEUTRAL_WEIGHTS: Final = (0.0,) * EXPRESSION_COUNT


@dataclass(frozen=True)
class Motion:
    """Pose, gaze and expression at one moment."""

    time_s: float
    """Seconds since an arbitrary moment; grows."""
    tracked: bool
    """There is a face; without it the rest is neutral."""
    rotation: Quaternion = FRONTAL
    """Of the head, model to view: a frontal head has the identity."""
    position: Position = USUAL_POSITION
    """Metres, view frame: the point between the eyeballs; z < 0 before the camera."""
    gaze: Gaze = AHEAD
    """Radians, of the eyeballs against the head: yaw and pitch of the left, then of the right eye. Yaw > 0 turns to the
    person's left, pitch > 0 down. The weights contain the gaze, too, as ``eyeLook...``."""
    weights: tuple[float, ...] = NEUTRAL_WEIGHTS
    """(52,) in [0, 1], in the order of `fitme.shape.expressions.EXPRESSION_NAMES`."""

    def at(self, time_s: float) -> "Motion":
        """The motion at another time."""
        return replace(self, time_s=time_s)

"""Motion of a tracked frame, for other programs and for pages that draw."""

from fitme.motion.gaze import gaze_of_weights
from fitme.motion.motion import Motion
from fitme.motion.rotations import rotation_of_axis_angle
from fitme.track.observation import FaceObservation


def motion_of(observation: FaceObservation | None, time_s: float) -> Motion:
    """Motion of an observation; not tracked, and neutral, without a face."""
    if observation is None:
        return Motion(time_s, tracked=False)
    x, y, z = observation.pose.rotation.tolist()
    right, up, back = observation.pose.translation.tolist()
    weights = tuple(observation.expression.tolist())
    return Motion(time_s, True, rotation_of_axis_angle(x, y, z), (right, up, back), gaze_of_weights(weights), weights)

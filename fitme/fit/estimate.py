"""Estimate of a keyframe as plain arrays."""

from dataclasses import dataclass

from fitme.arrays import Float32Array
from fitme.geometry import HeadPose


@dataclass(frozen=True)
class KeyframeEstimate:
    """Pose, expression and light of one keyframe."""

    pose: HeadPose
    """Model space to view space."""
    expression: Float32Array
    """(52,) ARKit coefficients in [0, 1]."""
    light_sh: Float32Array
    """(9, 3) spherical-harmonics light in view space, as `fitme.render.light.Light.sh`."""
    loss: float
    """Photometric error over the face: root mean square in sRGB-encoded units, [0, 1]; NaN before the first render."""

"""What a fit estimates, as plain arrays, and the stages it goes through."""

from dataclasses import dataclass

from fitme.arrays import Float32Array
from fitme.geometry import HeadPose


@dataclass(frozen=True)
class KeyframeEstimate:
    """What the fit believes about one keyframe."""

    pose: HeadPose
    """Model space to view space."""
    expression: Float32Array
    """(52,) ARKit coefficients in [0, 1]."""
    light_sh: Float32Array
    """(9, 3) spherical-harmonics light in view space, as `fitme.render.light.Light.sh`."""
    loss: float
    """Photometric error over the face: root mean square in sRGB-encoded units, [0, 1]; NaN before the first picture."""


STAGES = ("landmarks", "skin", "inversion", "tuning")
"""Stages of a fit in their order: a grey head of the right shape; its skin as the frames show it; the generator's
latent; the generator's weights."""


@dataclass(frozen=True)
class MapArrays:
    """Reflectance maps as arrays; see `fitme.reflectance.maps.ReflectanceMaps` for their meaning."""

    diffuse: Float32Array
    """(R, R, 3)."""
    specular: Float32Array
    """(R, R, 1)."""
    normals: Float32Array
    """(R, R, 3)."""

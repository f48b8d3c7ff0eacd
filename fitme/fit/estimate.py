"""What a fit estimates, as plain arrays, and the stages it goes through."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fitme.geometry import HeadPose

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class KeyframeEstimate:
    """What the fit believes about one keyframe."""

    pose: HeadPose
    """Model space to view space."""
    expression: FloatArray
    """(52,) ARKit coefficients in [0, 1]."""
    light_sh: FloatArray
    """(9, 3) spherical-harmonics light in view space, as `fitme.render.light.Light.sh`."""
    loss: float
    """Photometric error over the face: root mean square in sRGB-encoded units, [0, 1]; NaN before the first picture."""


STAGES = ("landmarks", "skin", "inversion", "tuning")
"""Stages of a fit in their order: a grey head of the right shape; its skin as the frames show it; the generator's
latent; the generator's weights."""


@dataclass(frozen=True)
class MapArrays:
    """Reflectance maps as arrays; see `fitme.reflectance.maps.ReflectanceMaps` for their meaning."""

    diffuse: FloatArray
    """(R, R, 3)."""
    specular: FloatArray
    """(R, R, 1)."""
    normals: FloatArray
    """(R, R, 3)."""

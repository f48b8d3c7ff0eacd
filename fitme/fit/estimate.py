"""Estimate of a keyframe as plain arrays."""

from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.geometry import HeadPose
from fitme.render.light import Light
from fitme.render.shading import sh_irradiance_of_directional


@dataclass(frozen=True, eq=False)
class KeyLight:
    """Directional light that casts shadows, as one of `fitme.render.light.Light`."""

    direction: Float32Array
    """(3,) unit vector towards the light, view space."""
    color: Float32Array
    """(3,) intensity, linear sRGB, >= 0."""


@dataclass(frozen=True, eq=False)
class Illumination:
    """Light of one keyframe."""

    sh: Float32Array
    """(9, 3) spherical harmonics in view space, as `fitme.render.light.Light.sh`, without the key light."""
    key: KeyLight | None = None
    """None where harmonics alone explain the image."""

    @property
    def light(self) -> Light:
        """The whole light, a batch of 1."""
        sh = torch.from_numpy(self.sh)[None]
        if self.key is None:
            return Light.from_harmonics(sh)
        direction, color = (torch.from_numpy(values)[None, None] for values in (self.key.direction, self.key.color))
        return Light(sh, direction, color)

    @property
    def unshadowed_sh(self) -> Float32Array:
        """(9, 3) harmonics of the whole light: the key light without its shadows."""
        if self.key is None:
            return self.sh
        direction, color = torch.from_numpy(self.key.direction), torch.from_numpy(self.key.color)
        return np.asarray(self.sh + sh_irradiance_of_directional(direction, color).numpy(), np.float32)


@dataclass(frozen=True)
class KeyframeEstimate:
    """Pose, expression and light of one keyframe."""

    pose: HeadPose
    """Model space to view space."""
    expression: Float32Array
    """(52,) ARKit coefficients in [0, 1]."""
    light_sh: Float32Array
    """(9, 3) harmonics of the light, as `Illumination.sh`."""
    loss: float
    """Photometric error over the face: root mean square in sRGB-encoded units, [0, 1]; NaN before the first render."""
    key_light: KeyLight | None = None
    """None where harmonics alone explain the image."""

    @property
    def illumination(self) -> Illumination:
        """The whole light."""
        return Illumination(self.light_sh, self.key_light)

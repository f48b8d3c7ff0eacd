"""Lighting of a head: spherical-harmonics irradiance plus directional lights, in view space."""

from dataclasses import dataclass

import torch
from torch import Tensor

from fitme.render.reflection import SH_BAND_0, SH_COUNT


@dataclass(frozen=True)
class Light:
    """Lighting in view space (+X right, +Y up, +Z towards the viewer), linear sRGB primaries.

    Diffuse shading of a normal n is sum_k sh[k] Y_k(n) + sum_l max(0, n . direction_l) color_l, so that a white albedo
    under shading 1 is display white. `sh` already includes the cosine kernel: it holds irradiance / pi, not radiance.
    """

    sh: Tensor
    """(B, 9, 3) coefficients in the order Y00, Y1-1, Y10, Y11, Y2-2, Y2-1, Y20, Y21, Y22 (orthonormal real basis)."""
    directions: Tensor
    """(B, L, 3) unit vectors from the head towards each directional light; L may be 0."""
    colors: Tensor
    """(B, L, 3) intensity of each directional light, >= 0."""

    def to(self, device: torch.device | str) -> "Light":
        """The light with its tensors on a device."""
        return Light(self.sh.to(device), self.directions.to(device), self.colors.to(device))

    @staticmethod
    def from_harmonics(sh: Tensor) -> "Light":
        """Light of coefficients (B, 9, 3) alone, without directional lights, on their device."""
        none = sh.new_zeros(len(sh), 0, 3)
        return Light(sh, none, none)

    @staticmethod
    def ambient(level: float = 1.0, batch: int = 1) -> "Light":
        """Uniform white light: shading is `level` for every normal."""
        sh = torch.zeros(batch, SH_COUNT, 3)
        sh[:, 0] = level / SH_BAND_0
        return Light.from_harmonics(sh)

"""The value that every part exchanges: reflectance of a head in its UV layout."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ReflectanceMaps:
    """Reflectance in UV. Row 0 is the top of the layout; uv = (0, 0) is the top-left corner of the top-left texel."""

    diffuse: Tensor
    """(B, H, W, 3) diffuse albedo, linear sRGB primaries, [0, 1]."""
    specular: Tensor
    """(B, H, W, 1) specular albedo, linear, [0, 1]."""
    normals: Tensor
    """(B, H, W, 3) unit tangent-space normals: x along growing u, y along *decreasing* v (up in the layout, as glTF has
    it), z out of the surface."""

    def one(self, index: int) -> "ReflectanceMaps":
        """One head of the batch, as a batch of one."""
        return ReflectanceMaps(*(maps[index : index + 1] for maps in (self.diffuse, self.specular, self.normals)))

    @staticmethod
    def joined(parts: Sequence["ReflectanceMaps"]) -> "ReflectanceMaps":
        """The heads of several batches as one batch."""
        return ReflectanceMaps(
            torch.cat([part.diffuse for part in parts]),
            torch.cat([part.specular for part in parts]),
            torch.cat([part.normals for part in parts]),
        )

    @staticmethod
    def constant(diffuse: tuple[float, float, float], specular: float, resolution: int) -> "ReflectanceMaps":
        """Flat maps of one colour with undisturbed normals, batch of one."""
        ones = torch.ones(1, resolution, resolution, 1)
        return ReflectanceMaps(ones * torch.tensor(diffuse), ones * specular, ones * torch.tensor([0.0, 0.0, 1.0]))

"""Reflectance maps of a head in its UV layout, as tensors."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor

from fitme.reflectance.map_arrays import ModalityMaps
from fitme.reflectance.modality import Encoding, Modality

GREY_ALBEDO, GREY_SPECULAR = 0.45, 0.3
"""Linear diffuse and specular albedo of the grey head, displayed before the stage of skin."""
GREY_RESOLUTION = 16
"""Side of the grey head's maps in texels; they are constant."""


@dataclass(frozen=True, eq=False)
class ReflectanceMaps(ModalityMaps[Tensor]):
    """Maps (B, H, W, C) of B heads. Row 0 is the top of the layout; uv = (0, 0) is the top-left corner of the top-left
    texel."""

    def one(self, index: int) -> "ReflectanceMaps":
        """Maps of one head, as a batch of one."""
        return self.mapped(lambda _, maps: maps[index : index + 1])

    def to(self, device: torch.device | str) -> "ReflectanceMaps":
        """The maps on a device; the maps themselves where they are on it."""
        if self.diffuse.device == torch.device(device):
            return self
        return self.mapped(lambda _, maps: maps.to(device))

    @staticmethod
    def concatenated(parts: Sequence["ReflectanceMaps"]) -> "ReflectanceMaps":
        """Maps of several batches as one batch."""
        return parts[0].mapped(lambda _, *maps: torch.cat(maps), *parts[1:])

    @staticmethod
    def grey() -> "ReflectanceMaps":
        """Maps (1, R, R, C) of the grey head."""
        return ReflectanceMaps.constant((GREY_ALBEDO,) * 3, GREY_SPECULAR, GREY_RESOLUTION)

    @staticmethod
    def constant(diffuse: tuple[float, float, float], specular: float, resolution: int) -> "ReflectanceMaps":
        """Maps (1, R, R, C) of one albedo with undisturbed normals."""
        ones = torch.ones(1, resolution, resolution, 1)
        return ReflectanceMaps(ones * torch.tensor(diffuse), ones * specular, ones * torch.tensor([0.0, 0.0, 1.0]))

    def _default(self, modality: Modality) -> Tensor:
        return self.diffuse.new_tensor(modality.default).expand(*self.diffuse.shape[:-1], modality.channels)


def unit_length(modality: Modality, maps: Tensor) -> Tensor:
    """A modality's maps (B, H, W, C) with normals of length 1, which interpolation and rounding do not keep."""
    return functional.normalize(maps, dim=-1) if modality.encoding is Encoding.TANGENT_NORMAL else maps

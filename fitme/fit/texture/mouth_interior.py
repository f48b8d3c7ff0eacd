"""Albedo of the inside of an open mouth: dark below the upper teeth and above the lower ones, without specular term.

A keyframe shows teeth or a dark opening, depending on its expression; lower teeth lie in the shade of the lips. A
specular term would lift the dark to grey under every light."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from fitme.fit.texture.unprojection import texel_table
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.occlusion import teeth_and_adjacent
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

DARK = (0.08, 0.025, 0.022)
"""Linear albedo of the depth of the mouth."""
TOOTH_ENDS, DARK_FROM = 0.1, 0.4
"""Shares of the distance from the edge of a row of teeth to the rim behind it, between which teeth fade to depth."""
LOWER_TEETH_SHADE = 0.4
"""Share of the light on upper teeth that reaches lower ones."""
BEHIND_LIPS = (Region.MOUTH_INTERIOR, Region.TEETH)


@dataclass(frozen=True, eq=False)
class OpenMouth:
    """Texels behind the lips."""

    depth: Tensor
    """(1, R, R, 1) float32 in [0, 1]: 1 at the depth of the mouth, 0 on teeth and outside."""
    shade: Tensor
    """(1, R, R, 1) float32: factor of diffuse albedo, below 1 on lower teeth only."""
    outside: Tensor
    """(1, R, R, 1) float32: 0 behind the lips, 1 at all other texels."""

    def over(self, maps: ReflectanceMaps) -> ReflectanceMaps:
        """Maps (1, R, R, C) with the dark mouth over `maps` of resolution R."""
        dark = torch.tensor(DARK).expand_as(maps.diffuse)
        return replace(
            maps, diffuse=torch.lerp(self.shade * maps.diffuse, dark, self.depth), specular=maps.specular * self.outside
        )


def open_mouth(model: MorphableModel, resolution: int) -> OpenMouth:
    """Mouth of a model in maps of `resolution` texels a side."""
    table = texel_table(model, resolution)
    rim = teeth_and_adjacent(model) & ~model.vertex_mask(Region.TEETH)
    away = table.interpolate(rim.float()[:, None]).numpy()
    depth = np.clip((away - TOOTH_ENDS) / (DARK_FROM - TOOTH_ENDS), 0.0, 1.0).astype(np.float32)
    lower = table.interpolate(model.lower_teeth.float()[:, None]).numpy()
    shade = 1.0 - (1.0 - LOWER_TEETH_SHADE) * lower
    outside = ~table.within(BEHIND_LIPS)
    filled = (table.to_filled_map(values) for values in (depth, shade, outside[:, None].astype(np.float32)))
    return OpenMouth(*(torch.from_numpy(values)[None] for values in filled))

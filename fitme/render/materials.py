"""Blinn-Phong shininess of the regions of a head."""

import torch
from torch import Tensor

from fitme.render.reflection import DEFAULT_SHININESS
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

REGION_SHININESS = {
    Region.EYES: 300.0,
    Region.TEETH: 100.0,
    Region.LIPS: 40.0,
    Region.MOUTH_INTERIOR: 40.0,
}
"""Blinn-Phong exponents of wet or polished regions; all others have `DEFAULT_SHININESS`."""


def head_shininess(model: MorphableModel) -> Tensor:
    """Blinn-Phong exponent of each triangle (F,), for `render` and `ForwardRenderer`."""
    exponents = torch.full(model.triangle_region.shape, DEFAULT_SHININESS, device=model.triangle_region.device)
    for region, exponent in REGION_SHININESS.items():
        exponents[model.triangle_region == int(region)] = exponent
    return exponents

"""Settings of the fused texture."""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from msgspec import Meta

from fitme.arrays import Float32Array, Float64Array
from fitme.fit.lighting.albedo_scale import AlbedoScaleSettings


@dataclass(frozen=True)
class FusionSettings:
    """Weights of keyframes in the fused texture."""

    rounds: Annotated[int, Meta(ge=1)] = 3
    """Alternations between light and albedo."""
    detail_power: Annotated[float, Meta(gt=1.0)] = 4.0
    """Exponent of a view's weight in the high band; a higher one favours the view that shows a texel best."""
    band_sigma: Annotated[float, Meta(gt=0.0, lt=1.0)] = 0.012
    """Standard deviation of the Gaussian between low and high band, as a share of the map's side."""
    confident_weight: Annotated[float, Meta(gt=0.0)] = 0.15
    """Summed weight of a texel, over the greatest sharpness, at which its confidence is 0.5."""
    light_samples: Annotated[int, Meta(ge=1)] = 12000
    """Texels of skin, at most, on which lights are estimated."""
    scleras: bool = True
    """Take the light's colour from the white of the eyes."""
    albedo_scale: AlbedoScaleSettings = field(default_factory=AlbedoScaleSettings)


def confidence_of(weight: Float64Array, settings: FusionSettings) -> Float32Array:
    """(N, 1) confidence w / (w + `confident_weight`) in [0, 1) of summed weights w (N,)."""
    return (weight / (weight + settings.confident_weight))[:, None].astype(np.float32)

"""How much of a face's colour is skin and how much is light.

A picture shows their product only, so dark skin in bright light looks like light skin in dim light. Both have priors,
though. Skin's albedo lies near a curve from dark and red to light and pale, as melanin goes: its hue tells of its
level. Light is nearly white once a camera has balanced it, and as bright as automatic exposure makes it. With both
Gaussian in log colour, the most likely split is linear (in the spirit of TRUST, Feng et al., ECCV 2022, which weighs
the same evidence by a network).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]

SKIN_LOG_MEAN = np.array([-1.031, -1.652, -2.090])
"""Mean log of a face's median linear albedo (R, G, B), people spread evenly over the six ITA classes; of 1,500 skins
that `fitme data build` made from a spectral skin model."""
SKIN_LOG_COVARIANCE = np.array([[0.3025, 0.3768, 0.4275], [0.3768, 0.4738, 0.5432], [0.4275, 0.5432, 0.6359]])
"""Its covariance."""
DARKEST = 1e-3
"""Linear colour below which pictures say nothing of hue."""


@dataclass(frozen=True)
class ToneSettings:
    """Prior of the light on a face."""

    mean_shading: float = 0.6
    """Expected shading: exposure makes the mean of a picture 0.18, and what it shows reflects 0.3 on average."""
    shading_log_sigma: float = 0.4
    tint_log_sigma: float = 0.08
    """Colour of the light that white balance leaves, per channel."""


def likely_skin_tone(face_color: FloatArray, settings: ToneSettings) -> FloatArray:
    """Most likely linear albedo (..., 3) of skin whose median linear colours are seen as (..., 3)."""
    common, tint = settings.shading_log_sigma**2, settings.tint_log_sigma**2
    light_covariance = common * np.ones((3, 3)) + tint * np.eye(3)
    gain = SKIN_LOG_COVARIANCE @ np.linalg.inv(SKIN_LOG_COVARIANCE + light_covariance)
    surplus = np.log(np.maximum(face_color, DARKEST) / settings.mean_shading) - SKIN_LOG_MEAN
    tone: FloatArray = np.exp(SKIN_LOG_MEAN + surplus @ gain.T).astype(np.float32)
    return tone

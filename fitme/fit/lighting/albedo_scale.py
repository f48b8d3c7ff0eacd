"""How much of a face's colour is skin and how much is light.

A picture shows their product only, so dark skin in bright light looks like light skin in dim light. Both have priors,
though. Skin's albedo lies near a curve from dark and red to light and pale, as melanin goes: its hue tells of its
level. Light is nearly white once a camera has balanced it, but for some warmth, and as bright as automatic exposure
makes it. What the surface reflects without going through the skin has the light's hue: on dark skin, that is a large
part of the colour. Whatever else of known albedo stands in the same light is evidence of the light: the white of the
eye is (`fitme.fit.lighting.sclera`).

The posterior mean under these priors weighs the same evidence as TRUST (Feng et al., ECCV 2022) does by a network.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array, Float64Array

SKIN_TONES = np.array(
    [
        [0.627, 0.423, 0.3367],
        [0.611, 0.406, 0.3169],
        [0.598, 0.388, 0.2963],
        [0.576, 0.368, 0.2744],
        [0.552, 0.345, 0.2507],
        [0.535, 0.326, 0.2317],
        [0.510, 0.304, 0.2103],
        [0.486, 0.284, 0.1915],
        [0.465, 0.265, 0.1756],
        [0.445, 0.249, 0.1618],
        [0.428, 0.235, 0.1497],
        [0.402, 0.216, 0.1345],
        [0.372, 0.194, 0.1162],
        [0.343, 0.175, 0.1032],
        [0.278, 0.134, 0.0749],
        [0.221, 0.100, 0.0537],
        [0.171, 0.075, 0.0396],
        [0.144, 0.061, 0.0319],
        [0.120, 0.051, 0.0266],
        [0.095, 0.039, 0.0212],
    ]
)
"""(T, 3) linear albedos R, G, B, equally likely, from light to dark: means in the logarithm of twentieths, by their
first principal component, of the faces' medians of 1,500 skins that the package's generator made of random latents.
Light skins are alike and dark ones are not, which no normal distribution has."""
SHEEN = 0.025
"""Light off the surface of a face, per unit of specular albedo, where a perfect white shows 1; as a median over the
face: 400 lights on the mean head under `fitme.render.shading.blinn_phong`, ambient light reflected at normal
incidence."""
SKIN_SPECULAR = 0.54
"""Specular albedo of the same skins, mean of the faces' medians; they differ by 0.01."""
WARMTH = np.array([0.53, 0.0, -1.0])
"""By how much the logarithm of a black body's light changes as it gets cooler: by Planck's law at 610, 550 and 465 nm,
between 6,500 and 3,500 K, green and the largest made 0 and 1."""
DARKEST = 1e-3
"""Linear colour below which pictures say nothing of hue."""


@dataclass(frozen=True)
class LightEvidence:
    """What something of known albedo says of the light on a face, under each of K guesses at what it is."""

    log_shading: Float64Array
    """(K, T, 3) logarithm of what a perfect white in the place of the skin would show, if the skin has each of
    `SKIN_TONES`; T may be 1 where that makes no difference."""
    covariance: Float64Array
    """(K, 3, 3) of its error."""
    log_share: Float64Array
    """(K,) logarithm of how likely each guess is beforehand."""
    log_otherwise: float
    """Logarithm of how likely it is to be none of these, times the density of what is seen then, (2 pi)^(3/2) left
    out."""


@dataclass(frozen=True)
class ToneSettings:
    """Priors of the light on a face, and of a person's hue."""

    mean_shading: float = 0.6
    """Expected shading: exposure makes the mean of a picture 0.18, and what it shows reflects 0.3 on average."""
    shading_log_sigma: float = 0.4
    tint_log_sigma: float = 0.05
    """Colour of the light that white balance leaves, per channel."""
    temperature_log_sigma: float = 0.1
    """The same along `WARMTH`: lamps and skies differ in their temperature above all."""
    hue_log_sigma: float = 0.06
    """What people differ in beside the level, per channel: blood in the skin, makeup, a camera's primaries."""

    @property
    def light_covariance(self) -> Float64Array:
        """(3, 3) of the logarithm of the light."""
        level, tint = self.shading_log_sigma**2 * np.ones((3, 3)), self.tint_log_sigma**2 * np.eye(3)
        return np.asarray(level + tint + self.temperature_log_sigma**2 * np.outer(WARMTH, WARMTH))


def likely_skin_tone(
    face_color: Float32Array,  # (..., 3)
    settings: ToneSettings,
    specular: float = SKIN_SPECULAR,
    evidence: LightEvidence | None = None,
) -> Float32Array:
    """Expected linear albedo (..., 3), a geometric mean, of skin whose median linear colours are seen as (..., 3).

    `specular` is its specular albedo, median of the face. Each of `SKIN_TONES` is weighed by how well a likely light
    makes it look as seen; of what is left then, hue takes its share. `evidence` makes the light better known.
    """
    shading = np.full((1, 1, 3), np.log(settings.mean_shading))
    light = settings.light_covariance[None]
    hue = settings.hue_log_sigma**2 * np.eye(3)
    belief = np.zeros((1, len(SKIN_TONES)))  # (K, T) logarithm, of guesses and tones
    if evidence is not None:
        unexpected = evidence.log_shading - shading  # (K, T, 3)
        doubt = np.linalg.inv(light + evidence.covariance)  # (K, 3, 3)
        told = evidence.log_share[:, None] + _log_density(unexpected, doubt)
        # The last guess is that it tells nothing.
        belief = np.concatenate([told + belief, belief + evidence.log_otherwise])
        shading = np.concatenate(
            [np.broadcast_to(shading + unexpected @ doubt @ light, (len(doubt), len(SKIN_TONES), 3)),
             np.broadcast_to(shading, (1, len(SKIN_TONES), 3))]
        )  # fmt: skip
        light = np.concatenate([light - light @ doubt @ light, light])
    seen = np.log(np.maximum(face_color, DARKEST))[..., None, None, :]  # (..., 1, 1, 3)
    surplus = seen - shading - np.log(SKIN_TONES + SHEEN * specular)  # (..., K, T, 3)
    precision = np.linalg.inv(light + hue)
    belief = belief + _log_density(surplus, precision)
    weight = np.exp(belief - belief.max((-2, -1), keepdims=True))
    weight /= weight.sum((-2, -1), keepdims=True)
    toned = np.log(SKIN_TONES) + surplus @ precision @ hue
    tone: Float32Array = np.exp((weight[..., None] * toned).sum((-3, -2))).astype(np.float32)
    return tone


def _log_density(
    deviation: Float64Array,  # (..., K, T, 3)
    precision: Float64Array,  # (K, 3, 3)
) -> Float64Array:
    """(..., K, T) of normal distributions, (2 pi)^(3/2) left out."""
    spread = 0.5 * np.linalg.slogdet(precision)[1][:, None]
    return np.asarray(spread - 0.5 * np.einsum("...kti,kij,...ktj->...kt", deviation, precision, deviation))

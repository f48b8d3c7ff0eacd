"""Albedo scale of a face: its expected skin albedo under priors of skin tone and of light.

An image shows the product of albedo and shading only, so that dark skin in bright light looks like light skin in dim
light. Both have priors, though. Skin albedo lies near a curve from dark and red to light and pale, by melanin content,
so that its hue is informative about its level. Light is nearly white after a camera's white balance, but for some
warmth, and its level is set by automatic exposure. Specular reflection has the hue of the light: on dark skin it is a
large part of the colour. A second surface of known albedo in the same light adds information about the light: the
sclera does (`fitme.fit.lighting.sclera`).

The posterior mean under these priors resolves the ambiguity that TRUST (Feng et al., ECCV 2022) resolves by a network.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from fitme.arrays import Float32Array, Float64Array

SKIN_TONE_PRIOR_PATH = Path(__file__).with_name("skin_tone_prior.json")
"""What `fitme.build.skin_tone_prior` writes."""
_PRIOR = json.loads(SKIN_TONE_PRIOR_PATH.read_text())
SKIN_TONES = np.array(_PRIOR["albedos"], np.float64)
"""(T, 3) linear albedos R, G, B, equally likely, from light to dark: a discrete prior, since light skins resemble one
another and dark ones do not, unlike samples of a normal distribution."""
SPECULAR_REFLECTION = 0.025
"""Specular term over the shading, per unit of specular albedo; median over the face, of 400 lights on the mean head
under `fitme.render.shading.blinn_phong`, ambient light reflected at normal incidence."""
SKIN_SPECULAR = float(_PRIOR["specular"])
"""Specular albedo of skin: the mean over heads of the faces' medians, whose standard deviation is 0.01."""
WARMTH = np.array([0.53, 0.0, -1.0])
"""(3,) direction of the logarithm of a black body's light as it gets cooler: by Planck's law at 610, 550 and 465 nm,
between 6,500 and 3,500 K, relative to green, the largest change scaled to 1."""
DARKEST = 1e-3
"""Linear colour below which an image carries no information about hue."""


@dataclass(frozen=True)
class LightObservation:
    """Observation of the light on a face by a second surface, under each of K hypotheses of what that surface is."""

    log_shading: Float64Array
    """(K, T, 3) logarithm of the shading of the face, if the skin has each of `SKIN_TONES`; T may be 1 where the
    observation does not depend on the skin."""
    covariance: Float64Array
    """(K, 3, 3) covariance of `log_shading`."""
    log_prior: Float64Array
    """(K,) logarithm of the prior probability of each hypothesis."""
    log_outlier: float
    """Logarithm of the probability of an outlier, none of the hypotheses, times the density of the observation then,
    the factor (2 pi)^(-3/2) left out."""


@dataclass(frozen=True)
class AlbedoScaleSettings:
    """Priors of the light on a face, and of a person's hue about the skin-tone prior."""

    mean_shading: Annotated[float, Meta(gt=0.0)] = 0.6
    """Expected shading: exposure makes the mean of an image 0.18, and scenes reflect 0.3 on average."""
    shading_log_sigma: Annotated[float, Meta(gt=0.0)] = 0.4
    """Standard deviation of the logarithm of the shading, common to the channels."""
    tint_log_sigma: Annotated[float, Meta(gt=0.0)] = 0.05
    """Standard deviation of the logarithm of each channel of the light after white balance."""
    temperature_log_sigma: Annotated[float, Meta(gt=0.0)] = 0.1
    """Standard deviation along `WARMTH`: lamps and skies differ in their temperature above all."""
    unbalanced_share: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.02
    """Share of images without white balance, whose light has whatever temperature its lamp has."""
    unbalanced_temperature_log_sigma: Annotated[float, Meta(gt=0.0)] = 0.8
    """Standard deviation along `WARMTH` in those: a lamp of 2,700 K lies at 1.6."""
    unbalanced_tint_log_sigma: Annotated[float, Meta(gt=0.0)] = 0.15
    """Standard deviation of the logarithm of each channel in those: `WARMTH` is a line, black bodies lie on a curve."""
    hue_log_sigma: Annotated[float, Meta(gt=0.0)] = 0.06
    """Standard deviation of the logarithm of each channel of a person's albedo about the tones: blood in the skin,
    makeup, a camera's primaries."""

    def light_priors(self) -> "list[_Light]":
        """Priors of the logarithm of the shading: with white balance and, if that happens, without."""
        balanced = (1.0 - self.unbalanced_share, self.tint_log_sigma, self.temperature_log_sigma)
        unbalanced = (self.unbalanced_share, self.unbalanced_tint_log_sigma, self.unbalanced_temperature_log_sigma)
        level = self.shading_log_sigma**2 * np.ones((3, 3))
        return [
            _Light(
                np.full((1, 1, 3), np.log(self.mean_shading)),
                (level + tint**2 * np.eye(3) + temperature**2 * np.outer(WARMTH, WARMTH))[None],
                np.full((1, len(SKIN_TONES)), np.log(share)),
            )
            for share, tint, temperature in (balanced, unbalanced)
            if share > 0.0
        ]


@dataclass(frozen=True)
class _Light:
    """Distribution of the logarithm of the shading: a Gaussian for each of K hypotheses and, if observed, T tones."""

    mean: Float64Array
    """(K, T or 1, 3)."""
    covariance: Float64Array
    """(K, 3, 3)."""
    log_weight: Float64Array
    """(K, T)."""

    def conditioned(self, observation: LightObservation) -> "_Light":
        """Distribution after an observation (Kalman update under each hypothesis): from one Gaussian, K + 1, of which
        the last is the outlier, which leaves it as it is."""
        innovation = observation.log_shading - self.mean  # (K, T, 3)
        information = np.asarray(np.linalg.inv(self.covariance + observation.covariance), np.float64)  # (K, 3, 3)
        updated = observation.log_prior[:, None] + _log_density(innovation, information)
        moved = self.mean + innovation @ information @ self.covariance
        unmoved = np.broadcast_to(self.mean, (1, *moved.shape[1:]))
        narrowed = self.covariance - self.covariance @ information @ self.covariance
        return _Light(
            np.concatenate([moved, unmoved]),
            np.concatenate([narrowed, self.covariance]),
            np.concatenate([updated + self.log_weight, self.log_weight + observation.log_outlier]),
        )


def expected_skin_albedo(
    face_color: Float32Array,  # (..., 3)
    settings: AlbedoScaleSettings,
    specular: float = SKIN_SPECULAR,
    observation: LightObservation | None = None,
) -> Float32Array:
    """Posterior mean of the logarithm of the linear skin albedo, as albedo (..., 3), of faces with median linear
    colours (..., 3).

    :param specular: median specular albedo of the face.
    :param observation: of the light by a second surface, which narrows the prior of the light.
    """
    # Prior of the logarithm of the shading: Gaussians for hypotheses (K) and, if observed, tones (T).
    lights = settings.light_priors()
    if observation is not None:
        lights = [light.conditioned(observation) for light in lights]
    mean = np.concatenate([light.mean for light in lights])  # (K, T or 1, 3)
    covariance = np.concatenate([light.covariance for light in lights])
    log_weight = np.concatenate([light.log_weight for light in lights])  # (K, T)
    # Weigh every tone by how well a likely light explains the colour under it.
    hue = settings.hue_log_sigma**2 * np.eye(3)
    log_color = np.log(np.maximum(face_color, DARKEST))[..., None, None, :]  # (..., 1, 1, 3)
    residual = log_color - mean - np.log(SKIN_TONES + SPECULAR_REFLECTION * specular)  # (..., K, T, 3)
    precision = np.asarray(np.linalg.inv(covariance + hue), np.float64)
    log_weight = log_weight + _log_density(residual, precision)
    weight = np.exp(log_weight - log_weight.max((-2, -1), keepdims=True))
    weight /= weight.sum((-2, -1), keepdims=True)
    # The residual is part light, part the person's hue about the tone: the latter is albedo.
    log_albedo = np.log(SKIN_TONES) + residual @ precision @ hue
    albedo: Float32Array = np.exp((weight[..., None] * log_albedo).sum((-3, -2))).astype(np.float32)
    return albedo


def _log_density(
    deviation: Float64Array,  # (..., K, T, 3)
    precision: Float64Array,  # (K, 3, 3)
) -> Float64Array:
    """(..., K, T) logarithms of normal densities, the factor (2 pi)^(-3/2) left out."""
    log_scale = 0.5 * np.linalg.slogdet(precision)[1][:, None]
    return np.asarray(log_scale - 0.5 * np.einsum("...kti,kij,...ktj->...kt", deviation, precision, deviation))

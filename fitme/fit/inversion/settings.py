"""Settings of inversion and tuning of the generator."""

from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

CoarseStage = tuple[Annotated[int, Meta(ge=1)], Annotated[float, Meta(gt=0.0, le=1.0)]]
"""Texels of the full maps per texel a side, and share of the steps."""


@dataclass(frozen=True)
class InversionSettings:
    """Weights and step sizes of inversion and tuning. Colours are compared sRGB-encoded."""

    encoder: bool = True
    """Start inversion from the latent that the texture encoder predicts, not from the mean one."""
    crop_resolution: Annotated[int, Meta(ge=32, le=2048)] = 192
    """Side in pixels at which keyframes are compared with renders."""
    coarse_stages: Annotated[tuple[CoarseStage, ...], Meta(min_length=1)] = ((8, 0.7), (4, 0.3))
    """Stages of coarse inversion."""
    coarse_resolution: Annotated[int, Meta(ge=4, le=4096)] = 32
    """Side of the maps at which locality is checked."""
    largest_resolution: Annotated[int, Meta(ge=32, le=4096)] = 256
    """Side of the generator's maps while it is fitted, if its own are larger: a step at twice the side takes about
    three times as long. The avatar has the generator's full maps."""
    coarse_steps: Annotated[int, Meta(ge=1)] = 24
    inversion_steps: Annotated[int, Meta(ge=0)] = 6
    tuning_steps: Annotated[int, Meta(ge=0)] = 8
    refresh_steps: Annotated[int, Meta(ge=0)] = 3
    """Steps of inversion, and of tuning, for a new keyframe after the fit has converged."""
    coarse_rate: Annotated[float, Meta(gt=0.0)] = 0.05
    """Adam's first step on W+ in coarse inversion; falls with a cosine."""
    coarse_final_rate: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.2
    """Share of `coarse_rate` at the end."""
    latent_rate: Annotated[float, Meta(gt=0.0)] = 0.02
    """Adam's step on W+ once images are compared."""
    geometry_rate: Annotated[float, Meta(gt=0.0)] = 0.001
    """Adam's step on identity and expression."""
    pose_rate: Annotated[float, Meta(gt=0.0)] = 0.0001
    """Adam's step on rotations (radians) and translations (metres)."""
    light_rate: Annotated[float, Meta(gt=0.0)] = 0.005
    tuning_rate: Annotated[float, Meta(gt=0.0)] = 0.006
    """Adam's step on the generator's weights."""
    texture_weight: Annotated[float, Meta(ge=0.0)] = 1.0
    """Fused texture against the generator's diffuse albedo, in UV."""
    gradient_weight: Annotated[float, Meta(ge=0.0)] = 1.0
    """L1 of the texture's gradients, which keeps edges sharp."""
    photometric_weight: Annotated[float, Meta(ge=0.0)] = 0.5
    """Render against image."""
    feature_weight: Annotated[float, Meta(ge=0.0)] = 0.05
    """Distance of identity-network features between render and image."""
    identity_weight: Annotated[float, Meta(ge=0.0)] = 0.1
    """Cosine distance of identity embeddings between render and image."""
    landmark_weight: Annotated[float, Meta(ge=0.0)] = 0.02
    shape_prior_weight: Annotated[float, Meta(ge=0.0)] = 0.0005
    """Mean square of identity coefficients, and of expressions."""
    latent_prior_weight: Annotated[float, Meta(ge=0.0)] = 0.002
    """Mean squared distance of W+ from the mean latent, in standard deviations."""
    locality_weight: Annotated[float, Meta(ge=0.0)] = 1.0
    """How strongly tuning must leave neighbouring latents' maps as they were (pivotal tuning, Roich et al. 2022)."""
    specular_weight: Annotated[float, Meta(ge=0.0)] = 5.0
    """How strongly specular albedo and normals must stay as coarse inversion, and then inversion, found them."""
    locality_radius: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.3
    """Interpolation towards a random latent at which locality is checked."""

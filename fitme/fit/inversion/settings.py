"""Settings of inversion and tuning of the generator."""

from dataclasses import dataclass


@dataclass(frozen=True)
class InversionSettings:
    """Weights and step sizes of inversion and tuning. Colours are compared sRGB-encoded."""

    crop_resolution: int = 192
    """Side in pixels at which keyframes are compared with renders."""
    coarse_stages: tuple[tuple[int, float], ...] = ((8, 0.7), (4, 0.3))
    """Of coarse inversion: texels of the full maps per texel a side, share of the steps."""
    coarse_resolution: int = 32
    """Side of the maps at which locality is checked."""
    coarse_steps: int = 24
    inversion_steps: int = 6
    tuning_steps: int = 8
    refresh_steps: int = 3
    """Steps of inversion, and of tuning, for a new keyframe after the fit has converged."""
    coarse_rate: float = 0.05
    """Adam's first step on W+ in coarse inversion; falls with a cosine."""
    coarse_final_rate: float = 0.2
    """Share of `coarse_rate` at the end."""
    latent_rate: float = 0.02
    """Adam's step on W+ once images are compared."""
    geometry_rate: float = 0.001
    """Adam's step on identity and expression."""
    pose_rate: float = 0.0001
    """Adam's step on rotations (radians) and translations (metres)."""
    light_rate: float = 0.005
    tuning_rate: float = 0.006
    """Adam's step on the generator's weights."""
    texture_weight: float = 1.0
    """Fused texture against the generator's diffuse albedo, in UV."""
    gradient_weight: float = 1.0
    """L1 of the texture's gradients, which keeps edges sharp."""
    photometric_weight: float = 0.5
    """Render against image."""
    feature_weight: float = 0.05
    """Distance of identity-network features between render and image."""
    identity_weight: float = 0.1
    """Cosine distance of identity embeddings between render and image."""
    landmark_weight: float = 0.02
    shape_prior_weight: float = 0.0005
    """Mean square of identity coefficients, and of expressions."""
    latent_prior_weight: float = 0.002
    """Mean squared distance of W+ from the mean latent, in standard deviations."""
    locality_weight: float = 1.0
    """How strongly tuning must leave neighbouring latents' maps as they were (pivotal tuning, Roich et al. 2022)."""
    specular_weight: float = 5.0
    """How strongly specular albedo and normals must stay as coarse inversion, and then inversion, found them."""
    locality_radius: float = 0.3
    """Interpolation towards a random latent at which locality is checked."""

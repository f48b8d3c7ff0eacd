"""Diffuse albedo of a whole head from the texture of a portrait.

What one photo does not separate is removed by what all photos of one studio have in common. Its uneven light is the
same for everybody: the mean over people of the logarithm of albedo over skin tone is a *flat field*, which is exchanged
for the painter's mean. What is not seen comes from the generator's first latent and from the other side of the face.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import gaussian_filter

from fitme.arrays import BoolArray, Float32Array
from fitme.color import linear_to_srgb
from fitme.fit.texture.baking import FULL_CONFIDENCE, MIRRORED_WEIGHTS, bake, enlarge
from fitme.fit.texture.fusion import FusedTexture
from fitme.fit.texture.unprojection import texel_table
from fitme.reflectance.generator import ReflectanceGenerator
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.texture_encoder import TextureEncoder
from fitme.shape.model_file import load_default_model
from fitme.shape.regions import Region
from fitme.skin.layers import lip_mask
from fitme.skin.painter import synthesize_skin
from fitme.skin.skin_tone_classes import skin_ita_deg, skin_tone_mask
from fitme.skin.texel_geometry import TexelGeometry, default_texel_geometry
from fitme.training.people.portrait_fit import PortraitTexture

SEEN_FROM, SEEN_WELL = 0.38, 0.66
"""Confidences between which an observed texel fades in: oblique texels are dark and streaked."""
FIELD_SIGMA = 0.035
"""Standard deviation of the Gaussian of a flat field, as a share of the map's side."""
FIELD_LIMIT = 0.9
"""Largest correction by a flat field, logarithm."""
PAINTED_HEADS = 24
"""Synthetic heads whose mean is the flat field that portraits are brought to."""
PAINTED_RESOLUTION = 128
SHINE_SIGMA = 0.03
"""Standard deviation of the Gaussian of the surroundings whose colour is that of skin without shine, as a share of the
map's side."""
SHINE_EDGE = 0.002
"""Standard deviation of the Gaussian that smooths estimated shine, as a share of the map's side."""
LEAST_SKIN = 0.5
"""Skin probability below which a texel of the open face is covered."""
LARGEST_COVERED = 0.16
"""Share of the open face, seen from the front, that may be covered."""
_OFFSET = 0.01


@dataclass(frozen=True, eq=False)
class PortraitMaps:
    """Maps of the head of a portrait."""

    diffuse: Float32Array
    """(R, R, 3) linear albedo."""
    specular: Float32Array
    """(R, R, 1)."""
    slopes: Float32Array
    """(R, R, 2) of the coarse relief: what is finer follows from the albedo, see `fitme.training.people.relief`."""
    share: Float32Array
    """(R, R) in [0, 1], share of the photo in the albedo."""
    ita_deg: float


def flat_field(textures: Sequence[PortraitTexture], geometry: TexelGeometry) -> Float32Array:
    """(R, R, 3) mean of the logarithm of albedo over skin tone of portraits from one studio, smoothed."""
    total, weights = np.zeros((*geometry.covered.shape, 3)), np.zeros((*geometry.covered.shape, 1))
    for texture in textures:
        weight = (_seen(texture) * _skin(texture.skin_probability, geometry))[..., None]
        total += weight * _over_tone(texture.observed, weight[..., 0], geometry)
        weights += weight
    sigma = FIELD_SIGMA * geometry.resolution
    total, weights = (gaussian_filter(x, (sigma, sigma, 0.0)) for x in (total, weights))
    return np.asarray(total / np.maximum(weights, 1e-3), np.float32)


def painted_field(resolution: int) -> Float32Array:
    """(R, R, 3) flat field of synthetic heads, mirror symmetric."""
    geometry = default_texel_geometry(PAINTED_RESOLUTION)
    heads = []
    for seed in range(PAINTED_HEADS):
        diffuse = synthesize_skin(seed, PAINTED_RESOLUTION).diffuse
        seen = np.where(geometry.covered, 1.0, 0.0).astype(np.float32)
        heads.append(PortraitTexture(diffuse, seen, _bare(diffuse, geometry)))
    field = flat_field(heads, geometry)
    symmetric = torch.from_numpy(0.5 * (field + field[:, ::-1])).permute(2, 0, 1)[None]
    larger = torch.nn.functional.interpolate(symmetric, size=(resolution, resolution), mode="bilinear")
    return np.ascontiguousarray(larger[0].permute(1, 2, 0).numpy())


def covered_share(texture: PortraitTexture, geometry: TexelGeometry) -> float:
    """Share of the open face that something covers: hair, glasses, a hand."""
    face = _open_face(geometry) & (texture.confidence > SEEN_FROM)
    return float((texture.skin_probability[face] < LEAST_SKIN).mean()) if face.any() else 1.0


def portrait_maps(
    texture: PortraitTexture,
    field: Float32Array,  # (R, R, 3) of the portrait's studio
    wanted: Float32Array,  # (R, R, 3) that replaces it
    geometry: TexelGeometry,
    generator: ReflectanceGenerator,
    encoder: TextureEncoder,
) -> PortraitMaps:
    """Maps of a portrait; what was not seen is the generator's, at the latent that its encoder predicts."""
    resolution = geometry.resolution
    table = texel_table(load_default_model(), resolution)
    skin = np.where(geometry.skin_like, 1.0, 0.0)[..., None]
    correction = np.clip(wanted - field, -FIELD_LIMIT, FIELD_LIMIT) * skin
    level = np.exp(correction)
    observed = np.clip(without_shine(texture.observed * level, geometry), 0.0, 0.95).astype(np.float32)

    # Eyes are the generator's: a photo's have lights in them. Covered skin counts as unseen.
    covered = gaussian_filter((texture.skin_probability < LEAST_SKIN).astype(np.float32) * _open_face(geometry), 2.0)
    seen = _seen(texture) * np.where(geometry.is_region(Region.EYES), 0.0, 1.0) * np.clip(1.0 - 2.0 * covered, 0.0, 1.0)
    share = gaussian_filter(seen, 0.004 * resolution).astype(np.float32) * (seen > 0.0)
    texels = {
        "observed": observed, "confidence": (FULL_CONFIDENCE * share)[..., None],
        "skin_probability": texture.skin_probability[..., None],
    }  # fmt: skip
    listed = {name: table.from_map(np.asarray(values, np.float32)) for name, values in texels.items()}
    tone = _tone(observed, seen, geometry)
    expected = np.broadcast_to(tone, listed["observed"].shape).astype(np.float32)
    fused = FusedTexture(
        expected, listed["observed"], expected, listed["skin_probability"], listed["confidence"][:, 0], (), (),
        # The one view counts as frontal where the portrait alone decides.
        best=MIRRORED_WEIGHTS[1] / FULL_CONFIDENCE * listed["confidence"][:, 0],
    )  # fmt: skip
    generated = _generated(observed, share, generator, encoder)
    baked = bake(table, fused, generated, inverted=True)
    diffuse = baked.diffuse[0].numpy()
    slopes = (generated.normals[0, ..., :2] / generated.normals[0, ..., 2:].clamp(min=0.1)).numpy()
    return PortraitMaps(diffuse, baked.specular[0].numpy(), slopes, share, skin_ita_deg(diffuse, geometry))


def without_shine(albedo: Float32Array, geometry: TexelGeometry) -> Float32Array:
    """Linear albedo (R, R, 3) less white light reflected by the surface.

    Dichromatic reflection (Shafer, "Using Color to Separate Reflection Components", 1985): a texel is a d + m (1, 1, 1)
    with the colour d of the skin around it. Least squares for a and m; only positive m is taken out, and never more
    than makes the texel as dark as its surroundings.
    """
    sigma = SHINE_SIGMA * geometry.resolution
    weight = np.where(geometry.is_region(Region.SKIN) & (geometry.lips > 0.0), 1.0, 0.0)[..., None]
    low = gaussian_filter(albedo * weight, (sigma, sigma, 0.0)) / np.maximum(
        gaussian_filter(weight, (sigma, sigma, 0.0)), 1e-3
    )
    # Darker texels around count more: they have no shine.
    dark = weight * np.exp(-4.0 * np.maximum(albedo / np.maximum(low, 1e-3) - 1.0, -0.3)).mean(-1, keepdims=True)
    body = gaussian_filter(albedo * dark, (sigma, sigma, 0.0)) / np.maximum(
        gaussian_filter(dark, (sigma, sigma, 0.0)), 1e-3
    )
    direction = body / np.maximum(np.linalg.norm(body, axis=-1, keepdims=True), 1e-6)
    white = np.full(3, 3.0**-0.5)
    cosine = direction @ white
    along, grey = (albedo * direction).sum(-1), albedo @ white
    shine = (grey - cosine * along) / np.maximum(1.0 - cosine**2, 0.02)
    excess = np.maximum((albedo - body).min(-1), 0.0) * 3.0**0.5
    shine = gaussian_filter(np.minimum(np.maximum(shine, 0.0), excess), SHINE_EDGE * geometry.resolution)
    return np.asarray(albedo - weight * np.minimum(shine, excess)[..., None] * white, np.float32)


def encoded_diffuse(maps: PortraitMaps) -> Float32Array:
    """(R, R, 3) sRGB-encoded albedo."""
    return np.asarray(linear_to_srgb(torch.from_numpy(maps.diffuse)).numpy(), np.float32)


@torch.no_grad()
def _generated(
    observed: Float32Array, share: Float32Array, generator: ReflectanceGenerator, encoder: TextureEncoder
) -> ReflectanceMaps:
    """Maps (1, R, R, C) of the encoder's latent of an albedo (R, R, 3) seen by shares (R, R)."""
    resolution = len(observed)
    encoded = linear_to_srgb(torch.from_numpy(observed))[None]
    w_plus = encoder.encode(encoded, torch.from_numpy(share)[None, ..., None], delighted=True)
    return enlarge(generator.synthesize(w_plus), resolution)


def _seen(texture: PortraitTexture) -> Float32Array:
    """(R, R) in [0, 1] weight of observed texels."""
    return np.clip((texture.confidence - SEEN_FROM) / (SEEN_WELL - SEEN_FROM), 0.0, 1.0).astype(np.float32)


def _skin(probability: Float32Array, geometry: TexelGeometry) -> Float32Array:
    """(R, R) weight of bare skin and lips."""
    outer = geometry.is_region(Region.SKIN) | geometry.is_region(Region.NECK) | geometry.is_region(Region.LIPS)
    return np.asarray(np.where(outer, probability, 0.0), np.float32)


def _bare(diffuse: Float32Array, geometry: TexelGeometry) -> Float32Array:
    """(R, R) 1 where a synthetic head's albedo is about its skin's, 0 on hair."""
    tone = np.median(diffuse[skin_tone_mask(geometry)], axis=0)
    like = np.abs(np.log((diffuse + _OFFSET) / (tone + _OFFSET))).max(-1) < 0.7
    return np.where(like | (lip_mask(geometry) > 0.0), 1.0, 0.0).astype(np.float32)


def _over_tone(albedo: Float32Array, weight: Float32Array, geometry: TexelGeometry) -> Float32Array:
    """(R, R, 3) logarithm of albedo over the median of cheeks and forehead."""
    return np.asarray(np.log((albedo + _OFFSET) / (_tone(albedo, weight, geometry) + _OFFSET)), np.float32)


def _tone(albedo: Float32Array, weight: Float32Array, geometry: TexelGeometry) -> Float32Array:
    """(3,) median albedo of cheeks and forehead where it was seen, of all seen skin where these are covered."""
    seen = weight > 0.5
    measured = skin_tone_mask(geometry) & seen
    chosen: BoolArray = measured if measured.sum() > 0 else seen
    return np.asarray(np.median(albedo[chosen], axis=0), np.float32)


def _open_face(geometry: TexelGeometry) -> BoolArray:
    """(R, R) skin of the face without brows, lids, lips and what a beard may cover."""
    brows = np.minimum(*(np.abs(curve.across) for curve in geometry.brows)) < 0.02
    upper = geometry.v < geometry.landmark(1)[1]  # above the tip of the nose
    return np.asarray(geometry.is_region(Region.SKIN) & ~brows & (geometry.eyelids > 0.01) & upper & (geometry.u < 0.2))

"""Noise and coverage maps of one synthetic head: diffuse albedo, specular albedo and relief are painted from the same
layers, so that the three modalities of a head agree texel by texel. Arrays are (H, W) float32 where nothing else is
stated."""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float32Array
from fitme.shape.regions import Region
from fitme.skin.factors import SkinFactors
from fitme.skin.hair import beard_hair, brow_hair, lash_line, scalp_hair
from fitme.skin.texel_geometry import TexelGeometry
from fitme.skin.wrinkles import wrinkle_field

LIP_EDGE = 0.0035
"""Softness of the outline of the lips, layout units."""
NOSTRIL_LANDMARKS = (20, 79, 238, 239, 241, 242, 250, 309, 458, 459, 461, 462)
"""MediaPipe's landmarks around the nostrils."""


@dataclass(frozen=True, eq=False)
class NoiseMixtures:
    """Noise fields of one head: its own mixtures of the banks that all heads share."""

    low: Float32Array
    """(3, H, W)."""
    middle: Float32Array
    """(3, H, W)."""
    fine: Float32Array
    """(2, H, W)."""
    grain: Float32Array
    """(2, H, W)."""
    pores: Float32Array
    """(2, H, W)."""
    openings: Float32Array
    """Openings of pores, in fine maps only."""
    grit: Float32Array
    """(3, H, W) finest grain for relief, diffuse and specular albedo, uncorrelated; in fine maps only."""
    lip_creases: Float32Array
    """Creases between the folds of the lips, in fine maps only."""
    lip_folds: Float32Array
    strands: Float32Array
    """Noise smeared along the scalp hair."""
    iris_fibres: Float32Array


@dataclass(frozen=True, eq=False)
class SkinLayers:
    """Coverage of the skin by what lies on it or shapes it, in [0, 1]."""

    lips: Float32Array
    lip_line: Float32Array
    """Line where the lips meet, and the wet skin behind it."""
    nostrils: Float32Array
    wrinkles: Float32Array
    scalp_roots: Float32Array
    """Area where scalp hair has roots, shaved or not."""
    scalp: Float32Array
    """Coverage by scalp hair."""
    beard: Float32Array
    """Density of the beard."""
    beard_strands: Float32Array
    """Coverage by the single hairs of the beard."""
    brows: Float32Array
    lashes: Float32Array
    bare: Float32Array
    """Skin that is not lips."""
    creased: Float32Array
    """Lips with folds and creases; the wet skin behind them is smooth in fine maps."""
    hair: Float32Array
    """Coverage by hair of any kind."""


def mix_noise(geometry: TexelGeometry, factors: SkinFactors) -> NoiseMixtures:
    """Noise fields of a head with the given factors."""
    low, middle, fine, grain, pores = (
        np.tensordot(factors.mixture(bank), getattr(geometry, bank), 1)
        for bank in ("low", "middle", "fine", "grain", "pores")
    )
    strands, folds, fibres = (
        np.tensordot(factors.mixture(bank), getattr(geometry, bank), 1)[0]
        for bank in ("scalp_strands", "lip_folds", "iris_fibres")
    )
    return NoiseMixtures(
        low=low,
        middle=middle,
        fine=fine,
        grain=grain,
        pores=pores,
        openings=_nonnegative_mixture(factors.mixture("pores")[0], geometry.pits),
        grit=_independent_mixtures(factors.mixture("pores"), geometry.grit),
        lip_creases=_nonnegative_mixture(factors.mixture("lip_folds")[0], geometry.lip_creases),
        lip_folds=folds,
        strands=strands,
        iris_fibres=fibres,
    )


def coverage_layers(geometry: TexelGeometry, factors: SkinFactors, noise: NoiseMixtures) -> SkinLayers:
    """Coverage maps of a head with the given factors."""
    attributes = factors.attributes
    # Positive weights: coverage fields that are mixed with both signs would lose their single hairs.
    beard_weights, brow_weights = (
        0.4 + 0.6 * np.abs(factors.mixture(bank)[0]) for bank in ("beard_strands", "brow_strands")
    )
    roots, scalp = scalp_hair(geometry, attributes, noise.strands)
    beard = beard_hair(geometry, attributes, noise.middle[1])
    beard_strands = _strand_coverage(geometry.beard_strands, beard, beard_weights)
    brow_strands = np.tensordot(brow_weights / brow_weights.sum(), geometry.brow_strands, 1)
    brows = brow_hair(geometry, attributes, brow_strands)
    nostrils = np.clip(1.6 * geometry.blob(geometry.landmark(*NOSTRIL_LANDMARKS), 0.009, 0.007), 0, 1)
    lips, lip_line = lip_mask(geometry), _lip_line(geometry)
    return SkinLayers(
        lips=lips,
        lip_line=lip_line,
        nostrils=nostrils,
        wrinkles=wrinkle_field(geometry, attributes, factors.creases),
        scalp_roots=roots,
        scalp=scalp,
        beard=beard,
        beard_strands=beard_strands,
        brows=brows,
        lashes=lash_line(geometry, attributes),
        bare=1.0 - lips,
        creased=lips * (1.0 - geometry.detail * lip_line),
        hair=np.clip(np.maximum(np.maximum(scalp, 0.5 * beard + 0.4 * beard_strands), brows), 0.0, 1.0),
    )


def facial_factor(geometry: TexelGeometry, nose: float, forehead: float) -> Float32Array:
    """Factor (H, W) on the strength of fine structure: 1 on the cheeks, 1 + `nose` on the nose, 1 + `forehead` on the
    forehead."""
    on_nose = geometry.blob(geometry.landmark(4), 0.045, 0.06)
    on_forehead = geometry.blob(geometry.landmark(151), 0.13, 0.05)
    return np.asarray(1.0 + nose * on_nose + forehead * on_forehead, np.float32)


def lip_mask(geometry: TexelGeometry) -> Float32Array:
    """Mask (H, W) of the lips, soft at their outline."""
    mask = 1.0 / (1.0 + np.exp(np.clip(geometry.lips / LIP_EDGE, -30.0, 30.0)))
    return np.where(geometry.skin_like, mask, 0.0).astype(np.float32)


def _strand_coverage(strands: Float32Array, density: Float32Array, weights: Float32Array) -> Float32Array:
    """Coverage (H, W) by fields of hairs (N, H, W) that come in one after the other as density (H, W) grows."""
    total = np.zeros_like(density)
    for index, (field, weight) in enumerate(zip(strands, weights, strict=True)):
        present = np.clip(len(strands) * density - 0.6 * index, 0.0, 1.0)
        total = total + (1.0 - total) * weight * present * field  # "over" compositing: later hairs fill the gaps
    return np.asarray(total, np.float32)


def _nonnegative_mixture(weights: Float32Array, fields: Float32Array) -> Float32Array:
    """Mixture (H, W) of one-sided fields (N, H, W): with weights of one sign, dots stay dots and creases creases."""
    return np.asarray(np.tensordot(np.abs(weights), fields, 1), np.float32)


def _independent_mixtures(weights: Float32Array, fields: Float32Array) -> Float32Array:
    """Uncorrelated mixtures (3, H, W) of fields (3, H, W): an orthonormal basis whose first two vectors span the
    weights (2, 3)."""
    first = weights[0] / np.linalg.norm(weights[0])
    third = np.cross(weights[0], weights[1])
    third = third / np.linalg.norm(third)
    return np.asarray(np.tensordot(np.stack([first, np.cross(third, first), third]), fields, 1), np.float32)


def _lip_line(geometry: TexelGeometry) -> Float32Array:
    behind = 1.0 / (1.0 + np.exp(np.clip((geometry.inner_lips - 0.001) / 0.0025, -30.0, 30.0)))
    return np.where(geometry.is_region(Region.SKIN, Region.LIPS), behind, 0.0).astype(np.float32)

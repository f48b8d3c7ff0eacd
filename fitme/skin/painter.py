"""Procedural reflectance of a head: from a seed to diffuse albedo, specular albedo and normals that belong together.

Pigments are painted, not colours: maps of melanin and blood go through the spectral model of `tone`; hair, lashes and
creases lie over it. Specular albedo and relief come from the same causes.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from fitme.arrays import Float32Array, Float64Array, RealArray
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.regions import Region
from fitme.skin import eyes_and_mouth as organs
from fitme.skin import hair as growth
from fitme.skin import relief
from fitme.skin.attributes import SkinAttributes
from fitme.skin.factors import SkinFactors, draw_factors
from fitme.skin.pigments import hair_color, melanin_of_ita, skin_color
from fitme.skin.texel_geometry import TexelGeometry, default_texel_geometry

SKIN_SPECULAR, HAIR_SPECULAR, EYE_SPECULAR, TOOTH_SPECULAR, MOUTH_SPECULAR = 0.55, 0.25, 0.35, 0.60, 0.45
"""Specular albedo, 1 reflecting 4 % at normal incidence (glTF's specular factor)."""
WHITE_HAIR = (0.44, 0.40, 0.33)
BROW_GRAYING = 0.45
"""Brows turn grey later than the scalp."""
MOTTLE_DAMPING = 7.0
PORE_SHADE, GRIT_SHADE = 0.022, 0.016
"""What only fine maps hold: standard deviations of the logarithm of the diffuse albedo by the openings of pores and by
the grain between them."""
PORE_SPECULAR_LOSS, GRIT_SPECULAR, FURROW_SPECULAR = 0.010, 0.018, 0.016
"""The same of the specular albedo; furrows are the lines between the plateaus of the skin."""
FURROW_RELIEF, GRIT_RELIEF, PIT_RELIEF = 0.20, 0.15, 0.05
"""The same of height, in depths of a pore."""
LIP_CREASE_SHADE, LIP_GRIT_SHADE, LIP_CREASE_SPECULAR_LOSS, LIP_GRIT_SPECULAR = 0.036, 0.015, 0.036, 0.028
LIP_CREASE_RELIEF, LIP_GRIT_RELIEF = 0.17, 0.10
"""The same on the lips, height in depths of a fold."""
VESSEL_DETAIL, SPECULAR_DETAIL, RELIEF_DETAIL, LIP_FOLD_DETAIL = 1.0, -0.4, -0.5, -0.5
"""How much more of the noise at the limit of coarse maps fine maps show: in blood, specular albedo, relief of the skin
and of the lips. A coarse map's slopes are differences over whole waves of it, and too small."""
NOSE_SHADE, NOSE_SPECULAR, NOSE_RELIEF = 0.3, 0.3, -0.2
FOREHEAD_SHADE, FOREHEAD_SPECULAR, FOREHEAD_RELIEF, FOREHEAD_VESSELS = -0.1, 0.5, 0.35, -0.9
"""How much more of that fine maps show on the nose and the forehead than on the cheeks."""


@dataclass(frozen=True)
class Skin:
    """One made-up head."""

    factors: SkinFactors
    diffuse: Float32Array
    """(H, W, 3) linear sRGB albedo."""
    specular: Float32Array
    """(H, W, 1)."""
    normals: Float32Array
    """(H, W, 3)."""

    @property
    def attributes(self) -> SkinAttributes:
        """Of its causes."""
        return self.factors.attributes

    def maps(self) -> ReflectanceMaps:
        """As a batch of one."""
        arrays = (self.diffuse, self.specular, self.normals)
        diffuse, specular, normals = (torch.from_numpy(a)[None] for a in arrays)
        return ReflectanceMaps(diffuse, specular, normals)


def synthesize_skin(seed: int, resolution: int = 256, *, attributes: SkinAttributes | None = None) -> Skin:
    """The head of a seed, in the default model's layout. The same seed gives the same maps; given `attributes` replace
    those that the seed would draw."""
    generator = np.random.default_rng(seed)
    factors = draw_factors(generator)
    if attributes is not None:
        factors = replace(factors, attributes=attributes)
    return paint(default_texel_geometry(resolution), factors, generator)


def paint(geometry: TexelGeometry, factors: SkinFactors, generator: np.random.Generator) -> Skin:
    """The maps of a head of these causes; `generator` only places moles and blemishes."""
    attributes = factors.attributes
    low, middle, fine, grain, pores = (
        np.tensordot(factors.mixture(bank), getattr(geometry, bank), 1)  # (3 or 2, H, W)
        for bank in ("low", "middle", "fine", "grain", "pores")
    )
    openings = _nonnegative_mixture(factors.mixture("pores")[0], geometry.pits)
    grit = _independent_mixtures(factors.mixture("pores"), geometry.grit)  # (3, H, W) of relief, diffuse and specular
    lip_creases = _nonnegative_mixture(factors.mixture("lip_folds")[0], geometry.lip_creases)
    strands, folds, fibres = (
        np.tensordot(factors.mixture(bank), getattr(geometry, bank), 1)[0]
        for bank in ("scalp_strands", "lip_folds", "iris_fibres")
    )
    # Shares of the stroke fields: strokes stay strokes when the fields are mixed.
    beard_shares, brow_shares = (
        0.4 + 0.6 * np.abs(factors.mixture(bank)[0]) for bank in ("beard_strands", "brow_strands")
    )

    wrinkles = relief.wrinkle_field(geometry, attributes, factors.creases)
    scalp_roots, scalp = growth.scalp_hair(geometry, attributes, strands)
    beard = growth.beard_hair(geometry, attributes, middle[1])
    beard_strands = _strand_coverage(geometry.beard_strands, beard, beard_shares)
    brows = growth.brow_hair(
        geometry, attributes, np.tensordot(brow_shares / brow_shares.sum(), geometry.brow_strands, 1)
    )
    lashes = growth.lash_line(geometry, attributes)
    lips = _lip_mask(geometry)

    melanin, blood = _pigments(geometry, attributes, low, middle, fine, grain, folds, wrinkles, lips, generator)
    albedo = skin_color(melanin, blood)
    albedo = _mix_color(albedo, np.array(attributes.lipstick_hue), lips * attributes.lipstick)
    nostrils = np.clip(
        1.6 * geometry.blob(geometry.landmark(20, 79, 238, 239, 241, 242, 250, 309, 458, 459, 461, 462), 0.009, 0.007),
        0,
        1,
    )
    hollows = (1.0 - 0.85 * nostrils) * (1.0 - 0.45 * geometry.ear_hollow) * (1.0 - 0.55 * _lip_line(geometry))
    bare = 1.0 - lips
    creased = lips * (1.0 - geometry.detail * _lip_line(geometry))  # what lies behind the lips is smooth
    shade = _facial_factor(geometry, NOSE_SHADE, FOREHEAD_SHADE) * (
        PORE_SHADE * (0.5 + attributes.pores) * openings + GRIT_SHADE * grit[1]
    )
    lip_shade = LIP_CREASE_SHADE * lip_creases + LIP_GRIT_SHADE * grit[1]
    albedo = albedo * (hollows * np.exp(-bare * shade - creased * lip_shade))[..., None]

    hair = _hair_albedo(attributes, strands)  # (H, W, 3)
    area = growth.beard_area(geometry)
    shadow = area * attributes.beard_shadow * (0.12 + 0.45 * geometry.stubble)
    shadow += (scalp_roots - scalp) * (0.15 + 0.5 * geometry.stubble)  # a shaved scalp
    albedo = _mix_color(albedo, 0.35 * albedo + 0.4 * hair, np.clip(shadow, 0.0, 1.0))
    scalp_opacity = np.clip(1.25 * scalp * (1.0 + 0.5 * strands * (1.0 - scalp)), 0.0, 1.0)
    beard_opacity = np.clip(0.55 * beard**2 + 0.95 * beard_strands, 0.0, 0.97)
    tinted = hair * np.exp(0.3 * strands)[..., None] * np.exp(0.15 * low[2])[..., None]
    albedo = _mix_color(albedo, tinted, scalp_opacity)
    albedo = _mix_color(albedo, hair * (0.7 + 0.3 * geometry.stubble)[..., None], beard_opacity)
    natural = hair_color(attributes.hair_eumelanin, attributes.hair_pheomelanin) + 0.006
    graying = BROW_GRAYING * attributes.hair_gray
    albedo = _mix_color(albedo, 0.85 * natural * (1.0 - graying) + 0.7 * np.array(WHITE_HAIR) * graying, 0.93 * brows)
    albedo = _mix_color(albedo, np.array([0.012, 0.009, 0.008]), 0.92 * lashes)

    eyes = geometry.is_region(Region.EYES)
    mouth = geometry.is_region(Region.MOUTH_INTERIOR, Region.TEETH)
    albedo = np.where(eyes[..., None], organs.eyeball_albedo(geometry, attributes, fibres), albedo)
    albedo = np.where(mouth[..., None], organs.mouth_albedo(geometry, attributes), albedo)

    covered_by_hair = np.clip(np.maximum(np.maximum(scalp, 0.5 * beard + 0.4 * beard_strands), brows), 0.0, 1.0)
    specular_detail = GRIT_SPECULAR * grit[2] + FURROW_SPECULAR * pores[1] - PORE_SPECULAR_LOSS * openings
    lip_specular_detail = LIP_GRIT_SPECULAR * grit[2] - LIP_CREASE_SPECULAR_LOSS * lip_creases
    specular_detail = (
        bare * _facial_factor(geometry, NOSE_SPECULAR, FOREHEAD_SPECULAR) * specular_detail
        + creased * lip_specular_detail
    )
    specular = _specular(
        geometry,
        attributes,
        low,
        middle,
        grain,
        specular_detail,
        covered_by_hair,
        folds,
        lips,
        wrinkles,
        nostrils,
        lashes,
    )
    relief_strands = (
        strands * scalp + 1.2 * beard_strands + 0.8 * brows + 0.15 * area * attributes.beard_shadow * fine[1]
    )
    rough = (1.0 - covered_by_hair) * bare * (1.0 + 0.8 * geometry.blob(geometry.landmark(4), 0.035, 0.03))
    height = relief.height_field(
        geometry,
        attributes,
        pores=_pore_relief(geometry, middle[0], fine[0], grain[0], pores[0], grit[0], openings),
        strands=relief_strands,
        wrinkles=wrinkles,
        lip_folds=creased * _lip_relief(geometry, folds, lip_creases, grit[0]),
        rough=rough,
    )
    return Skin(
        factors,
        np.clip(albedo, 0.003, 0.95).astype(np.float32),
        np.clip(specular, 0.02, 1.0).astype(np.float32)[..., None],
        relief.normals_of_height(geometry, height),
    )


def _strand_coverage(strokes: Float32Array, density: Float32Array, shares: Float32Array) -> Float32Array:
    """Coverage (H, W) by stroke fields (N, H, W) that come in one after the other as density (H, W) grows."""
    total = np.zeros_like(density)
    for index, (field, share) in enumerate(zip(strokes, shares, strict=True)):
        present = np.clip(len(strokes) * density - 0.6 * index, 0.0, 1.0)
        total = total + (1.0 - total) * share * present * field
    return np.asarray(total, np.float32)


def _nonnegative_mixture(weights: Float32Array, fields: Float32Array) -> Float32Array:
    """Mixture (H, W) of one-sided fields (N, H, W): weights of the same sign keep dots dots and creases creases."""
    return np.asarray(np.tensordot(np.abs(weights), fields, 1), np.float32)


def _independent_mixtures(weights: Float32Array, fields: Float32Array) -> Float32Array:
    """Mixtures (3, H, W) of fields (3, H, W) without correlation; weights (2, 3) span those of the first two."""
    first = weights[0] / np.linalg.norm(weights[0])
    third = np.cross(weights[0], weights[1])
    third = third / np.linalg.norm(third)
    return np.asarray(np.tensordot(np.stack([first, np.cross(third, first), third]), fields, 1), np.float32)


def _pore_relief(
    geometry: TexelGeometry,
    middle: Float32Array, fine: Float32Array, grain: Float32Array, pores: Float32Array, grit: Float32Array,
    openings: Float32Array,
) -> Float32Array:  # fmt: skip
    """Relief (H, W) of the skin in units of the depth of its pores."""
    held = 1.0 + RELIEF_DETAIL * geometry.detail
    coarse = 0.05 * middle + 0.12 * fine + 0.13 * held * grain
    furrows = _facial_factor(geometry, NOSE_RELIEF, 0.0) * FURROW_RELIEF * np.abs(pores)
    finest = _facial_factor(geometry, NOSE_RELIEF, FOREHEAD_RELIEF) * (GRIT_RELIEF * grit - PIT_RELIEF * openings)
    return np.asarray(coarse - furrows + finest, np.float32)


def _lip_relief(
    geometry: TexelGeometry, folds: Float32Array, creases: Float32Array, grit: Float32Array
) -> Float32Array:
    """Relief (H, W) of the lips in units of the depth of their folds."""
    held = 1.0 + LIP_FOLD_DETAIL * geometry.detail
    return np.asarray(held * folds - LIP_CREASE_RELIEF * creases + LIP_GRIT_RELIEF * grit, np.float32)


def _facial_factor(geometry: TexelGeometry, nose: float, forehead: float) -> Float32Array:
    """(H, W) 1 on the cheeks, as much more on the nose and the forehead."""
    on_nose = geometry.blob(geometry.landmark(4), 0.045, 0.06)
    on_forehead = geometry.blob(geometry.landmark(151), 0.13, 0.05)
    return np.asarray(1.0 + nose * on_nose + forehead * on_forehead, np.float32)


def _pigments(
    geometry: TexelGeometry,
    attributes: SkinAttributes, low: Float32Array, middle: Float32Array, fine: Float32Array, grain: Float32Array,
    folds: Float32Array, wrinkles: Float32Array, lips: Float32Array, generator: np.random.Generator,
) -> tuple[Float64Array, Float64Array]:  # fmt: skip
    """Melanin and blood (H, W) in the units of `tone.skin_color`."""
    eye = geometry.landmark(159, 145, 386, 374)
    cheek = geometry.blob(geometry.landmark(50, 280), 0.05, 0.04)
    nose = geometry.blob(geometry.landmark(4), 0.035, 0.03) + 0.8 * geometry.blob(
        geometry.landmark(64, 294), 0.018, 0.022
    )
    chin = geometry.blob(geometry.landmark(199), 0.04, 0.03)
    forehead = geometry.blob(geometry.landmark(151), 0.13, 0.05)
    ears = geometry.blob((0.415, 0.38), 0.035, 0.06)
    lids = np.exp(-0.5 * (np.maximum(geometry.eyelids, 0.0) / 0.014) ** 2) * geometry.skin_like
    under = geometry.blob((eye[0], eye[1] + 0.032), 0.038, 0.013)
    philtrum = geometry.blob(geometry.landmark(164), 0.05, 0.02)

    base = melanin_of_ita(attributes.ita_deg, attributes.blood)
    calm = 1.0 / (1.0 + MOTTLE_DAMPING * base)  # the darker, the less a relative change of melanin may show
    mottle = calm * (
        0.16 * low[0] + (0.05 + 0.10 * attributes.mottling) * middle[0] + 0.035 * fine[0] + 0.03 * grain[0]
    )
    sun = attributes.tan_lines * (forehead + 0.6 * nose)
    dark_lids = (0.15 + 0.55 * attributes.eyelid_darkness) * (0.6 * lids + 0.8 * under)
    regional = 0.22 * sun + dark_lids - 0.10 * cheek + 0.12 * philtrum
    neck = np.clip((geometry.v - 0.68) / 0.1, 0.0, 1.0) * -0.25 * attributes.tan_lines
    melanin = (base + 0.004) * np.exp(mottle + calm * (regional + neck)) + 0.012 * attributes.eyelid_darkness * (
        lids + under
    )
    freckle_zone = np.clip(cheek + nose + 0.3 * forehead, 0.0, 1.0)
    freckled = np.clip(1.3 * fine[1] + 0.5 * grain[0] + 0.35 * middle[1] - 1.3, 0.0, 1.0) * freckle_zone
    melanin = melanin * (1.0 + 0.8 * attributes.freckles * freckled) + 0.08 * attributes.freckles * freckled
    melanin = melanin * (1.0 - 0.35 * lips) + 0.35 * _spots(geometry, generator, attributes.moles, 0.0026, 0.0052)

    flush = (
        attributes.flush * (1.4 * cheek + 1.5 * nose + 0.7 * chin + 0.7 * ears + 0.5 * geometry.ear_hollow)
        + 0.45 * lids
        + 0.25 * under
    )
    vessels = 0.16 * low[1] + (0.06 + 0.16 * attributes.mottling) * middle[1] + 0.07 * fine[1]
    held = 1.0 + VESSEL_DETAIL * geometry.detail * _facial_factor(geometry, 0.0, FOREHEAD_VESSELS)
    vessels = vessels + 0.05 * held * grain[1]
    blood = attributes.blood * np.exp(vessels) * (1.0 + flush + 0.5 * wrinkles)
    rims = np.exp(-0.5 * ((geometry.eyelids + 0.004) / 0.005) ** 2) * geometry.skin_like
    inwards = np.clip(-geometry.lips / 0.03, 0.0, 1.0)
    vermilion = lips * (0.6 + 0.5 * inwards) * np.exp(0.1 * folds)
    blood = blood * (1.0 + (attributes.lip_blood - 1.0) * vermilion) + 0.012 * rims
    fine_vessels = np.exp(-0.5 * (middle[2] / 0.12) ** 2) * np.clip(low[2] + 0.5, 0.0, 1.0)
    blood = blood * (
        1.0 + 0.5 * attributes.flush * attributes.mottling * fine_vessels * np.clip(cheek + nose, 0.0, 1.0)
    )
    blood = blood + 0.045 * _spots(geometry, generator, attributes.blemishes, 0.003, 0.007)
    return melanin.astype(np.float64) * (1.0 + 0.35 * wrinkles), blood.astype(np.float64)


def _specular(
    geometry: TexelGeometry,
    attributes: SkinAttributes, low: Float32Array, middle: Float32Array, grain: Float32Array,
    specular_detail: Float32Array, hair: Float32Array, folds: Float32Array, lips: Float32Array, wrinkles: Float32Array,
    nostrils: Float32Array, lashes: Float32Array,
) -> Float32Array:  # fmt: skip
    """Specular albedo (H, W): smooth, oily forehead and nose, moist lips; dull hair, lids, creases and pores."""
    oily = geometry.blob(geometry.landmark(151), 0.12, 0.05) + geometry.blob(geometry.landmark(4), 0.03, 0.08)
    oily = np.clip(oily + 0.5 * geometry.blob(geometry.landmark(199), 0.04, 0.03), 0.0, 1.0)
    lids = np.exp(-0.5 * (np.maximum(geometry.eyelids, 0.0) / 0.02) ** 2) * geometry.skin_like
    held = 1.0 + SPECULAR_DETAIL * geometry.detail
    texture = 0.035 * low[1] + 0.03 * middle[2] + 0.025 * held * grain[0]
    skin = SKIN_SPECULAR * (1.0 + (0.05 + 0.2 * attributes.oil) * oily + texture) * (1.0 - 0.2 * lids)
    skin = (
        skin
        * (1.0 - 0.3 * wrinkles)
        * (1.0 - 0.7 * nostrils)
        * (1.0 - 0.4 * lashes)
        * (1.0 - 0.35 * geometry.ear_hollow)
    )
    nose = geometry.blob(geometry.landmark(4), 0.035, 0.045)
    alar_crease = geometry.blob(geometry.landmark(129, 358), 0.008, 0.014)
    skin = (
        skin * np.exp(nose * (0.06 * held * grain[1] + 0.04 * middle[1]) + specular_detail) * (1.0 - 0.35 * alar_crease)
    )
    skin = skin * np.exp(0.05 * held * lips * (folds + grain[1]))
    skin = skin * (1.0 + lips * (0.18 * attributes.moisture - 0.05)) * (1.0 - 0.3 * _lip_line(geometry))
    skin = skin + (HAIR_SPECULAR - skin) * hair
    skin = np.where(geometry.is_region(Region.EYES), EYE_SPECULAR, skin)
    skin = np.where(geometry.is_region(Region.MOUTH_INTERIOR), MOUTH_SPECULAR, skin)
    return np.where(geometry.is_region(Region.TEETH), TOOTH_SPECULAR, skin).astype(np.float32)


def _mix_color(a: Float32Array, b: RealArray, amount: RealArray) -> Float32Array:
    return np.asarray(a + (b - a) * amount[..., None], np.float32)


def _hair_albedo(attributes: SkinAttributes, strands: Float32Array) -> Float32Array:
    """(H, W, 3): grey hair is white strands among pigmented ones, so grey follows the strands."""
    natural = hair_color(attributes.hair_eumelanin, attributes.hair_pheomelanin) + 0.006
    spread = 2.0 * attributes.hair_gray * (1.0 - attributes.hair_gray)
    white = np.clip(attributes.hair_gray + 0.5 * spread * strands, 0.0, 1.0)[..., None]
    return np.asarray(natural + (np.array(WHITE_HAIR) - natural) * white, np.float32)


def _lip_line(geometry: TexelGeometry) -> Float32Array:
    """(H, W) the line where the lips meet and the wet skin behind it, 0 to 1."""
    behind = 1.0 / (1.0 + np.exp(np.clip((geometry.inner_lips - 0.001) / 0.0025, -30.0, 30.0)))
    return np.where(geometry.is_region(Region.SKIN, Region.LIPS), behind, 0.0).astype(np.float32)


def _lip_mask(geometry: TexelGeometry) -> Float32Array:
    mask = 1.0 / (1.0 + np.exp(np.clip(geometry.lips / 0.0035, -30.0, 30.0)))
    return np.where(geometry.skin_like, mask, 0.0).astype(np.float32)


def _spots(
    geometry: TexelGeometry, generator: np.random.Generator, count: int, smallest: float, largest: float
) -> Float32Array:
    """`count` round spots (H, W) at random places on the face and neck, radii in layout units."""
    total = np.zeros_like(geometry.u)
    signed_u = np.sign(np.arange(geometry.resolution) - geometry.resolution / 2 + 0.5)[None] * geometry.u + 0.5
    for _ in range(count):
        u, v = generator.uniform(0.24, 0.76), generator.uniform(0.13, 0.8)
        radius, strength = generator.uniform(smallest, largest), generator.uniform(0.3, 1.0)
        distance = np.hypot(signed_u - u, geometry.v - v) / radius
        total = np.maximum(total, strength * np.exp(-(distance**2.0)))
    return np.where(geometry.skin_like, total, 0.0).astype(np.float32)

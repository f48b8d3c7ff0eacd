"""Procedural reflectance of a head: from a seed to diffuse albedo, specular albedo and normals that belong together.

Pigments are painted, not colours: maps of melanin and blood go through the spectral model of `tone`; hair, lashes and
creases lie over it. Specular albedo and relief come from the same causes.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch

from fitme.reflectance import growth, organs, relief
from fitme.reflectance.atlas import FloatArray, RealArray, SkinAtlas, default_atlas
from fitme.reflectance.causes import SkinCauses, draw_causes
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.tone import hair_color, melanin_of_angle, skin_color
from fitme.reflectance.traits import SkinTraits
from fitme.shape.regions import Region

SKIN_SPECULAR, HAIR_SPECULAR, EYE_SPECULAR, TOOTH_SPECULAR, MOUTH_SPECULAR = 0.55, 0.25, 0.35, 0.60, 0.45
"""Specular albedo, 1 reflecting 4 % at normal incidence (glTF's specular factor)."""
GRAY_HAIR = (0.40, 0.38, 0.345)
MOTTLE_DAMPING = 7.0


@dataclass(frozen=True)
class Skin:
    """One made-up head."""

    causes: SkinCauses
    diffuse: FloatArray
    """(H, W, 3) linear sRGB albedo."""
    specular: FloatArray
    """(H, W, 1)."""
    normals: FloatArray
    """(H, W, 3)."""

    @property
    def traits(self) -> SkinTraits:
        """Of its causes."""
        return self.causes.traits

    def maps(self) -> ReflectanceMaps:
        """As a batch of one."""
        arrays = (self.diffuse, self.specular, self.normals)
        diffuse, specular, normals = (torch.from_numpy(a)[None] for a in arrays)
        return ReflectanceMaps(diffuse, specular, normals)


def synthesize_skin(seed: int, resolution: int = 256, *, traits: SkinTraits | None = None) -> Skin:
    """The head of a seed, in the default model's layout. The same seed gives the same maps; given `traits` replace
    those that the seed would draw."""
    generator = np.random.default_rng(seed)
    causes = draw_causes(generator)
    if traits is not None:
        causes = replace(causes, traits=traits)
    return paint(default_atlas(resolution), causes, generator)


def paint(atlas: SkinAtlas, causes: SkinCauses, generator: np.random.Generator) -> Skin:
    """The maps of a head of these causes; `generator` only places moles and blemishes."""
    traits = causes.traits
    low = np.tensordot(causes.mixture("low"), atlas.low, 1)  # (3, H, W)
    middle = np.tensordot(causes.mixture("middle"), atlas.middle, 1)
    fine = np.tensordot(causes.mixture("fine"), atlas.fine, 1)
    scalp_strands = np.tensordot(causes.mixture("scalp_strands"), atlas.scalp_strands, 1)[0]
    beard_strands = np.tensordot(causes.mixture("beard_strands"), atlas.beard_strands, 1)[0]

    wrinkles = relief.wrinkle_field(atlas, traits, causes.creases)
    scalp_roots, scalp = growth.scalp_hair(atlas, traits, middle[2])
    beard = growth.beard_hair(atlas, traits, middle[1])
    brows = growth.brow_hair(atlas, traits)
    lashes = growth.lash_line(atlas, traits)
    lips = _lip_mask(atlas)

    melanin, blood = _pigments(atlas, traits, low, middle, fine, wrinkles, lips, generator)
    albedo = skin_color(melanin, blood)
    albedo = _mix_color(albedo, np.array(traits.lipstick_hue), lips * traits.lipstick)
    nostrils = np.clip(
        1.6 * atlas.blob(atlas.landmark(20, 79, 238, 239, 241, 242, 250, 309, 458, 459, 461, 462), 0.009, 0.007), 0, 1
    )
    albedo = albedo * (1.0 - 0.85 * nostrils)[..., None]

    hair = _hair_albedo(traits)
    shadow = growth.beard_area(atlas) * traits.beard_shadow * (0.2 + 0.1 * np.clip(fine[1], -1.5, 1.5))
    shadow += 0.35 * (scalp_roots - scalp)  # a shaved scalp
    albedo = _mix_color(albedo, 0.35 * albedo + 0.4 * hair, shadow)
    for coverage, strands, contrast in ((scalp, scalp_strands, 0.22), (beard, beard_strands, 0.2)):
        opacity = np.clip(1.3 * coverage * (1.0 + 0.7 * strands * (1.0 - coverage) * 0.6), 0.0, 1.0)
        tinted = hair * np.exp(contrast * strands)[..., None] * np.exp(0.15 * low[2])[..., None]
        albedo = _mix_color(albedo, tinted, opacity)
    albedo = _mix_color(albedo, 0.8 * hair * (0.6 + 0.4 * (1.0 - traits.hair_gray)), brows)
    albedo = _mix_color(albedo, np.array([0.012, 0.009, 0.008]), 0.92 * lashes)

    eyes = atlas.is_region(Region.EYES)
    mouth = atlas.is_region(Region.MOUTH_INTERIOR, Region.TEETH)
    albedo = np.where(eyes[..., None], organs.eyeball_albedo(atlas, traits), albedo)
    albedo = np.where(mouth[..., None], organs.mouth_albedo(atlas, traits), albedo)

    covered_by_hair = np.clip(np.maximum(np.maximum(scalp, beard), brows), 0.0, 1.0)
    specular = _specular(atlas, traits, middle, fine, covered_by_hair, lips, wrinkles, nostrils)
    strands = scalp_strands * scalp + beard_strands * beard + 0.5 * beard_strands * brows
    pored = (1.0 - covered_by_hair) * (1.0 - lips)
    height = relief.height_field(
        atlas,
        traits,
        pores=-np.abs(fine[0]) + 0.5 * middle[0],
        strands=strands,
        wrinkles=wrinkles,
        lips=lips,
        rough=pored,
    )
    return Skin(
        causes,
        np.clip(albedo, 0.003, 0.95).astype(np.float32),
        np.clip(specular, 0.02, 1.0).astype(np.float32)[..., None],
        relief.normals_of_height(atlas, height),
    )


def _pigments(
    atlas: SkinAtlas, traits: SkinTraits, low: FloatArray, middle: FloatArray, fine: FloatArray, wrinkles: FloatArray,
    lips: FloatArray, generator: np.random.Generator,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:  # fmt: skip
    """Melanin and blood (H, W) in the units of `tone.skin_color`."""
    eye = atlas.landmark(159, 145, 386, 374)
    cheek = atlas.blob(atlas.landmark(50, 280), 0.05, 0.04)
    nose = atlas.blob(atlas.landmark(4), 0.035, 0.03) + 0.8 * atlas.blob(atlas.landmark(64, 294), 0.018, 0.022)
    chin = atlas.blob(atlas.landmark(199), 0.04, 0.03)
    forehead = atlas.blob(atlas.landmark(151), 0.13, 0.05)
    ears = atlas.blob((0.415, 0.38), 0.035, 0.06)
    lids = np.exp(-0.5 * (np.maximum(atlas.eyelids, 0.0) / 0.014) ** 2) * atlas.skin_like
    under = atlas.blob((eye[0], eye[1] + 0.032), 0.038, 0.013)
    philtrum = atlas.blob(atlas.landmark(164), 0.05, 0.02)

    base = melanin_of_angle(traits.typology_angle_deg, traits.blood)
    calm = 1.0 / (1.0 + MOTTLE_DAMPING * base)  # the darker, the less a relative change of melanin may show
    mottle = calm * (0.16 * low[0] + (0.05 + 0.10 * traits.mottling) * middle[0] + 0.035 * fine[0])
    sun = traits.tan_lines * (forehead + 0.6 * nose)
    dark_lids = (0.15 + 0.55 * traits.eyelid_darkness) * (0.6 * lids + 0.8 * under)
    regional = 0.22 * sun + dark_lids - 0.10 * cheek + 0.12 * philtrum
    neck = np.clip((atlas.v - 0.68) / 0.1, 0.0, 1.0) * -0.25 * traits.tan_lines
    melanin = (base + 0.004) * np.exp(mottle + calm * (regional + neck)) + 0.012 * traits.eyelid_darkness * (
        lids + under
    )
    freckle_zone = np.clip(cheek + nose + 0.3 * forehead, 0.0, 1.0)
    freckled = np.clip(1.2 * fine[1] + 0.35 * middle[1] - 1.2, 0.0, 1.0) * freckle_zone
    melanin = melanin * (1.0 + 0.8 * traits.freckles * freckled) + 0.08 * traits.freckles * freckled
    melanin = melanin * (1.0 - 0.35 * lips) + 0.35 * _spots(atlas, generator, traits.moles, 0.0026, 0.0052)

    flush = traits.flush * (1.4 * cheek + 1.5 * nose + 0.7 * chin + 1.2 * ears) + 0.45 * lids + 0.25 * under
    vessels = 0.16 * low[1] + (0.06 + 0.16 * traits.mottling) * middle[1] + 0.05 * fine[1]
    blood = traits.blood * np.exp(vessels) * (1.0 + flush + 0.5 * wrinkles)
    rims = np.exp(-0.5 * ((atlas.eyelids + 0.004) / 0.005) ** 2) * atlas.skin_like
    blood = blood * (1.0 + (traits.lip_blood - 1.0) * lips) + 0.012 * rims
    blood = blood + 0.045 * _spots(atlas, generator, traits.blemishes, 0.003, 0.007)
    return melanin.astype(np.float64) * (1.0 + 0.35 * wrinkles), blood.astype(np.float64)


def _specular(
    atlas: SkinAtlas, traits: SkinTraits, middle: FloatArray, fine: FloatArray, hair: FloatArray, lips: FloatArray,
    wrinkles: FloatArray, nostrils: FloatArray,
) -> FloatArray:  # fmt: skip
    """Specular albedo (H, W): oily forehead and nose, moist lips, wet eyes; dull hair, creases and pores."""
    oily = atlas.blob(atlas.landmark(151), 0.12, 0.05) + atlas.blob(atlas.landmark(4), 0.03, 0.08)
    oily = np.clip(oily + 0.5 * atlas.blob(atlas.landmark(199), 0.04, 0.03), 0.0, 1.0)
    skin = SKIN_SPECULAR * (1.0 + (0.1 + 0.35 * traits.oil) * oily + 0.03 * middle[2] + 0.05 * np.minimum(fine[0], 0.5))
    skin = skin * (1.0 - 0.3 * wrinkles) * (1.0 - 0.7 * nostrils)
    skin = skin + lips * (0.08 + 0.3 * traits.moisture)
    skin = skin + (HAIR_SPECULAR - skin) * hair
    skin = np.where(atlas.is_region(Region.EYES), EYE_SPECULAR, skin)
    skin = np.where(atlas.is_region(Region.MOUTH_INTERIOR), MOUTH_SPECULAR, skin)
    return np.where(atlas.is_region(Region.TEETH), TOOTH_SPECULAR, skin).astype(np.float32)


def _mix_color(a: FloatArray, b: RealArray, amount: RealArray) -> FloatArray:
    return np.asarray(a + (b - a) * amount[..., None], np.float32)


def _hair_albedo(traits: SkinTraits) -> FloatArray:
    natural = hair_color(traits.hair_eumelanin, traits.hair_pheomelanin) + 0.006
    return np.asarray(natural * (1.0 - traits.hair_gray) + np.array(GRAY_HAIR) * traits.hair_gray, np.float32)


def _lip_mask(atlas: SkinAtlas) -> FloatArray:
    mask = 1.0 / (1.0 + np.exp(np.clip(atlas.lips / 0.0035, -30.0, 30.0)))
    return np.where(atlas.skin_like, mask, 0.0).astype(np.float32)


def _spots(atlas: SkinAtlas, generator: np.random.Generator, count: int, smallest: float, largest: float) -> FloatArray:
    """`count` round spots (H, W) at random places on the face and neck, radii in layout units."""
    total = np.zeros_like(atlas.u)
    signed_u = np.sign(np.arange(atlas.resolution) - atlas.resolution / 2 + 0.5)[None] * atlas.u + 0.5
    for _ in range(count):
        u, v = generator.uniform(0.24, 0.76), generator.uniform(0.13, 0.8)
        radius, strength = generator.uniform(smallest, largest), generator.uniform(0.3, 1.0)
        distance = np.hypot(signed_u - u, atlas.v - v) / radius
        total = np.maximum(total, strength * np.exp(-(distance**2.0)))
    return np.where(atlas.skin_like, total, 0.0).astype(np.float32)

"""Procedural reflectance of a head: a seed gives diffuse albedo, specular albedo and normals that match texel by texel.

Pigments are painted instead of colours: maps of melanin and blood go through the spectral model of `pigments`; hair,
lashes and creases lie over the skin. Specular albedo and relief depend on the same factors as the pigments.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch

from fitme.arrays import Float32Array, RealArray
from fitme.reflectance.map_arrays import MapArrays
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.regions import Region
from fitme.skin.attributes import SkinAttributes
from fitme.skin.eyes_and_mouth import eyeball_albedo, mouth_albedo
from fitme.skin.factors import SkinFactors, draw_factors
from fitme.skin.hair import beard_area
from fitme.skin.layers import NoiseMixtures, SkinLayers, coverage_layers, facial_factor, mix_noise
from fitme.skin.pigment_maps import pigment_maps
from fitme.skin.pigments import hair_color, skin_color
from fitme.skin.relief import height_field, normals_of_height
from fitme.skin.specular import specular_albedo
from fitme.skin.texel_geometry import TexelGeometry, default_texel_geometry

WHITE_HAIR = (0.44, 0.40, 0.33)
"""Linear sRGB albedo of hair without pigment."""
LASHES = (0.012, 0.009, 0.008)
"""Linear sRGB albedo of lashes and eyeliner."""
BROW_GRAYING = 0.45
"""Greyness of the brows as a share of the scalp hair's: brows turn grey later."""
PORE_SHADE, GRIT_SHADE = 0.022, 0.016
"""Standard deviations, in fine maps only, of the logarithm of the skin's diffuse albedo by the openings of pores and
the grain between them."""
LIP_CREASE_SHADE, LIP_GRIT_SHADE = 0.036, 0.015
"""Standard deviations, in fine maps only, of the logarithm of the lips' diffuse albedo by creases and grain."""
NOSE_SHADE, FOREHEAD_SHADE = 0.3, -0.1
"""Additional strength of fine structure on the nose and the forehead, compared with the cheeks."""


@dataclass(frozen=True)
class Skin:
    """Reflectance of a synthetic head and the factors that it was painted from."""

    factors: SkinFactors
    arrays: MapArrays
    """(H, W, C) maps by modality."""

    @property
    def diffuse(self) -> Float32Array:
        """(H, W, 3) diffuse albedo, linear sRGB primaries, [0, 1]."""
        return self.arrays.diffuse

    @property
    def specular(self) -> Float32Array:
        """(H, W, 1) in [0, 1], 1 reflecting 4 % at normal incidence."""
        return self.arrays.specular

    @property
    def normals(self) -> Float32Array:
        """(H, W, 3) unit, tangent space."""
        return self.arrays.normals

    @property
    def attributes(self) -> SkinAttributes:
        """Attributes among the factors."""
        return self.factors.attributes

    def maps(self) -> ReflectanceMaps:
        """Reflectance as a batch of one."""
        return ReflectanceMaps.from_names({n: torch.from_numpy(a)[None] for n, a in self.arrays.by_name().items()})


def synthesize_skin(seed: int, resolution: int = 256, *, attributes: SkinAttributes | None = None) -> Skin:
    """Synthetic head of a seed, in the default model's layout; deterministic.

    :param resolution: texels a side.
    :param attributes: take the place of the attributes that the seed would draw.
    """
    generator = np.random.default_rng(seed)
    factors = draw_factors(generator)
    if attributes is not None:
        factors = replace(factors, attributes=attributes)
    return paint(default_texel_geometry(resolution), factors, generator)


def paint(geometry: TexelGeometry, factors: SkinFactors, generator: np.random.Generator) -> Skin:
    """Reflectance of a head with the given factors; `generator` only places moles and blemishes."""
    attributes = factors.attributes
    # All modalities share noise and coverage, so that a pore is dark, dull and deep at the same texel.
    noise = mix_noise(geometry, factors)
    layers = coverage_layers(geometry, factors, noise)
    diffuse = _skin_albedo(geometry, attributes, noise, layers, generator)
    diffuse = _with_hair(diffuse, geometry, attributes, noise, layers)
    # Eyeballs and the inside of the mouth are separate surfaces: they replace what was painted there.
    eyes = geometry.is_region(Region.EYES)
    mouth = geometry.is_region(Region.MOUTH_INTERIOR, Region.TEETH)
    diffuse = np.where(eyes[..., None], eyeball_albedo(geometry, attributes, noise.iris_fibres), diffuse)
    diffuse = np.where(mouth[..., None], mouth_albedo(geometry, attributes), diffuse)
    specular = specular_albedo(geometry, attributes, noise, layers)
    arrays = MapArrays(
        diffuse=np.clip(diffuse, 0.003, 0.95).astype(np.float32),
        specular=np.clip(specular, 0.02, 1.0).astype(np.float32)[..., None],
        normals=normals_of_height(geometry, height_field(geometry, attributes, noise, layers)),
    )
    return Skin(factors, arrays)


def _skin_albedo(
    geometry: TexelGeometry,
    attributes: SkinAttributes,
    noise: NoiseMixtures,
    layers: SkinLayers,
    generator: np.random.Generator,
) -> Float32Array:
    """Linear sRGB albedo (H, W, 3) of skin and lips without hair."""
    melanin, blood = pigment_maps(geometry, attributes, noise, layers, generator)
    albedo = skin_color(melanin, blood)
    albedo = _mix_color(albedo, np.array(attributes.lipstick_hue), layers.lips * attributes.lipstick)
    # Light that enters nostrils, ears and the slit of the mouth hardly comes out again.
    hollows = (1.0 - 0.85 * layers.nostrils) * (1.0 - 0.45 * geometry.ear_hollow) * (1.0 - 0.55 * layers.lip_line)
    shade = facial_factor(geometry, NOSE_SHADE, FOREHEAD_SHADE) * (
        PORE_SHADE * (0.5 + attributes.pores) * noise.openings + GRIT_SHADE * noise.grit[1]
    )
    lip_shade = LIP_CREASE_SHADE * noise.lip_creases + LIP_GRIT_SHADE * noise.grit[1]
    return np.asarray(albedo * (hollows * np.exp(-layers.bare * shade - layers.creased * lip_shade))[..., None])


def _with_hair(
    albedo: Float32Array, geometry: TexelGeometry, attributes: SkinAttributes, noise: NoiseMixtures, layers: SkinLayers
) -> Float32Array:
    """Albedo (H, W, 3) with hair over it: stubble lies under the skin, then come scalp hair, beard, brows, lashes."""
    hair = _hair_albedo(attributes, noise.strands)
    shadow = beard_area(geometry) * attributes.beard_shadow * (0.12 + 0.45 * geometry.stubble)
    shadow += (layers.scalp_roots - layers.scalp) * (0.15 + 0.5 * geometry.stubble)  # a shaved scalp
    albedo = _mix_color(albedo, 0.35 * albedo + 0.4 * hair, np.clip(shadow, 0.0, 1.0))

    scalp_opacity = np.clip(1.25 * layers.scalp * (1.0 + 0.5 * noise.strands * (1.0 - layers.scalp)), 0.0, 1.0)
    tinted = hair * np.exp(0.3 * noise.strands)[..., None] * np.exp(0.15 * noise.low[2])[..., None]
    albedo = _mix_color(albedo, tinted, scalp_opacity)
    beard_opacity = np.clip(0.55 * layers.beard**2 + 0.95 * layers.beard_strands, 0.0, 0.97)
    albedo = _mix_color(albedo, hair * (0.7 + 0.3 * geometry.stubble)[..., None], beard_opacity)

    natural = hair_color(attributes.hair_eumelanin, attributes.hair_pheomelanin) + 0.006
    graying = BROW_GRAYING * attributes.hair_gray
    brows = 0.85 * natural * (1.0 - graying) + 0.7 * np.array(WHITE_HAIR) * graying
    albedo = _mix_color(albedo, brows, 0.93 * layers.brows)
    return _mix_color(albedo, np.array(LASHES), 0.92 * layers.lashes)


def _mix_color(a: Float32Array, b: RealArray, amount: RealArray) -> Float32Array:
    """Linear interpolation from colours a to b (H, W, 3) by amounts (H, W)."""
    return np.asarray(a + (b - a) * amount[..., None], np.float32)


def _hair_albedo(attributes: SkinAttributes, strands: Float32Array) -> Float32Array:
    """Linear sRGB albedo (H, W, 3) of hair: grey hair is white strands among pigmented ones, so greyness follows the
    noise of the strands (H, W), most where half of them are white."""
    natural = hair_color(attributes.hair_eumelanin, attributes.hair_pheomelanin) + 0.006
    variation = 2.0 * attributes.hair_gray * (1.0 - attributes.hair_gray)
    white = np.clip(attributes.hair_gray + 0.5 * variation * strands, 0.0, 1.0)[..., None]
    return np.asarray(natural + (np.array(WHITE_HAIR) - natural) * white, np.float32)

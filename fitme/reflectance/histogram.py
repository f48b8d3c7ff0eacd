"""Skin-tone augmentation by histogram matching (as FitMe's section 3.2 has it, Lattas et al., CVPR 2023): bare skin
takes on the histogram of another head's bare skin, lips that of its lips; hair, brows, eyes and mouth stay.

Matching is per channel in CIELAB, where lightness and hue part, on floating-point colours through smooth curves of
limited slope, so that nothing is quantised and no noise is blown up (Gonzalez and Woods, "Digital Image Processing",
section 3.3: histogram specification).
"""

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from fitme.reflectance.atlas import FloatArray, RealArray, SkinAtlas
from fitme.reflectance.tone import D65_WHITE_XYZ, XYZ_TO_SRGB
from fitme.reflectance.typology import measuring_mask
from fitme.shape.regions import Region

LEVELS = 65
"""Quantiles that a histogram is described by."""
LEVEL_SMOOTHING = 1.5
"""Standard deviation in levels of the curves' smoothing."""
SLOPE_LIMITS = (0.4, 2.5)
"""Least and greatest contrast of a curve."""
SURE = 0.8
"""Texels that are skin to this degree make up the histogram."""

_LIP_EDGE = 0.0035
_BROW_REACH, _BROW_END = 0.03, 0.12
"""Half the height of where brows may be, and how far past the brow's ends, in layout units and shares of its length."""
_DARKER_STOPS, _DARKER_STOPS_HAIRY = (1.7, 0.9), (0.8, 0.3)
"""Halvings of light below the median skin at which a texel is surely none, and still surely one; on the face, and where
hair grows."""
_HUE_REACH_HAIRY = 0.45
"""Difference of the logarithms of colour ratios at which a texel where hair grows hardly counts as skin."""
_EDGE_TEXELS = 0.8
"""Softness of the mask, texels of a 256 map."""
_SMALLEST_LIGHT = 1e-3
_LUMINANCE = np.linalg.inv(XYZ_TO_SRGB)[1]
_KNEE = 6.0 / 29.0


def bare_skin(diffuse: FloatArray, atlas: SkinAtlas) -> FloatArray:
    """(H, W) in [0, 1] how much each texel of a linear albedo (H, W, 3) is bare skin: not lips, eyes, mouth, hair or
    nostril. Hair is told by being darker than the head's own cheeks and forehead, or of another hue."""
    tone = np.median(diffuse[measuring_mask(atlas)], axis=0)
    safe = np.maximum(diffuse, _SMALLEST_LIGHT)
    darker = np.log2(float(tone @ _LUMINANCE) / (safe @ _LUMINANCE))
    hairy = _where_hair_grows(atlas)
    open_face = _falling(darker, *_DARKER_STOPS[::-1])
    ratios = np.log(safe[..., :2] / safe[..., 1:]) - np.log(tone[:2] / tone[1:])
    other_hue = np.linalg.norm(ratios, axis=-1) / _HUE_REACH_HAIRY
    among_hair = _falling(darker, *_DARKER_STOPS_HAIRY[::-1]) * np.exp(-(other_hue**2))
    share = open_face + (among_hair - open_face) * hairy
    share *= 1.0 - lip_share(atlas)
    share *= (atlas.eyelids > 0.0) & atlas.skin_like
    return _soft(share, atlas)


def lip_share(atlas: SkinAtlas) -> FloatArray:
    """(H, W) in [0, 1] how much each texel belongs to the lips."""
    share = 1.0 / (1.0 + np.exp(np.clip(atlas.lips / _LIP_EDGE, -30.0, 30.0)))
    return np.where(atlas.skin_like, share, 0.0).astype(np.float32)


def match_tone(diffuse: FloatArray, reference: FloatArray, atlas: SkinAtlas) -> FloatArray:
    """A head's linear albedo (H, W, 3) with the skin tone of another's, the reference (H, W, 3)."""
    source_lab, reference_lab = lab_of_linear(diffuse), lab_of_linear(reference)
    result = diffuse.astype(np.float64)
    lips = lip_share(atlas)
    masks = (
        (bare_skin(diffuse, atlas), bare_skin(reference, atlas)),
        (lips * atlas.is_region(Region.LIPS), lips * atlas.is_region(Region.LIPS)),
    )
    for share, reference_share in masks:
        chosen, reference_chosen = share > SURE, reference_share > SURE
        matched = np.stack(
            [
                match_curve(source_lab[..., k], source_lab[chosen, k], reference_lab[reference_chosen, k])
                for k in range(3)
            ],
            -1,
        )
        result += share[..., None] * (linear_of_lab(matched) - diffuse)
    return np.clip(result, 0.0, 1.0).astype(np.float32)


def match_curve(values: RealArray, source: RealArray, reference: RealArray) -> npt.NDArray[np.float64]:
    """`values` of any shape through the smooth rising curve that gives the sample `source` (N,) the distribution of
    the sample `reference` (M,); beyond the sample's ends the curve goes on with slope one."""
    levels = np.linspace(0.005, 0.995, LEVELS)
    places, heights = np.quantile(source, levels), np.quantile(reference, levels)
    steps = np.maximum(np.diff(places), 1e-6)
    slopes = np.clip(np.diff(heights) / steps, *SLOPE_LIMITS)
    slopes = np.clip(gaussian_filter1d(slopes, LEVEL_SMOOTHING, mode="nearest"), *SLOPE_LIMITS)
    curve = np.concatenate([[0.0], np.cumsum(slopes * steps)])
    curve += np.mean(heights) - np.mean(curve)
    inner = np.interp(values, places, curve)
    return np.asarray(inner + np.minimum(values - places[0], 0.0) + np.maximum(values - places[-1], 0.0))


def lab_of_linear(linear: RealArray) -> npt.NDArray[np.float64]:
    """CIELAB (..., 3) under D65 of linear sRGB (..., 3)."""
    xyz = np.asarray(linear, np.float64) @ np.linalg.inv(XYZ_TO_SRGB).T / np.array(D65_WHITE_XYZ)
    f = np.where(xyz > _KNEE**3, np.cbrt(np.maximum(xyz, _KNEE**3)), xyz / (3.0 * _KNEE**2) + 4.0 / 29.0)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], -1)


def linear_of_lab(lab: RealArray) -> npt.NDArray[np.float64]:
    """Linear sRGB (..., 3) of CIELAB (..., 3) under D65; may be outside [0, 1]."""
    y = (lab[..., 0] + 16.0) / 116.0
    f = np.stack([y + lab[..., 1] / 500.0, y, y - lab[..., 2] / 200.0], -1)
    xyz = np.where(f > _KNEE, f**3, 3.0 * _KNEE**2 * (f - 4.0 / 29.0))
    return np.asarray(xyz * np.array(D65_WHITE_XYZ) @ XYZ_TO_SRGB.T, np.float64)


def _where_hair_grows(atlas: SkinAtlas) -> FloatArray:
    """(H, W) in [0, 1]: scalp, and round the brows."""
    hairy = atlas.is_region(Region.SCALP).astype(np.float32)
    for brow in atlas.brows:
        along = np.clip(1.0 + _BROW_END - np.abs(2.0 * brow.along - 1.0), 0.0, 1.0)
        hairy = np.maximum(hairy, along * np.clip(2.0 * (1.0 - np.abs(brow.across) / _BROW_REACH), 0.0, 1.0))
    return np.where(atlas.skin_like, hairy, 0.0).astype(np.float32)


def _falling(x: RealArray, start: float, end: float) -> npt.NDArray[np.float64]:
    """1 below `start`, 0 above `end`, smooth between."""
    t = np.clip((end - x) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float64)


def _soft(share: RealArray, atlas: SkinAtlas) -> FloatArray:
    blurred = gaussian_filter(np.asarray(share, np.float64), _EDGE_TEXELS * atlas.resolution / 256.0)
    return np.where(atlas.skin_like, blurred, 0.0).astype(np.float32)

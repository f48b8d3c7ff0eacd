"""Skin-tone augmentation by histogram matching (FitMe, Lattas et al., CVPR 2023, section 3.2): skin gets the histogram
of another head's skin, lips the histogram of its lips; hair, brows, eyes and mouth do not change.

Matching is per channel in CIELAB, which separates lightness from hue, on floating-point colours by smooth curves of
limited slope, so that nothing is quantised and no noise is amplified (histogram specification; Gonzalez and Woods,
"Digital Image Processing", section 3.3).
"""

import numpy as np
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from fitme.arrays import BoolArray, Float32Array, Float64Array, RealArray
from fitme.shape.regions import Region
from fitme.skin.cielab import XYZ_TO_SRGB, lab_of_linear, linear_of_lab
from fitme.skin.layers import lip_mask
from fitme.skin.skin_tone_classes import skin_tone_mask
from fitme.skin.texel_geometry import TexelGeometry

LEVELS = 65
"""Number of quantiles of a histogram."""
LEVEL_SMOOTHING = 1.5
"""Standard deviation in levels of the curves' smoothing."""
SLOPE_LIMITS = (0.5, 1.8)
"""Least and greatest contrast of a curve."""
CONFIDENT = 0.8
"""Least mask value of the texels in the histogram."""

_BROW_REACH, _BROW_END = 0.03, 0.12
"""Half the height of the area of the brows, layout units, and its extent past the brow's ends in shares of its
length."""
_DARKER_STOPS, _DARKER_STOPS_HAIRY = (0.6, 1.2), (0.25, 0.7)
"""Halvings of luminance below the median skin up to which a texel is skin, and from which it is not; on the face, and
where hair grows."""
_OTHER_HUE, _OTHER_HUE_HAIRY = (0.45, 0.8), (0.25, 0.5)
"""Differences of the logarithms of colour ratios up to which a texel is skin, and from which it is not."""
_OPAQUE_LIGHT = 0.15
"""Luminance of texels as a share of the skin's at which hair covers the skin completely."""
_EDGE_TEXELS = 0.8
"""Softness of the mask, texels of maps of 256 a side."""
_SMALLEST_LIGHT = 1e-3
SMALLEST_ALBEDO, LARGEST_ALBEDO = 0.003, 0.95
_LUMINANCE = np.linalg.inv(XYZ_TO_SRGB)[1]


def skin_mask(diffuse: Float32Array, texel_geometry: TexelGeometry) -> Float32Array:
    """Mask (H, W) in [0, 1] of the skin in a linear albedo (H, W, 3), without lips, eyes, mouth, hair and nostrils.
    Hair is classified by its luminance and hue relative to the head's own cheeks and forehead."""
    darker, other_hue = _difference_from_skin(diffuse, texel_geometry)
    hairy = _hair_prior(texel_geometry)
    open_face = _falling(darker, *_DARKER_STOPS) * _falling(other_hue, *_OTHER_HUE)
    among_hair = _falling(darker, *_DARKER_STOPS_HAIRY) * _falling(other_hue, *_OTHER_HUE_HAIRY)
    share = (open_face + (among_hair - open_face) * hairy) * (1.0 - lip_mask(texel_geometry))
    return _soft(share, texel_geometry)


def light_between_hairs(diffuse: Float32Array, texel_geometry: TexelGeometry) -> Float32Array:
    """Share (H, W) of each texel's light that comes from skin between hairs, if the hairs are black; 0 for hair of
    another hue than skin."""
    darker, other_hue = _difference_from_skin(diffuse, texel_geometry)
    light = np.clip((2.0**-darker - _OPAQUE_LIGHT) / (1.0 - _OPAQUE_LIGHT), 0.0, 1.0)
    return _soft(light * _falling(other_hue, *_OTHER_HUE_HAIRY) * (1.0 - lip_mask(texel_geometry)), texel_geometry)


def match_tone(diffuse: Float32Array, reference: Float32Array, texel_geometry: TexelGeometry) -> Float32Array:
    """Linear albedo (H, W, 3) of a head with the skin tone of a reference (H, W, 3): the median colours of cheeks and
    forehead are equal."""
    lab, reference_lab = lab_of_linear(diffuse), lab_of_linear(reference)
    measured = skin_tone_mask(texel_geometry)
    skin, lips = skin_mask(diffuse, texel_geometry), lip_mask(texel_geometry)
    reference_skin = skin_mask(reference, texel_geometry)
    bare, reference_bare = measured & (skin > CONFIDENT), measured & (reference_skin > CONFIDENT)

    # Skin: match the histogram, then shift the median of cheeks and forehead to the reference's.
    result = diffuse.astype(np.float64)
    matched = _matched(lab, reference_lab, skin > CONFIDENT, reference_skin > CONFIDENT)
    matched += np.median(reference_lab[reference_bare], axis=0) - np.median(matched[bare], axis=0)
    result += skin[..., None] * (linear_of_lab(matched) - diffuse)
    # Skin between hairs changes as much as skin, but dark hair does not fade on paler skin.
    change = np.median(result[bare], axis=0) - np.median(diffuse[bare], axis=0)
    between_hairs = (1.0 - skin) * light_between_hairs(diffuse, texel_geometry)
    result += between_hairs[..., None] * np.minimum(change, 0.0)
    matched = _matched(lab, reference_lab, lips > CONFIDENT, lips > CONFIDENT)
    result += lips[..., None] * (linear_of_lab(matched) - diffuse)
    return np.clip(result, SMALLEST_ALBEDO, LARGEST_ALBEDO).astype(np.float32)


def _matched(lab: RealArray, reference_lab: RealArray, chosen: BoolArray, reference_chosen: BoolArray) -> Float64Array:
    """Colours `lab` (H, W, 3) after the curves that match the chosen texels (H, W), channel by channel."""
    channels = [match_curve(lab[..., k], lab[chosen, k], reference_lab[reference_chosen, k]) for k in range(3)]
    return np.stack(channels, -1)


def match_curve(values: RealArray, source: RealArray, reference: RealArray) -> Float64Array:
    """Values of any shape after the smooth rising curve that gives the sample `source` (N,) the distribution of the
    sample `reference` (M,); beyond the sample's ends the curve has slope one."""
    levels = np.linspace(0.005, 0.995, LEVELS)
    places, heights = np.quantile(source, levels), np.quantile(reference, levels)
    # Quantile-to-quantile slopes are limited and smoothed, so that the curve neither bands nor amplifies noise.
    steps = np.maximum(np.diff(places), 1e-6)
    slopes = np.clip(np.diff(heights) / steps, *SLOPE_LIMITS)
    slopes = np.clip(gaussian_filter1d(slopes, LEVEL_SMOOTHING, mode="nearest"), *SLOPE_LIMITS)
    curve = np.concatenate([[0.0], np.cumsum(slopes * steps)])
    curve += np.mean(heights) - np.mean(curve)
    inner = np.interp(values, places, curve)
    return np.asarray(inner + np.minimum(values - places[0], 0.0) + np.maximum(values - places[-1], 0.0))


def _difference_from_skin(diffuse: Float32Array, texel_geometry: TexelGeometry) -> tuple[RealArray, RealArray]:
    """Halvings of luminance of texels (H, W) below the head's skin, and their distance in hue from it."""
    skin = np.median(diffuse[skin_tone_mask(texel_geometry)], axis=0)
    safe = np.maximum(diffuse, _SMALLEST_LIGHT)
    darker = np.log2(float(skin @ _LUMINANCE) / (safe @ _LUMINANCE))
    ratios = np.log(safe[..., :2] / safe[..., 1:]) - np.log(skin[:2] / skin[1:])
    return darker, np.linalg.norm(ratios, axis=-1)


def _hair_prior(texel_geometry: TexelGeometry) -> Float32Array:
    """Areas (H, W) in [0, 1] where hair grows: the scalp, and around the brows."""
    hairy = texel_geometry.is_region(Region.SCALP).astype(np.float32)
    for brow in texel_geometry.brows:
        along = np.clip(1.0 + _BROW_END - np.abs(2.0 * brow.along - 1.0), 0.0, 1.0)
        hairy = np.maximum(hairy, along * np.clip(2.0 * (1.0 - np.abs(brow.across) / _BROW_REACH), 0.0, 1.0))
    return np.where(texel_geometry.skin_like, hairy, 0.0).astype(np.float32)


def _falling(x: RealArray, start: float, end: float) -> Float64Array:
    """Smooth step from 1 below `start` to 0 above `end`."""
    t = np.clip((end - x) / (end - start), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), np.float64)


def _soft(share: RealArray, texel_geometry: TexelGeometry) -> Float32Array:
    """Blurred mask (H, W), zero off the skin."""
    blurred = gaussian_filter(np.asarray(share, np.float64), _EDGE_TEXELS * texel_geometry.resolution / 256.0)
    return np.where(texel_geometry.skin_like, blurred, 0.0).astype(np.float32)

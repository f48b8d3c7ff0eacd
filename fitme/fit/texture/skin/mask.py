"""Skin probability of observed texels, and the mask of skin on the neck.

Collars, scarves and hair cover the neck. In the albedo of the neck they would break off at the image's border and turn
with the head; relighting needs uncovered skin.
"""

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array
from fitme.fit.texture.texel_blur import at_texels, blurred, low_pass, weighted_map
from fitme.fit.texture.unprojection import TexelTable
from fitme.shape.regions import Region

COVERABLE_REGIONS = (Region.SKIN, Region.LIPS, Region.NECK)
"""Regions whose skin may be covered."""
OFFSET = 0.01
"""Linear albedo added before logarithms and ratios, so that dark texels do not dominate."""
SMOOTHING = 0.006
"""Standard deviation of the Gaussian before skin is classified, as a share of the map's side: stubble and folds are
skin."""
DARKEST, BRIGHTEST = 0.25, 2.0
"""Bounds of skin's albedo over the expected one. The chin shades the neck more than the face's light predicts."""
TOLERANCE = 0.35
"""Logarithm beyond these bounds over which the probability falls to 0."""
LARGEST_TINT = 0.15
"""Root mean square over the channels by which the logarithm of skin's hue may differ from the expected hue."""
TINT_TOLERANCE = 0.1
"""Excess beyond it over which the probability falls to 0."""
MARGIN = 0.012
"""Distance kept from covered and unobserved texels, as a share of the map's side; the mask fades over as much."""
OBSERVED_FROM = 0.05
"""Confidence from which a texel counts as observed."""


def skin_probabilities(
    table: TexelTable,
    observed: Float32Array,  # (N, 3) linear
    expected: Float32Array,  # (N, 3) linear
    confidence: Float32Array,  # (N, 1)
) -> Float32Array:
    """(N, 1) in [0, 1] probability that the texels around each show the expected skin, by level and hue of the observed
    albedo over the expected one."""
    weight = np.where(table.within(COVERABLE_REGIONS)[:, None], confidence, 0.0)
    ratio = low_pass(table, np.log((observed + OFFSET) / (expected + OFFSET)), weight, SMOOTHING)
    level = ratio.mean(1, keepdims=True)
    tint = np.sqrt(((ratio - level) ** 2).mean(1, keepdims=True))
    return (
        _falling(np.log(DARKEST) - level, TOLERANCE)
        * _falling(level - np.log(BRIGHTEST), TOLERANCE)
        * _falling(tint - LARGEST_TINT, TINT_TOLERANCE)
    )


def neck_skin_mask(table: TexelTable, skin_probability: Float32Array, confidence: Float32Array) -> Float32Array:
    """(N, 1) in [0, 1] mask of the neck's skin, fading out towards collars and hair; 1 off the neck.

    :param skin_probability: (N, 1).
    :param confidence: (N, 1); unobserved texels count as skin.
    """
    return _faded(table, (skin_probability > 0.5) | (confidence < OBSERVED_FROM))


def neck_boundary_fade(table: TexelTable, confidence: Float32Array) -> Float32Array:
    """(N, 1) in [0, 1] factor of confidences (N, 1) on the neck, fading out towards unobserved texels; 1 off the neck.

    The chin occludes the neck abruptly, and the neck is darkest beside that edge: without the fade a line would show.
    """
    return _faded(table, confidence > OBSERVED_FROM)


def _faded(table: TexelTable, good: BoolArray) -> Float32Array:
    """(N, 1) on the neck 1 where all texels within `MARGIN` are good (N, 1), 0 beside bad ones; 1 off the neck."""
    neck = (table.region == Region.NECK)[:, None]
    bad = weighted_map(table, np.ones_like(neck, np.float32), (neck & ~good).astype(np.float32))[..., 0] > 0.0
    margin = max(round(MARGIN * len(bad)), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1,) * 2)
    grown = np.asarray(cv2.dilate(bad.astype(np.float32), kernel), np.float32)
    return np.where(neck, 1.0 - at_texels(table, blurred(grown, MARGIN)), 1.0).astype(np.float32)


def _falling(excess: Float32Array, tolerance: float) -> Float32Array:
    """1 where the excess is negative, falling to 0 over the tolerance."""
    return np.clip(1.0 - excess / tolerance, 0.0, 1.0).astype(np.float32)

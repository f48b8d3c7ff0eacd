"""Where pictures show bare skin, and what of the neck is to be believed.

Collars, scarves and hair lie over the neck. Painted on, they break off where the pictures do, and stay behind when the
head turns: a head that is lit anew wants a bare neck.
"""

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array
from fitme.fit.texture.texel_blur import at_texels, blurred, low_pass, weighted_map
from fitme.fit.texture.unprojection import TexelTable
from fitme.shape.regions import Region

JUDGED = (Region.SKIN, Region.LIPS, Region.NECK)
"""Regions whose skin may be covered."""
OFFSET = 0.01
"""Linear albedo added before ratios or logarithms are taken, so that the dark does not decide."""
SMOOTHING = 0.006
"""Standard deviation by which skin is smoothed before it is judged, as a share of the map's side: stubble and folds are
skin."""
DARKEST, BRIGHTEST = 0.25, 2.0
"""How dark and how bright skin may be over what is expected. A chin shades the neck more than the light that was found
for the face says."""
TOLERANCE = 0.35
"""Logarithm over which likeness falls beyond these."""
LARGEST_TINT = 0.15
"""Root mean square over the channels by which the logarithm of a hue may differ from the face's."""
TINT_TOLERANCE = 0.1
"""The same over which likeness falls beyond that."""
MARGIN = 0.012
"""Kept from what is no skin and from what was not seen, as a share of the map's side; belief fades in over as much."""
SEEN_FROM = 0.05
"""Confidence from which a texel counts as seen."""


def skin_probabilities(
    table: TexelTable, seen: Float32Array, skin: Float32Array, confidence: Float32Array
) -> Float32Array:
    """(N, 1) how much what was `seen` (N, 3) around each texel is like the `skin` (N, 3) expected there, [0, 1].

    `confidence` (N, 1) is how well texels were seen. Albedos are linear.
    """
    weight = np.where(table.within(JUDGED)[:, None], confidence, 0.0)
    ratio = low_pass(table, np.log((seen + OFFSET) / (skin + OFFSET)), weight, SMOOTHING)
    level = ratio.mean(1, keepdims=True)
    tint = np.sqrt(((ratio - level) ** 2).mean(1, keepdims=True))
    return (
        _falling(np.log(DARKEST) - level, TOLERANCE)
        * _falling(level - np.log(BRIGHTEST), TOLERANCE)
        * _falling(tint - LARGEST_TINT, TINT_TOLERANCE)
    )


def bare_neck(table: TexelTable, skin_probability: Float32Array, confidence: Float32Array) -> Float32Array:
    """(N, 1) share in [0, 1] of what was seen of the neck that is skin by its `skin_probability` (N, 1), fading out
    towards collars and hair; 1 elsewhere. `confidence` (N, 1) is how well texels were seen."""
    return _faded(table, (skin_probability > 0.5) | (confidence < SEEN_FROM))


def seen_neck(table: TexelTable, confidence: Float32Array) -> Float32Array:
    """(N, 1) factor in [0, 1] of confidences (N, 1) on the neck, fading out towards what was not seen; 1 elsewhere.

    The chin hides a neck abruptly, and beside it the neck is darkest: a line would show.
    """
    return _faded(table, confidence > SEEN_FROM)


def _faded(table: TexelTable, good: BoolArray) -> Float32Array:
    """(N, 1) on the neck 1 where all texels around are good (N, 1), 0 where some close by are not; 1 elsewhere."""
    neck = (table.region == Region.NECK)[:, None]
    bad = weighted_map(table, np.ones_like(neck, np.float32), (neck & ~good).astype(np.float32))[..., 0] > 0.0
    margin = max(round(MARGIN * len(bad)), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1,) * 2)
    grown = np.asarray(cv2.dilate(bad.astype(np.float32), kernel), np.float32)
    return np.where(neck, 1.0 - at_texels(table, blurred(grown, MARGIN)), 1.0).astype(np.float32)


def _falling(excess: Float32Array, tolerance: float) -> Float32Array:
    """1 where the excess is negative, falling to 0 over the tolerance."""
    return np.clip(1.0 - excess / tolerance, 0.0, 1.0).astype(np.float32)

"""Curves that give a head the skin tone of another class: histogram matching, as tables that a GPU applies.

`fitme.training.textures.tone_matching.match_tone` changes one map; here its curves are computed once for each head and
class (FitMe, Lattas et al., CVPR 2023, section 3.2), so that training can draw every tone of every head on the fly.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array
from fitme.skin.cielab import lab_of_linear, linear_of_lab
from fitme.skin.layers import lip_mask
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index, skin_tone_mask
from fitme.skin.texel_geometry import TexelGeometry
from fitme.training.textures.supplied_textures import ReferenceHeads
from fitme.training.textures.tone_matching import CONFIDENT, LEVELS, light_between_hairs, match_curve, skin_mask

LEAST_MEMBERS = 4
"""Portraits of a class from which their own histograms are its reference; synthetic heads are with fewer."""
PAINTED_MEMBERS = 6
"""Synthetic heads of a class whose medians are the class's."""
SKIN, LIPS = 0, 1
"""Rows of the curves."""


@dataclass(frozen=True, eq=False)
class ToneHistogram:
    """Quantiles in CIELAB of the skin and the lips of a head."""

    levels: Float64Array
    """(2, 3, Q): skin and lips, channels, `LEVELS` quantiles."""
    tone: Float64Array
    """(3,) median of cheeks and forehead."""


@dataclass(frozen=True, eq=False)
class ToneCurves:
    """Curves of one head for every class of skin tone, and the masks that they apply to."""

    places: Float32Array
    """(2, 3, Q) CIELAB values of skin and lips at which the curves are given."""
    heights: Float32Array
    """(classes, 2, 3, Q) values that these become."""
    darkening: Float32Array
    """(classes, 3) change of linear skin colour, at most zero: what changes between hairs."""
    skin: Float32Array
    """(R, R) in [0, 1] mask of the skin."""
    between_hairs: Float32Array
    """(R, R) in [0, 1] light between hairs."""


def histogram(diffuse: Float32Array, geometry: TexelGeometry, observed: BoolArray | None = None) -> ToneHistogram:
    """Histogram of a linear albedo (R, R, 3), of its `observed` texels (R, R) where these are given."""
    lab, seen = lab_of_linear(diffuse), np.ones_like(geometry.covered) if observed is None else observed
    skin, lips = (skin_mask(diffuse, geometry) > CONFIDENT) & seen, (lip_mask(geometry) > CONFIDENT) & seen
    bare = skin_tone_mask(geometry) & skin
    quantiles = np.linspace(0.005, 0.995, LEVELS)
    levels = [np.quantile(lab[mask], quantiles, axis=0).T for mask in (skin, lips)]
    return ToneHistogram(np.stack(levels), np.median(lab[bare], axis=0))


def class_histograms(
    histograms: Sequence[ToneHistogram], ita_deg: Sequence[float], geometry: TexelGeometry
) -> list[ToneHistogram]:
    """Mean histogram of each class of skin tone: of the portraits in it if there are `LEAST_MEMBERS`, otherwise of
    synthetic heads; with the medians of synthetic heads, whose colours are those of a spectral model of skin, while a
    photo's depend on its white balance."""
    classes = ita_class_index(np.array(ita_deg))
    references, draw = ReferenceHeads(geometry), np.random.default_rng(0)
    found = []
    for index in range(len(CLASS_NAMES)):
        heads = [references.of_class(index, draw) for _ in range(PAINTED_MEMBERS)]
        painted = mean_histogram([histogram(head.diffuse, geometry) for head in heads])
        members = [entry for entry, own in zip(histograms, classes, strict=True) if own == index]
        found.append(moved(mean_histogram(members), painted) if len(members) >= LEAST_MEMBERS else painted)
    return found


def mean_histogram(members: Sequence[ToneHistogram]) -> ToneHistogram:
    """Mean of histograms."""
    return ToneHistogram(np.mean([m.levels for m in members], 0), np.mean([m.tone for m in members], 0))


def moved(shape: ToneHistogram, place: ToneHistogram) -> ToneHistogram:
    """Histogram of the shape of one with the medians of another."""
    levels = shape.levels.copy()
    levels[SKIN] += (place.tone - shape.tone)[:, None]
    levels[LIPS] += (place.levels[LIPS, :, LEVELS // 2] - shape.levels[LIPS, :, LEVELS // 2])[:, None]
    return ToneHistogram(levels, place.tone)


def tone_curves(
    diffuse: Float32Array, own: ToneHistogram, classes: Sequence[ToneHistogram], geometry: TexelGeometry
) -> ToneCurves:
    """Curves from a head's linear albedo (R, R, 3), of histogram `own`, to the histogram of each class."""
    lab = lab_of_linear(diffuse)
    skin = skin_mask(diffuse, geometry)
    bare = skin_tone_mask(geometry) & (skin > CONFIDENT)
    heights, darkening = [], []
    for reference in classes:
        curve = _curves(own, reference)
        # The median of cheeks and forehead becomes the class's exactly.
        matched = _apply(lab[bare], own.levels[SKIN], curve[SKIN])
        curve[SKIN] += (reference.tone - np.median(matched, axis=0))[:, None]
        changed = linear_of_lab(_apply(lab[bare], own.levels[SKIN], curve[SKIN]))
        heights.append(curve)
        darkening.append(np.minimum(np.median(changed, axis=0) - np.median(diffuse[bare], axis=0), 0.0))
    between = (1.0 - skin) * light_between_hairs(diffuse, geometry)
    return ToneCurves(
        own.levels.astype(np.float32), np.stack(heights).astype(np.float32), np.stack(darkening).astype(np.float32),
        skin, between.astype(np.float32),
    )  # fmt: skip


def _curves(own: ToneHistogram, reference: ToneHistogram) -> Float64Array:
    """(2, 3, Q) heights of the curves at the levels of `own`."""
    return np.stack(
        [
            [match_curve(own.levels[part, k], own.levels[part, k], reference.levels[part, k]) for k in range(3)]
            for part in (SKIN, LIPS)
        ]
    )


def _apply(lab: Float64Array, places: Float64Array, heights: Float64Array) -> Float64Array:
    """Colours (N, 3) after curves (3, Q), of slope one beyond their ends."""
    channels = []
    for k in range(3):
        x = lab[:, k]
        inner = np.interp(x, places[k], heights[k])
        channels.append(inner + np.minimum(x - places[k, 0], 0.0) + np.maximum(x - places[k, -1], 0.0))
    return np.stack(channels, -1)

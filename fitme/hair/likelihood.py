"""Hair probability of each pixel of an image: by the person's mask, by the head's mesh, and by colour.

Colours are compared as logarithms of linear light, in which light and shade move all channels alike: one Gaussian of
the hair, from what lies above and around the skull, and one of the skin, from the face. Where both are alike (blond
hair under a warm lamp), the place decides.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from fitme.channels import channel_max, channel_mean, channel_sum
from fitme.hair.hanging import hanging_rows
from fitme.hair.matte import LEAST_CONTRAST
from fitme.hair.nearby import nearby_mean
from fitme.ramp import linear_ramp
from fitme.shape.regions import Region

PERSON_FROM = 0.6
"""Probability of the person from which a pixel may be hair."""
BALD_DETAIL, BALD_TONE = 1.4, -0.3
"""Contrast of a bald head's details over those of the face, at most, and logarithm of its colour over the face's, at
least. Of 77 photographed people, two bald men have at most 0.9 and at least 0.1; none of the others fulfils both."""
DETAIL_PX = 2.0
"""Standard deviation of the filter that leaves details out."""
SMALLEST_DETAIL = 1e-3
"""Contrast of details that an image has at least."""
EARS_TOP = 0.75
"""Height of the upper rim of the ears above the chin over the face's height, at most."""
EARS_BOTTOM = 0.3
"""Height of the lobes of the ears above the chin over the face's height."""
EYE_LINE = 0.5
"""Height of the eyes above the chin over the face's height: above them there is no clothing."""
ANY_COLOR_LOG_DENSITY = -2.1
"""Logarithm of a density that is even over all colours, as `_log_density` leaves its constant out."""
LEAST_SEEDS = 60
"""Pixels above the skull from which a colour of hair can be told."""
COLOR_FLOOR = 0.004
"""Linear light below which logarithms end: sensors' black."""
VARIANCE_FLOOR = 0.02
"""Added to the variances of the logarithms: no person's hair is of one colour."""
LARGEST_LOG_DEVIATION = 1.0
"""Distance from the median beyond which a sample is not counted: highlights, gaps between strands."""
TYPICAL_DISTANCE = 30.0
"""Squared Mahalanobis distance up to which a colour is one of the person's own."""
UNDECIDED = 0.6
"""Probability of hair up to which a pixel's colour is not the hair's: there the background shows through."""
LARGEST_EVIDENCE = 4.0
"""Bound of the logarithm of the likelihood ratio."""
BESIDE_LOGIT, SCALP_LOGIT, FACE_LOGIT, INNER_LOGIT, BELOW_LOGIT = 6.0, 2.0, -2.5, -8.0, -1.0
"""Prior log odds of hair: beside the mesh above the ears, whatever its colour; on the scalp; on skin, and on the
forehead; elsewhere inside the face's oval; below the chin."""
FALLING_EVIDENCE = 7.0
"""Bound of the logarithm of the likelihood ratio on ears, and where hair may fall on the face: what has its colour
there hides the skin."""
JAW_LOGIT = 0.0
"""The same beside ears and jaw, which may stand off farther than the mesh's: the colour decides."""
ROOTS = 0.25
"""Height above the chin over the face's height from which hair hangs: what does not reach there are shoulders."""
NEAR_SHARE = 0.08
"""Distance from the mesh over the face's height up to which skin beside it is that of ears and jaw."""
LARGEST_HOLE = 0.02
"""Largest area of a hole in the hair that is its highlight, over the squared height of the face."""
BACKGROUND_RATIO, GAP_LOG = 2.0, 0.35
"""Logarithm of the likelihood ratio from which a pixel beside the mesh has the background's colour and not the hair's,
and largest difference of its logarithms from the background's."""
BAND_SHARE = 0.035
"""Half the width of the band along the mask's edge in which the background may show, over the face's height."""
BACKGROUND_LOG_SIGMA = 0.3
"""Standard deviation of the background's logarithmic colour round its local mean."""
EDGE_FROM = 0.3
"""Probability of the person below which a pixel of the band is background; symmetric."""
OVERLAP_SHARE = 0.015
"""Width over the face's height by which hair beside the mesh goes on before it."""
EDGE_SHARE = 0.01
"""Standard deviation of the blur of the probability over the face's height."""


_KERNEL = np.ones((5, 5), np.uint8)


@dataclass(frozen=True)
class HeadPixels:
    """What a fitted head covers in an image."""

    region: Int64Array
    """(H, W) the `Region` of the head's mesh, -1 where there is none."""
    oval: BoolArray
    """(H, W) inside of the face's oval."""
    fringe: BoolArray
    """(H, W) the parts of the face on which hair may fall."""
    chin_px: float
    """Row of the chin."""
    face_px: float
    """Height of the face."""


@dataclass(frozen=True)
class HairPixels:
    """What an image shows of the hair."""

    probability: Float32Array
    """(H, W) that a pixel shows hair, or another part of the person that stands off the head's mesh."""
    certainty: Float32Array
    """(H, W) in [0, 1]: weight of a pixel's colour, 0 where the background shows through."""
    alike: Float32Array
    """(H, W) probability that a pixel has the colour of the hair above and around the skull: not that of skin that
    stands off the mesh, nor of clothes."""
    opaque: Float32Array
    """(H, W) in [0, 1]: how much of a pixel the person covers, 0 where the background shows."""


def hair_pixels(linear: Float32Array, person: Float32Array, head: HeadPixels) -> HairPixels:
    """Hair in an image; none anywhere if the person has too little of it.

    :param linear: (H, W, 3) linear light.
    :param person: (H, W) probability that a pixel shows the person.
    """
    inside = person > PERSON_FROM
    rows = np.arange(len(inside))[:, None]
    around = (head.region == -1) | (head.region == int(Region.SCALP))
    # At the mask's edge the background shows through hair.
    width = 2 * max(round(BAND_SHARE * head.face_px), 1) + 1
    eroded = cv2.erode(inside.astype(np.uint8), np.ones((width, width), np.uint8)) > 0
    above_eyes = rows < head.chin_px - EYE_LINE * head.face_px
    seeds = eroded & around & above_eyes
    skin = head.oval & (head.region == int(Region.SKIN))
    if seeds.sum() < LEAST_SEEDS or skin.sum() < LEAST_SEEDS:
        nothing = np.zeros(inside.shape, np.float32)
        return HairPixels(nothing, nothing, nothing, np.ones_like(nothing))
    colors = np.log(np.maximum(linear, COLOR_FLOOR)).astype(np.float32)
    if _is_bare(colors, seeds, skin):
        nothing = np.zeros(inside.shape, np.float32)
        return HairPixels(nothing, nothing, nothing, np.ones_like(nothing))
    hair, hair_distance = _log_density(colors, colors[seeds])
    bare, bare_distance = _log_density(colors, colors[skin])
    ratio = hair - bare
    # Below the chin hair competes with clothes, which may have any colour, and with shoulders.
    below = (rows > head.chin_px) & around
    ratio = np.where(below, hair - np.maximum(bare, ANY_COLOR_LOG_DENSITY), ratio)
    # Beside the mesh skin is that of ears and jaw; higher up and farther away a colour like skin's is the background's.
    above_ears = rows < head.chin_px - EARS_TOP * head.face_px
    far = cv2.distanceTransform((head.region == -1).astype(np.uint8), cv2.DIST_L2, 3) > NEAR_SHARE * head.face_px
    prior = _prior_logit(head, around, below)
    jaw = (head.region == -1) & ~(above_ears | far | below)
    prior = np.where(jaw, JAW_LOGIT, prior)
    largest = np.where(head.fringe | (head.region == int(Region.EARS)), FALLING_EVIDENCE, LARGEST_EVIDENCE)
    logit = prior + np.clip(ratio, -largest, largest)
    own = np.where(above_ears | far, hair, np.maximum(hair, bare))
    coverage, background, apart = _edge_coverage(linear, own, person, head.face_px)
    # Between strands the background shows; highlights of hair are seldom as bright as it.
    told = abs(float(np.median(channel_mean(colors[seeds]))) - channel_mean(background)) > LEAST_CONTRAST
    same = channel_max(np.abs(colors - background)) < GAP_LOG
    gap = (head.region == -1) & told & same & (apart > BACKGROUND_RATIO)
    probability = (inside / (1.0 + np.exp(-logit))).astype(np.float32)
    probability *= np.where(head.region == -1, coverage, 1.0) * ~gap
    probability *= _connected(probability > 0.5, around & (rows < head.chin_px - ROOTS * head.face_px))
    middle_px = float(np.nonzero(head.oval)[1].mean())
    probability[hanging_rows(probability > 0.5, head.chin_px, middle_px, head.face_px) :] = 0.0
    highlights = _holes((probability > 0.5) | gap, LARGEST_HOLE * head.face_px**2) & (around | head.fringe)
    bare_distance = np.where(above_ears | far, np.inf, bare_distance)
    surplus = np.maximum(np.minimum(hair_distance, bare_distance) - TYPICAL_DISTANCE, 0.0)
    decided = linear_ramp(probability, (UNDECIDED, 1.0))
    probability = np.where(highlights, 1.0, probability).astype(np.float32)
    certainty = (decided * np.exp(-surplus / TYPICAL_DISTANCE)).astype(np.float32)
    alike = 1.0 / (1.0 + np.exp(np.clip(np.maximum(bare, ANY_COLOR_LOG_DENSITY) - hair, -30.0, 30.0)))
    opaque = (np.where(head.region == -1, coverage * ~gap, 1.0) * inside).astype(np.float32)
    return HairPixels(_softened(probability, eroded, head), certainty, alike.astype(np.float32), opaque)


def _is_bare(colors: Float32Array, seeds: BoolArray, skin: BoolArray) -> bool:
    """Whether pixels above and around the skull (H, W) show a bald head: as smooth as the face's skin (H, W), hardly
    darker. Colours (H, W, 3) are logarithms. Blond hair may have skin's colour, but not its smoothness."""
    tone = channel_mean(colors)
    detail = np.abs(tone - cv2.GaussianBlur(tone, (0, 0), DETAIL_PX))
    above, face = cv2.erode(seeds.astype(np.uint8), _KERNEL) > 0, cv2.erode(skin.astype(np.uint8), _KERNEL) > 0
    if above.sum() < LEAST_SEEDS or face.sum() < LEAST_SEEDS:
        return False
    rougher = float(np.median(detail[above]) / max(float(np.median(detail[face])), SMALLEST_DETAIL))
    lighter = float(np.median(tone[above]) - np.median(tone[face]))
    return rougher < BALD_DETAIL and lighter > BALD_TONE


def _prior_logit(head: HeadPixels, around: BoolArray, below: BoolArray) -> Float64Array:
    """(H, W) log odds of hair by the place alone: around the face (H, W), and below the chin (H, W)."""
    prior = np.where(around, SCALP_LOGIT, FACE_LOGIT)
    prior = np.where(head.region == -1, BESIDE_LOGIT, prior)
    prior = np.where(head.oval & ~around & ~head.fringe, INNER_LOGIT, prior)
    return np.where(below, BELOW_LOGIT, prior)


def _softened(probability: Float32Array, inside: BoolArray, head: HeadPixels) -> Float32Array:
    """Probability (H, W) with soft edges to the skin, but not to the mesh's edge inside of the person (H, W): there
    hair goes on under the mesh, or the background would show between both."""
    beside = np.where(head.region == -1, probability, 0.0).astype(np.float32)
    overlap = 2 * max(round(OVERLAP_SHARE * head.face_px), 1) + 1
    continued = cv2.dilate(cv2.erode(beside, np.ones((3, 3), np.uint8)), np.ones((overlap + 2,) * 2, np.uint8))
    soft = cv2.GaussianBlur(probability, (0, 0), max(EDGE_SHARE * head.face_px, 0.5))
    hard = np.where(head.region >= 0, continued, np.where(inside, beside, 0.0))
    return np.maximum(soft, hard).astype(np.float32)


def _connected(hair: BoolArray, roots: BoolArray) -> Float32Array:
    """(H, W) 1 where hair (H, W) hangs together with hair at the roots (H, W); a collar and a shadow do not."""
    opened = cv2.morphologyEx(hair.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    _, labels = cv2.connectedComponents(opened)
    kept = np.isin(labels, np.setdiff1d(np.unique(labels[roots]), [0])) | roots
    return np.asarray(kept, np.float32)


def _holes(hair: BoolArray, largest_px: float) -> BoolArray:
    """(H, W) pixels that hair (H, W) encloses, in parts of at most `largest_px` pixels."""
    _, labels, figures, _ = cv2.connectedComponentsWithStats((~hair).astype(np.uint8), connectivity=4)
    small = figures[:, cv2.CC_STAT_AREA] <= largest_px
    small[0] = False
    return np.asarray(small[labels])


def _log_density(colors: Float32Array, samples: Float32Array) -> tuple[Float32Array, Float32Array]:
    """Log density (H, W), up to its constant, at colours (H, W, 3) of the Gaussian of samples (N, 3), and their squared
    Mahalanobis distance (H, W)."""
    mean = np.median(samples, 0)
    near = samples[channel_max(np.abs(samples - mean)) < LARGEST_LOG_DEVIATION]
    covariance = np.cov(near.T) + VARIANCE_FLOOR * np.eye(3)
    whitened = (colors - mean) @ np.linalg.cholesky(np.linalg.inv(covariance)).astype(np.float32)
    distance = channel_sum(whitened**2)
    density = -0.5 * distance - 0.5 * np.linalg.slogdet(covariance)[1]
    return np.asarray(density, np.float32), np.asarray(distance, np.float32)


def _edge_coverage(
    linear: Float32Array, own: Float32Array, person: Float32Array, face_px: float
) -> tuple[Float32Array, Float32Array, Float32Array]:
    """Coverage (H, W) of the person: the mask, without what shows the background through it at its edge; logarithmic
    colour (H, W, 3) of the background; and logarithm (H, W) of the likelihood of that colour over the person's.

    In a band along the edge a pixel's colour is as likely the person's, of log density `own` (H, W), as that of the
    background beside it; the network's mask fills the gaps between strands.
    """
    width = max(round(BAND_SHARE * face_px), 2)
    kernel = np.ones((2 * width + 1,) * 2, np.uint8)
    inside = (person > 0.5).astype(np.uint8)
    sure, never = cv2.erode(inside, kernel), np.asarray(1 - cv2.dilate(inside, kernel), np.uint8)
    background = np.log(np.maximum(nearby_mean(linear, never, 2.0 * width), COLOR_FLOOR))
    distance = channel_sum((np.log(np.maximum(linear, COLOR_FLOOR)) - background) ** 2)
    other = -0.5 * distance / BACKGROUND_LOG_SIGMA**2 - 3.0 * np.log(BACKGROUND_LOG_SIGMA)
    share = 1.0 / (1.0 + np.exp(np.clip(other - own, -LARGEST_EVIDENCE, LARGEST_EVIDENCE)))
    soft = linear_ramp(person, (EDGE_FROM, 1.0 - EDGE_FROM))
    coverage = np.where(sure > 0, 1.0, np.where(never > 0, 0.0, soft * share)).astype(np.float32)
    return coverage, background.astype(np.float32), (other - own).astype(np.float32)

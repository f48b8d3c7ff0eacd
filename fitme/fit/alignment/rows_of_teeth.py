"""Rows of teeth in an image: what is between the lips tells how far the jaw is open behind them.

Landmarks show where the lips are, and lips that are far apart mean an open jaw to them: a clenched smile would get a
dark gap between its teeth, and lips that are drawn from an open mouth's teeth would hide the lower row. In the image,
teeth are light grey, less red than skin; lips, a tongue and the depth of the mouth are redder. Teeth that meet fill the
opening from lip to lip. Between rows that are apart it is red or dark, and where no lower row shows, its edge is taken
to lie at the lower lip.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array, UInt8Array
from fitme.color import bytes_to_linear
from fitme.fit.solver.point_targets import KnownExpression
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.landmark_groups import CHEEKS, LIP_RIMS, MOUTH_CORNERS

JAW = expression_index("jawOpen")
JAW_SIGMA = 0.03
"""Standard deviation of `jawOpen` of a jaw whose teeth meet, or are seen apart."""
HIDDEN_SIGMA = 0.05
"""Standard deviation of `jawOpen` of a jaw whose lower row is hidden by the lower lip."""
OVERLAP_M = 0.0025
"""Height by which the upper row covers the lower one of a closed jaw."""
RIM_COUNT = 5
"""Pairs of rims, from the middle of the mouth, between which the opening is looked at: incisors and canines."""
HEIGHTS = np.linspace(0.0, 1.0, 41)
"""Heights in the opening at which it is looked at, 0 at the upper rim."""
MIDDLE = (HEIGHTS >= 0.2) & (HEIGHTS <= 0.8)
"""Heights where teeth that meet are looked for; lips shade the teeth next to them."""
LEAST_GAP, LARGEST_GAP = 0.06, 0.35
"""Mean gaps between the rims over the width of the mouth between which the opening may show both rows of teeth. Wider
ones may be filled by a tongue."""
LEAST_SHARE = 0.6
"""Smallest luminance of a height over the largest one where teeth meet: 0.65 to 0.85 in clips and photos of clenched
smiles, 0.15 to 0.4 where jaws are open."""
LARGEST_RED, LEAST_LIGHT = 0.92, 0.6
"""Largest red over green and least luminance of teeth over those of the cheeks, linear: 0.69 to 0.87 and 0.8 to 1.35 of
teeth, 1.5 and 0.4 to 0.8 of tongues."""
LEAST_FLESH_RED, DARK = 1.1, 0.25
"""Least red over green of flesh, and largest luminance of the dark, over those of the cheeks: no teeth."""
LARGEST_BETWEEN, LARGEST_BELOW, LARGEST_IN_PLACE = 0.55, 0.55, 0.4
"""Largest median luminance over that of the cheeks of what is between two rows of teeth, below the upper one, and in
the place of both: 0.13 to 0.35 in clips, up to 0.55 where the image is blurred, 0.5 of lips that touch."""
NARROW = 0.35
"""Height between two rows that both show, over that of the opening, up to which a blurred image may have any colour
there."""
LEAST_ROW, LEAST_BETWEEN = 0.08, 0.15
"""Least heights of a row of teeth, and of what is between or below them, over that of the opening."""
LARGEST_ENAMEL_RED = 1.0
"""Largest red over green of teeth over that of the cheeks next to the lips, whose colour they reflect."""
MIDDLE_PAIRS = 3
"""Pairs of rims between which the front teeth show."""
LATEST_BEGIN = 0.55
"""Height in the opening at which the upper row must have begun; what begins below may be the lower one."""
LARGEST_DIP = 0.72
"""Largest luminance below the upper row, over that of the row, that tells its edge."""
HIDING_GAP = 0.2
"""Least mean gap between the rims over the width of the mouth from which lips hide teeth that do not show."""
RISE = 0.08
"""Rise of luminance, over that of the upper row, with which another row begins below the dark."""
MOSTLY = 0.75
"""Least share of what is between the rows that is flesh or dark: their edges are neither."""


@dataclass(frozen=True)
class Opening:
    """Opening of a mouth in an image, between the inner rims of the lips."""

    luminance: Float64Array
    """(T,) at `HEIGHTS`, over that of the cheeks."""
    redness: Float64Array
    """(T,) red over green there, over that of the cheeks."""
    height_px: float
    """Mean gap between the rims."""
    width_px: float
    """Distance of the corners of the mouth."""
    upper: Float32Array
    """(2,) middle of the upper rim, pixels."""
    lower: Float32Array
    """(2,) middle of the lower rim."""

    @property
    def relative_gap(self) -> float:
        """Mean gap between the rims over the width of the mouth."""
        return self.height_px / self.width_px


@dataclass(frozen=True)
class Between:
    """What an image shows between the rows of teeth."""

    share: float
    """Height between the rows over that of the opening; where no lower row shows, down to the lower lip."""
    opening_px: float
    """Height of the opening."""
    lower_row: bool
    """Whether the lower row shows: the rows are not farther apart then."""


@dataclass(frozen=True)
class UpperEdge:
    """Biting edge of the upper front teeth in an image."""

    place: Float32Array
    """(2,) pixels; of the upper lip's rim if it is hidden."""
    hidden: bool
    """Whether the upper lip hides it: it is not below the lip's rim."""
    between: Between
    """What is below it."""


def opening_of(image: UInt8Array, landmarks: Float32Array) -> Opening:
    """The opening of the mouth in an image (H, W, 3) sRGB, by the face's landmarks (478, 2), pixels."""
    upper, lower = (landmarks[list(rim)] for rim in zip(*LIP_RIMS[:RIM_COUNT], strict=True))  # (R, 2)
    first, second = landmarks[list(MOUTH_CORNERS)]
    # OpenCV's pixel centres are at whole numbers, the landmarks' at halves.
    places = upper + (lower - upper) * HEIGHTS[:, None, None].astype(np.float32) - np.float32(0.5)  # (T, R, 2)
    seen = cv2.remap(image, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    color = np.median(bytes_to_linear(np.asarray(seen, np.uint8)), axis=1)  # (T, 3)
    at = np.clip(np.rint(landmarks[list(CHEEKS)]).astype(int), 0, np.array(image.shape[1::-1]) - 1)
    cheek = np.median(bytes_to_linear(np.ascontiguousarray(image[at[:, 1], at[:, 0]])), axis=0)  # (3,)
    return Opening(
        luminance=np.asarray(color.mean(-1) / max(float(cheek.mean()), 1e-4), np.float64),
        redness=np.asarray(_redness(color) / max(float(_redness(cheek)), 1e-4), np.float64),
        height_px=float(np.linalg.norm(upper - lower, axis=-1).mean()),
        width_px=max(float(np.linalg.norm(first - second)), 1e-9),
        upper=upper[:MIDDLE_PAIRS].mean(0),
        lower=lower[:MIDDLE_PAIRS].mean(0),
    )


def teeth_meet(opening: Opening) -> bool:
    """Whether rows of teeth that meet show in an opening."""
    if not LEAST_GAP <= opening.relative_gap <= LARGEST_GAP:
        return False
    luminance, redness = opening.luminance[MIDDLE], opening.redness[MIDDLE]
    light, filled = luminance.max() >= LEAST_LIGHT, luminance.min() >= LEAST_SHARE * luminance.max()
    return bool(light and filled and np.median(redness) <= LARGEST_RED)


def between_rows(opening: Opening) -> Between | None:
    """What shows between rows of teeth that are apart; None where the opening does not tell."""
    if opening.relative_gap < LEAST_GAP:
        return None
    luminance, redness = opening.luminance, opening.redness
    teeth = (luminance >= LEAST_LIGHT) & (redness <= LARGEST_RED)
    none = (redness >= LEAST_FLESH_RED) | (luminance <= DARK)
    whole = len(HEIGHTS)
    rows = [run for run in _runs(teeth) if run[1] - run[0] >= LEAST_ROW * whole]
    if len(rows) > 2:
        return None
    # From the edge of the upper row, or the upper lip if none shows, to that of the lower row, or the lower lip.
    both = len(rows) == 2
    begin = rows[0][1] if rows else 0
    end = rows[1][0] if both else whole
    narrow = both and end - begin <= NARROW * whole
    if end - begin < LEAST_BETWEEN * whole or not (narrow or none[begin:end].mean() >= MOSTLY):
        return None
    largest = LARGEST_BETWEEN if both else LARGEST_BELOW if rows else LARGEST_IN_PLACE
    if not narrow and np.median(luminance[begin:end]) > largest:
        return None
    return Between((end - begin) / whole, opening.height_px, both)


def upper_edge(opening: Opening) -> UpperEdge | None:
    """Where the biting edge of the upper row shows; None where the opening does not tell, as where the rows meet."""
    if opening.relative_gap < LEAST_GAP:
        return None
    luminance, redness = opening.luminance, opening.redness
    teeth = (luminance >= LEAST_LIGHT) & (redness <= LARGEST_ENAMEL_RED)
    rows = [run for run in _runs(teeth) if run[1] - run[0] >= LEAST_ROW * len(HEIGHTS)]
    if not rows:
        # The dark, or a wide open mouth without teeth: the lip hides them. A blurred lip is flesh, too.
        under_lip = slice(len(HEIGHTS) // 2)
        flesh = (redness >= LEAST_FLESH_RED) | (luminance <= DARK)
        dark = np.median(luminance[under_lip]) <= DARK
        hidden = flesh[under_lip].mean() >= MOSTLY and (dark or opening.relative_gap >= HIDING_GAP)
        return UpperEdge(opening.upper, True, Between(1.0, opening.height_px, False)) if hidden else None
    begin, last = rows[0]
    if begin > LATEST_BEGIN * len(HEIGHTS) or last == len(HEIGHTS):
        return None
    # From the brightest height to the darkest one below it: the edge lies halfway, however blurred the image is.
    brightest = begin + int(luminance[begin:last].argmax())
    below = luminance[brightest:]
    risen = _next_rise(below)
    # What rises below may be a tongue.
    lower_row = bool(teeth[brightest + risen :].any()) if risen < len(below) else False
    darkest = int(below[:risen].argmin())
    if below[darkest] > LARGEST_DIP * below[0]:
        return None
    half = int(np.argmax(below[: darkest + 1] <= 0.5 * (below[0] + below[darkest])))
    share = float(HEIGHTS[brightest + half])
    end = float(HEIGHTS[brightest + risen]) if lower_row else 1.0
    place = opening.upper + share * (opening.lower - opening.upper)
    return UpperEdge(np.asarray(place, np.float32), False, Between(end - share, opening.height_px, lower_row))


def _next_rise(values: Float64Array) -> int:
    """Place from which values rise by more than `RISE` of the first one above the least before."""
    least = np.minimum.accumulate(values)
    risen = np.flatnonzero(values > least + RISE * values[0])
    return int(risen[0]) if len(risen) else len(values)


def known_jaw(opening: Opening, pixels_per_metre: float, travel_m: float) -> KnownExpression | None:
    """What the opening of a mouth tells of the jaw; None where it tells nothing.

    :param travel_m: way of the lower incisors at full activation of `jawOpen`.
    """
    if teeth_meet(opening):
        return _jaw(0.0, JAW_SIGMA)
    edge = upper_edge(opening)
    between = between_rows(opening) if edge is None or edge.hidden else edge.between
    if between is None or travel_m <= 0.0:
        return None
    apart_m = between.share * between.opening_px / pixels_per_metre + OVERLAP_M
    return _jaw(min(apart_m / travel_m, 1.0), JAW_SIGMA if between.lower_row else HIDDEN_SIGMA)


def _jaw(opening: float, sigma: float) -> KnownExpression:
    precision, mean = np.zeros(EXPRESSION_COUNT), np.zeros(EXPRESSION_COUNT)
    precision[JAW], mean[JAW] = sigma**-2.0, opening
    return KnownExpression(precision, mean)


def _redness(color: Float32Array) -> Float32Array:
    """Red over green (...) of linear colours (..., 3)."""
    return np.asarray(color[..., 0] / np.maximum(color[..., 1], 1e-4), np.float32)


def _runs(mask: BoolArray) -> list[tuple[int, int]]:
    """Begin and end of each run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(begin), int(end)) for begin, end in zip(edges[::2], edges[1::2], strict=True)]

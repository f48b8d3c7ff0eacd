"""Coverage of the envelope: as images show it, and as hair styles like it have it where no image does."""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array, Float64Array
from fitme.hair.envelope import EnvelopeGrid
from fitme.hair.locks import Locks, at_roots
from fitme.hair.strands import HairKind, HairLocks, hair_locks
from fitme.hair.styles import likely_coverage
from fitme.hair.texels import WRAP_TEXELS, at_texels, blurred
from fitme.ramp import linear_ramp
from fitme.shape.regions import Region

LEAST_WEIGHT = 0.3
"""Broad weight, in the image that sees it best, from which a texel counts as seen: inclined by 57 degrees."""
LEAST_BESIDE_WEIGHT = 0.02
"""The same for the coverage of texels beside the scalp, which are seen at outlines only: ears, long hair."""
TEMPLE_CELLS = 4.0
"""Distance on the face from where hair stands off up to which it is seen at the face's outline."""
GAP_TEXELS = 9
"""Gap in hair that is bridged where it is told from what does not hang on the scalp."""
JAW_BOTTOM_M = -0.105
"""Height of the jaw in the model frame: above it nothing but the head's own parts stands off it."""
SIDEWAYS_TEXELS = 2
"""Texels by which hair on its way down leads sideways in each row."""
HANGING_COVERAGE = 0.5
"""Least coverage on the way down from the scalp at which what lies below still counts fully."""
BALD_SHARE, HAIRY_SHARE = 0.1, 0.4
"""Mean coverage of the scalp that was seen at which the unseen part is taken for bare, and for covered."""
DENSITY = (0.15, 0.75)
"""Expected coverage up to which there is no unseen hair, and from which it is dense."""
STRAND_SOFTNESS, TUFT_POWER, TUFT_END = 0.15, 2.0, 0.3
"""Density over which a single strand fades, the power of the density at which tufts are as likely, and the density
below which their tips fade: they thin out before strands do."""
THIN_SHARE = 0.5
"""Coverage of the strands of the thinnest hair."""
TEMPLE_COSINES, EAR_COSINES = (0.6, 0.8), (0.25, 0.4)
"""Cosines to the front, round the head, up to which a hairline is aslant in most images, and from which it is not;
those between which ears end."""
TEMPLE_WEIGHT = (0.3, 0.6)
"""Weights in the image that sees a texel best up to which it is aslant, and from which it is not."""
TEMPLE_TEXELS, TEMPLE_COVERAGE, TEMPLE_SOFTNESS = 2.5, (0.02, 0.7), 0.5
"""Standard deviation of the filter of the coverage of hairlines seen aslant, the coverage at which hair begins there
and is dense, and the density over which a strand fades."""
LONGEST_M = (-0.22, -0.15)
"""Heights in the model frame at which unseen hair ends at the latest, and above which it does not."""
THICK_M = (0.003, 0.006)
"""Thickness on the scalp up to which the skin may shine through hair, and from which hair is opaque."""
OPAQUE_COVERAGE = (0.1, 0.4)
"""Coverage at which thick hair begins, and from which it is opaque."""
SIDEWAYS, HANGING_FROM_M = 0.6, -0.05
"""Share of its direction that is sideways from which a cell shows whether hair hangs beside the neck, and the height in
the model frame below which hair hangs."""
HANGING_SHARE = (0.15, 0.4)
"""Coverage at both sides of the neck at which hair begins to hang at the back as well, and from which it does."""
NAPE_LINE_M, NAPE_SOFTNESS_M = (-0.012, -0.045), 0.05
"""Heights in the model frame behind the ears and at the middle of the neck down to which short hair grows on the scalp,
and the height over which it thins out."""
UNDER_EDGE_TEXELS = 7
"""Texels by which hair beside the face goes on where the head hides it in all images: other views show it."""
EAR_BOTTOM_M = -0.06
"""Height in the model frame down to which it does."""


@dataclass(frozen=True)
class CellCoverage:
    """Coverage at the envelope's cells, all (R, C)."""

    shown: Float64Array
    """As the images show it."""
    strands: Float64Array
    """By what has the colour of hair."""
    best: Float64Array
    """Weight in the image that sees a cell best."""

    def known(self, grid: EnvelopeGrid) -> Float64Array:
        """Share in [0, 1] to which the images show a cell."""
        return np.clip(self.best / _least_weight(grid), 0.0, 1.0)


def expected_coverage(grid: EnvelopeGrid, cells: CellCoverage) -> Float64Array:
    """(R, C) coverage where no image shows it: that of likely styles, as dense as the scalp that was seen."""
    scalp, known = grid.region == int(Region.SCALP), cells.known(grid)
    seen = float((known * scalp).sum())
    share = float((known * scalp * cells.shown).sum()) / seen if seen > 1.0 else 1.0
    density = float(np.clip((share - BALD_SHARE) / (HAIRY_SHARE - BALD_SHARE), 0.0, 1.0))
    beside = grid.hairy & ~scalp
    likely = likely_coverage(cells.strands.astype(np.float32), (known * beside).astype(np.float32))
    hanging = _hanging(grid, cells)
    height = np.clip((grid.origins[..., 1] - LONGEST_M[0]) / (LONGEST_M[1] - LONGEST_M[0]), 0.0, 1.0)
    behind, grown = grid.directions[..., 2] < 0.0, np.maximum(_above_nape(grid), hanging)
    likely = np.where(behind, np.clip(likely, hanging, grown), likely) * beside * height
    return np.asarray(np.where(scalp, grown, likely) * density)


def _above_nape(grid: EnvelopeGrid) -> Float64Array:
    """(R, C) 1 above the hairline of the nape, which rises from the middle of the neck to the ears, 0 below it."""
    behind = np.clip(
        -grid.directions[..., 2] / np.maximum(np.hypot(grid.directions[..., 0], grid.directions[..., 2]), 1e-9),
        0.0,
        1.0,
    )
    line = NAPE_LINE_M[0] + behind * (NAPE_LINE_M[1] - NAPE_LINE_M[0])
    return np.asarray(np.clip((grid.origins[..., 1] - line) / NAPE_SOFTNESS_M + 0.5, 0.0, 1.0))


def _hanging(grid: EnvelopeGrid, cells: CellCoverage) -> Float64Array:
    """(R, 1) share in [0, 1] to which hair hangs down at each height, by what hangs at both sides of the neck: hair
    that is loose there is loose all round."""
    seen = cells.known(grid) * cells.strands * grid.hairy
    sides = [np.where(sign * grid.directions[..., 0] > SIDEWAYS, seen, 0.0).max(1) for sign in (1.0, -1.0)]
    share = linear_ramp(np.minimum(*sides).astype(np.float32), HANGING_SHARE)
    below = grid.origins[:, 0, 1] < HANGING_FROM_M
    # From the top of the neck down it hangs no farther than to its first gap; what hangs there comes from the scalp.
    share = np.minimum.accumulate(np.where(below, share, 1.0)[::-1])[::-1]
    return np.asarray(np.where(below, share, share[below][-1])[:, None], np.float64)


def completed_coverage(
    grid: EnvelopeGrid,
    thickness_m: Float64Array,
    shown: Float32Array,
    best: Float32Array,
    expected: Float64Array,
    lay: HairLocks,
) -> Float32Array:
    """(T, U) coverage: as seen, and on unseen texels as expected.

    :param thickness_m: (R, C) of the envelope.
    :param shown: (T, U) coverage that the images show; best: (T, U) weight in the image that sees a texel best.
    :param expected: (R, C) by `expected_coverage`.
    :param lay: the hair's locks, in whose tips unseen hair ends.
    """
    scalp = at_texels((grid.region == int(Region.SCALP)).astype(np.float64))
    known = np.clip(best / at_texels(_least_weight(grid)), 0.0, 1.0)
    # Unseen hair ends in strands and tufts, not in a blur.
    unseen = ending(at_texels(expected), lay)
    beside = at_texels((grid.hairy & (grid.origins[..., 1] > EAR_BOTTOM_M)).astype(np.float64)) * (1.0 - scalp)
    unseen = np.maximum(unseen, beside * _dilated((known * shown).astype(np.float32), UNDER_EDGE_TEXELS))
    coverage = (known * shown + (1.0 - known) * unseen) * at_texels(grid.coverable.astype(np.float64))
    coverage = _thinned_aside(grid, np.asarray(coverage, np.float32), best)
    # Nothing lies right behind hair that stands off the scalp: the background would show through it.
    thick = scalp * linear_ramp(at_texels(thickness_m), THICK_M)
    coverage = np.maximum(coverage, thick * linear_ramp(coverage, OPAQUE_COVERAGE))
    return _without_collars(grid, np.asarray(coverage, np.float32), scalp > 0.0)


def ending(density: Float32Array, lay: HairLocks) -> Float32Array:
    """(T, U) coverage by strands and tufts that are as likely as hair is dense (T, U) where they are rooted."""
    sure = linear_ramp(density, DENSITY)
    tufts = _present(sure**TUFT_POWER, lay.tufts) * np.clip(sure / TUFT_END, 0.0, 1.0)
    # Where hair is thin, it is cropped so short that skin shines through single hairs.
    return np.maximum(_present(sure, lay.strands) * (THIN_SHARE + (1.0 - THIN_SHARE) * sure), tufts)


def _present(density: Float32Array, lay: Locks) -> Float32Array:
    return _thresholded(at_roots(density, lay), lay, STRAND_SOFTNESS)


def _thresholded(density: Float32Array, lay: Locks, softness: float) -> Float32Array:
    """(T, U) coverage by locks, each of which begins at a density of its own."""
    return np.asarray(np.clip((density * (1.0 + softness) - lay.chance) / softness, 0.0, 1.0), np.float32)


def _thinned_aside(grid: EnvelopeGrid, coverage: Float32Array, best: Float32Array) -> Float32Array:
    """Coverage (T, U) that at temples and sideburns, which images show aslant, ends strand by strand, not cell by cell.

    :param best: (T, U) weight in the image that sees a texel best.
    """
    outward = grid.directions[..., 2] / np.maximum(np.hypot(grid.directions[..., 0], grid.directions[..., 2]), 1e-9)
    place = (
        linear_ramp(outward, EAR_COSINES)
        * (1.0 - linear_ramp(outward, TEMPLE_COSINES))
        * (grid.origins[..., 1] > EAR_BOTTOM_M)
    )
    aside = at_texels(place.astype(np.float64)) * (1.0 - linear_ramp(best, TEMPLE_WEIGHT))
    density = linear_ramp(blurred(coverage, TEMPLE_TEXELS), TEMPLE_COVERAGE)
    thinned = _thresholded(density, hair_locks(HairKind.CROPPED).strands, TEMPLE_SOFTNESS)
    return np.asarray(coverage + aside * (thinned - coverage), np.float32)


def _dilated(texels: Float32Array, radius: int) -> Float32Array:
    """(T, U) largest value within a square of `radius` texels to each side, closed round the head."""
    padded = cv2.copyMakeBorder(texels, 0, 0, WRAP_TEXELS, WRAP_TEXELS, cv2.BORDER_WRAP)
    kernel = np.ones((2 * radius + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate(padded, kernel)[:, WRAP_TEXELS:-WRAP_TEXELS], np.float32)


def _least_weight(grid: EnvelopeGrid) -> Float64Array:
    """(R, C) weight from which a cell counts as seen."""
    # At outlines masks are undecided: on the scalp hair is more likely than what they show there, on the face less.
    far = grid.fringe & (_distance_from(grid.hairy) > TEMPLE_CELLS)
    return np.where(far | (grid.region == int(Region.SCALP)), LEAST_WEIGHT, LEAST_BESIDE_WEIGHT)


def _distance_from(cells: BoolArray) -> Float64Array:
    """(R, C) distance in cells from the nearest of some cells (R, C), round the head."""
    columns = cells.shape[1]
    tripled = np.concatenate([~cells] * 3, 1).astype(np.uint8)
    return cv2.distanceTransform(tripled, cv2.DIST_L2, 5)[:, columns : 2 * columns].astype(np.float64)


def _without_collars(grid: EnvelopeGrid, coverage: Float32Array, scalp: BoolArray) -> Float32Array:
    """Coverage (T, U) of what hangs down past the jaw without a gap: collars and shoulders do not."""
    # Small gaps between strands are bridged.
    bridged = _dilated(coverage, GAP_TEXELS // 2)
    reached = np.maximum(bridged, scalp.astype(np.float32))
    below_jaw = at_texels(grid.origins[..., 1]) < JAW_BOTTOM_M
    # Row by row from the jaw down, above which an ear may part hair from the scalp; strands lead sideways as well.
    aside = np.ones((1, 2 * SIDEWAYS_TEXELS + 1), np.uint8)
    for row in np.flatnonzero(below_jaw.all(1)):
        above = cv2.copyMakeBorder(reached[row - 1 : row], 0, 0, WRAP_TEXELS, WRAP_TEXELS, cv2.BORDER_WRAP)
        reached[row] = np.minimum(reached[row], cv2.dilate(above, aside)[0, WRAP_TEXELS:-WRAP_TEXELS])
    share = np.clip(reached / HANGING_COVERAGE, 0.0, 1.0)
    return np.asarray(np.where(below_jaw, coverage * share, coverage), np.float32)

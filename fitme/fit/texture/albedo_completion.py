"""Tone of what was not seen: that of what was seen beside it.

A generator's face has the person's tone on the whole, not at every texel. Where its texels border on seen ones, at the
sides of a nose or on the rims of the lids, a thin line would show. What was seen differs from it by a ratio that is
spread into the gaps by pull-push (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4): from the finest scale
at which enough was seen.

From the front, nobody sees how hair ends behind the cheeks, and a generator may let it hang over ears and neck. These
take their tone from bare skin alone, and are bare where it would be hair. The scalp takes its tone from hair, from all
hair that was seen where none is near.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array
from fitme.fit.texture.skin_mask import OFFSET
from fitme.fit.texture.texel_blur import TINY, at_texels, low_pass, weighted_map
from fitme.fit.texture.unprojection import TexelTable
from fitme.shape.regions import Region

FACE = (Region.SKIN, Region.LIPS, Region.LASHES)
BARE = (Region.EARS, Region.NECK)
"""What is taken to be free of hair."""
BESIDE, EVERYWHERE = 4, 8
"""Halvings of a map of half the texture's side that tone spreads over: to some 64 texels, or everywhere."""
ENOUGH = 0.15
"""Share of a neighbourhood that must have been seen to tell its tone."""
FAINT = 0.01
"""Share at which the tone of all skin or all hair counts as seen where none was: it gives way to any other."""
LEAST_SCALP = 0.02
"""Share of the scalp that must have been seen to tell the tone of all hair."""
LIGHT_AS_SKIN, DARK_AS_HAIR = 0.3, 0.8
"""Logarithm by which an expected albedo is darker than the skin beside it: up to the first it is skin, from the second
on hair."""
BEARD_TO, SKIN_FROM = 0.6, 0.9
"""Likeness to skin of what was seen beside a jaw: up to the first there may be a beard, from the second on there is
none."""
PATTERN = 0.012
"""Standard deviation of the low-pass filter that tells tone from pattern, as a share of the map's side."""
BORDER = 0.008
"""That of the filter by which neighbouring regions' tones pass into each other."""


@dataclass(frozen=True)
class SeenSkin:
    """What was seen of a head, by the N texels of a table."""

    albedo: Float32Array
    """(N, 3) linear."""
    share: Float32Array
    """(N, 1) in [0, 1], how far it is believed."""
    skin_probability: Float32Array
    """(N, 1) in [0, 1], how much it is like bare skin."""


def toned(table: TexelTable, expected: Float32Array, seen: SeenSkin) -> Float32Array:
    """Expected linear albedo (N, 3) of the table's texels in the tone of what was seen beside each.

    Behind the lips there are bright teeth and dark depths, neither of which tells the other's tone: these stay as
    expected, and so does everything where nothing was seen.
    """
    if not seen.share.any():
        return expected
    tones = _Tones(table, np.log(expected + OFFSET), seen)
    eyes = tones.within((Region.EYES,))
    result = np.where(eyes, tones.expected + tones.spread(tones.ratio, eyes * seen.share), tones.expected)
    parts = ((tones.face, tones.of_face()), (tones.bare, tones.of_bare()), (tones.scalp, tones.of_scalp()))
    borders = [tones.low(mine.astype(np.float32), tones.head, BORDER) for mine, _ in parts]
    blend = sum(border * part for border, (_, part) in zip(borders, parts, strict=True))
    result = np.where(tones.head, blend, result)
    albedo: Float32Array = np.clip(np.exp(result) - OFFSET, 0.0, 1.0).astype(np.float32)
    return albedo


@dataclass(frozen=True)
class _Tones:
    """Logarithms of albedos of the N texels."""

    table: TexelTable
    expected: Float32Array
    """(N, 3)."""
    seen: SeenSkin

    @cached_property
    def face(self) -> BoolArray:
        """(N, 1)."""
        return self.within(FACE)

    @cached_property
    def bare(self) -> BoolArray:
        """(N, 1)."""
        return self.within(BARE)

    @cached_property
    def scalp(self) -> BoolArray:
        """(N, 1)."""
        return self.within((Region.SCALP,))

    @cached_property
    def head(self) -> BoolArray:
        """(N, 1) its outside."""
        return self.face | self.bare | self.scalp

    @cached_property
    def below_ears(self) -> Float32Array:
        """(N, 1) 0 above the middle of the ears, 1 below them; rows of the layout run downwards."""
        rows = self.table.rows.astype(np.float32)
        ears = rows[self.table.region == Region.EARS]
        share = np.clip((rows - ears.mean()) / (ears.max() - ears.mean()), 0.0, 1.0)
        return np.asarray(share[:, None], np.float32)

    @cached_property
    def observed(self) -> Float32Array:
        """(N, 3) as seen."""
        return np.asarray(np.log(self.seen.albedo + OFFSET), np.float32)

    @cached_property
    def ratio(self) -> Float32Array:
        """(N, 3) of what was seen to what was expected."""
        return self.observed - self.expected

    @cached_property
    def bare_share(self) -> Float32Array:
        """(N, 1) how far bare skin was seen."""
        return (self.face | self.bare) * self.seen.share * self.seen.skin_probability

    @cached_property
    def skin(self) -> Float32Array:
        """(N, 3) tone of the bare skin beside each texel, that of all where none is near; some must have been seen."""
        unseen = self.bare & (self.seen.share <= 0.0)
        tone = (self.bare_share * self.observed).sum(0) / self.bare_share.sum()
        return self.spread(np.where(unseen, tone, self.observed), np.where(unseen, FAINT, self.bare_share), EVERYWHERE)

    def of_face(self) -> Float32Array:
        """(N, 3), right on the face: in the tone of all that was seen, bare below the ears where bare skin is near."""
        tinted = self.expected + self.spread(self.ratio, self.head * self.seen.share)
        skin_probability = self.spread(
            self.seen.skin_probability, (self.face | self.bare) * self.seen.share, EVERYWHERE
        )
        beardless = np.clip((skin_probability - BEARD_TO) / (SKIN_FROM - BEARD_TO), 0.0, 1.0)
        return self._bared(tinted, self.face, beardless * self.below_ears)

    def of_bare(self) -> Float32Array:
        """(N, 3), right on ears and neck."""
        tinted = self.expected + self.spread(self.ratio, self.bare_share)
        return self._bared(tinted, self.bare, np.ones_like(self.seen.share))

    def of_scalp(self) -> Float32Array:
        """(N, 3), right on the scalp: in the tone of hair, or of the scalp itself where that was seen."""
        share, ratio = self.seen.share, self.ratio
        weight = np.where(self.scalp, share, self.head * share * (1.0 - self.seen.skin_probability))
        known = share * self.scalp
        if known.sum() > LEAST_SCALP * np.count_nonzero(self.scalp):
            hair = (known * self.observed).sum(0) / known.sum()
            unseen = self.scalp & (share <= 0.0)
            ratio = np.where(unseen, hair - self.low(self.expected, self.scalp, PATTERN), ratio)
            weight = np.where(unseen, FAINT, weight)
        return self.expected + self.spread(ratio, weight, EVERYWHERE)

    def within(self, regions: tuple[Region, ...]) -> BoolArray:
        """(N, 1) which texels belong to regions."""
        return self.table.within(regions)[:, None]

    def spread(self, values: Float32Array, weight: Float32Array, levels: int = BESIDE) -> Float32Array:
        """(N, C) by pull-push from values (N, C) with weights (N, 1); 0 beyond the reach of `levels`."""
        return at_texels(self.table, _pull_push(weighted_map(self.table, values, weight), levels))

    def low(self, values: Float32Array, within: BoolArray, sigma: float) -> Float32Array:
        """(N, C) values (N, C) without their pattern, among the texels that are `within`."""
        return low_pass(self.table, values, within.astype(np.float32), sigma)

    def _bared(self, tinted: Float32Array, mine: BoolArray, skin_probability: Float32Array) -> Float32Array:
        """(N, 3) with skin where hair was expected and skin is likely by `skin_probability` (N, 1)."""
        if not self.bare_share.any():
            return tinted
        darker = (self.skin - self.low(tinted, mine, PATTERN)).mean(1, keepdims=True)
        hair = skin_probability * np.clip((darker - LIGHT_AS_SKIN) / (DARK_AS_HAIR - LIGHT_AS_SKIN), 0.0, 1.0)
        return np.asarray(tinted + hair * (self.skin - tinted), np.float32)


def _pull_push(stacked: Float32Array, levels: int) -> Float32Array:
    """Values (R, R, C) of weighted values (R, R, C) with their weights (R, R, 1) behind them; 0 where none reach."""
    pyramid = [stacked]
    while len(pyramid) <= levels and min(pyramid[-1].shape[:2]) > 1:
        pyramid.append(np.asarray(cv2.pyrDown(pyramid[-1]), np.float32))
    values = np.zeros_like(pyramid[-1][..., :-1])
    enough = FAINT / 2.0 if levels == EVERYWHERE else ENOUGH
    for level in reversed(pyramid):
        weight = level[..., -1:]
        known = np.clip(weight / enough, 0.0, 1.0)
        if values.shape[:2] != level.shape[:2]:
            enlarged = cv2.pyrUp(values, dstsize=(level.shape[1], level.shape[0]))
            values = np.asarray(enlarged, np.float32).reshape(*level.shape[:2], -1)
        values = known * level[..., :-1] / np.maximum(weight, TINY) + (1.0 - known) * values
        enough = ENOUGH
    return values.astype(np.float32)

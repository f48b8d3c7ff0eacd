"""Albedo completion: unobserved texels from the colour ratio of neighbouring observed texels (pull-push inpainting).

The generator's albedo has the person's skin tone on average, not at every texel: at the border of observed texels, at
the sides of the nose or on the rims of the lids, a line would show. The ratio of observed to generated albedo is spread
into the gaps by pull-push (Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4), from the finest scale at which
enough was observed.

A frontal view does not show where hair ends behind the cheeks, and the generator may draw it over ears and neck. These
take their tone from observed skin alone, and skin replaces generated hair there. The scalp takes its tone from hair:
from all observed hair where none is near.
"""

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from fitme.arrays import BoolArray, Float32Array
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.texel_blur import TINY, at_texels, low_pass, weighted_map
from fitme.fit.texture.unprojection import TexelTable
from fitme.shape.regions import Region

FACE = (Region.SKIN, Region.LIPS, Region.LASHES)
HAIRLESS = (Region.EARS, Region.NECK)
"""Regions assumed to be free of hair."""
BESIDE, EVERYWHERE = 4, 8
"""Levels of the pull-push pyramid over a map of half the texture's side: ratios reach some 64 texels, or everywhere."""
ENOUGH = 0.15
"""Observed share of a neighbourhood from which its mean replaces that of coarser scales."""
FAINT = 0.01
"""Weight of the mean over all skin or all hair at unobserved texels: small beside any observation."""
LEAST_SCALP = 0.02
"""Observed share of the scalp from which its mean is the tone of all hair."""
LIGHT_AS_SKIN, DARK_AS_HAIR = 0.3, 0.8
"""Logarithm by which an expected albedo is darker than the skin beside it: skin up to the first, hair from the second
on."""
BEARD_TO, SKIN_FROM = 0.6, 0.9
"""Skin probability of observed texels beside a jaw: there may be a beard up to the first, there is none from the second
on."""
SIDEBURNS = (-0.5, 0.4)
"""Heights between which sideburns end: 0 is the middle of the ears, 1 their lower end."""
PATTERN = 0.012
"""Standard deviation of the Gaussian that separates tone from pattern, as a share of the map's side."""
BORDER = 0.008
"""Standard deviation of the Gaussian that blends neighbouring regions, as a share of the map's side."""


@dataclass(frozen=True)
class ObservedAlbedo:
    """Observed albedo of a head at the N texels of a table."""

    albedo: Float32Array
    """(N, 3) linear."""
    share: Float32Array
    """(N, 1) in [0, 1], share of the observation in the final albedo."""
    skin_probability: Float32Array
    """(N, 1) in [0, 1], see `fitme.fit.texture.skin.mask`."""
    seen_well: Float32Array
    """(N, 1) in [0, 1]: 0 where all views graze. Such texels are stained by what is beside them, and tell ears and neck
    nothing about their tone."""


def complete_albedo(table: TexelTable, expected: Float32Array, observed: ObservedAlbedo) -> Float32Array:
    """(N, 3) linear albedo: the expected one (N, 3) times the colour ratio of observed texels beside each.

    The inside of the mouth stays as expected, because bright teeth and dark depth differ in tone; so does everything
    where nothing was observed.
    """
    if not observed.share.any():
        return expected
    tones = _RegionTones(table, np.log(expected + OFFSET), observed)
    # Eyes take the ratio of eyes alone.
    eyes = tones.within((Region.EYES,))
    result = np.where(eyes, tones.expected + tones.pull_push(tones.ratio, eyes * observed.share), tones.expected)
    # The outside has three kinds of texels with a rule each, blended over their borders.
    parts = ((tones.face, tones.of_face()), (tones.hairless, tones.of_hairless()), (tones.scalp, tones.of_scalp()))
    borders = [tones.low(mask.astype(np.float32), tones.head, BORDER) for mask, _ in parts]
    blend = sum(border * part for border, (_, part) in zip(borders, parts, strict=True))
    result = np.where(tones.head, blend, result)
    albedo: Float32Array = np.clip(np.exp(result) - OFFSET, 0.0, 1.0).astype(np.float32)
    return albedo


@dataclass(frozen=True)
class _RegionTones:
    """Logarithms of albedos, log(a + OFFSET), of the N texels."""

    table: TexelTable
    expected: Float32Array
    """(N, 3)."""
    observation: ObservedAlbedo

    @cached_property
    def face(self) -> BoolArray:
        """(N, 1) mask of `FACE`."""
        return self.within(FACE)

    @cached_property
    def hairless(self) -> BoolArray:
        """(N, 1) mask of `HAIRLESS`."""
        return self.within(HAIRLESS)

    @cached_property
    def scalp(self) -> BoolArray:
        """(N, 1) mask of the scalp."""
        return self.within((Region.SCALP,))

    @cached_property
    def head(self) -> BoolArray:
        """(N, 1) mask of the head's outside."""
        return self.face | self.hairless | self.scalp

    @cached_property
    def below_ears(self) -> Float32Array:
        """(N, 1) 0 above the middle of the ears, 1 below them."""
        return np.clip(self._rows_over_ears, 0.0, 1.0)

    @cached_property
    def below_sideburns(self) -> Float32Array:
        """(N, 1) 0 where sideburns grow on everybody, 1 where they grow on nobody whose jaw shows no beard."""
        low, high = SIDEBURNS
        return np.clip((self._rows_over_ears - low) / (high - low), 0.0, 1.0)

    @cached_property
    def _rows_over_ears(self) -> Float32Array:
        """(N, 1) 0 at the middle of the ears, 1 at their lower end; rows of the layout run downwards."""
        rows = self.table.rows.astype(np.float32)
        ears = rows[self.table.region == Region.EARS]
        return np.asarray(((rows - ears.mean()) / (ears.max() - ears.mean()))[:, None], np.float32)

    @cached_property
    def observed(self) -> Float32Array:
        """(N, 3) observed."""
        return np.asarray(np.log(self.observation.albedo + OFFSET), np.float32)

    @cached_property
    def ratio(self) -> Float32Array:
        """(N, 3) logarithm of observed over expected albedo."""
        return self.observed - self.expected

    @cached_property
    def skin_weight(self) -> Float32Array:
        """(N, 1) weight of observed skin."""
        weight = (self.face | self.hairless) * self.observation.share * self.observation.skin_probability
        trusted = weight * self.observation.seen_well
        return trusted if trusted.any() else weight

    @cached_property
    def skin(self) -> Float32Array:
        """(N, 3) tone of the observed skin beside each texel, the mean over all of it where none is near."""
        unobserved = self.hairless & (self.observation.share <= 0.0)
        tone = (self.skin_weight * self.observed).sum(0) / self.skin_weight.sum()
        return self.pull_push(
            np.where(unobserved, tone, self.observed), np.where(unobserved, FAINT, self.skin_weight), EVERYWHERE
        )

    def of_face(self) -> Float32Array:
        """(N, 3), valid on the face: ratio of all observed texels, skin below the ears where observed skin is near."""
        tinted = self.expected + self.pull_push(self.ratio, self.head * self.observation.share)
        skin_probability = self.pull_push(
            self.observation.skin_probability, (self.face | self.hairless) * self.observation.share, EVERYWHERE
        )
        beardless = np.clip((skin_probability - BEARD_TO) / (SKIN_FROM - BEARD_TO), 0.0, 1.0)
        return self._without_hair(tinted, self.face, beardless * self.below_sideburns)

    def of_hairless(self) -> Float32Array:
        """(N, 3), valid on ears and neck: ratio of observed skin, however far, without hair."""
        tinted = self.expected + self.pull_push(self.ratio, self.skin_weight, EVERYWHERE)
        return self._without_hair(tinted, self.hairless, np.ones_like(self.observation.share))

    def of_scalp(self) -> Float32Array:
        """(N, 3), valid on the scalp: ratio of observed hair, or of the scalp where it was observed."""
        share, ratio = self.observation.share, self.ratio
        weight = np.where(self.scalp, share, self.head * share * (1.0 - self.observation.skin_probability))
        known = share * self.scalp
        if known.sum() > LEAST_SCALP * np.count_nonzero(self.scalp):
            hair = (known * self.observed).sum(0) / known.sum()
            unobserved = self.scalp & (share <= 0.0)
            ratio = np.where(unobserved, hair - self.low(self.expected, self.scalp, PATTERN), ratio)
            weight = np.where(unobserved, FAINT, weight)
        hair = self.expected + self.pull_push(ratio, weight, EVERYWHERE)
        if not self.skin_weight.any():
            return hair
        # At the nape cropped hair thins out: skin shines through it more and more.
        return np.asarray(hair + (1.0 - share) * self.below_ears * (self.skin - hair), np.float32)

    def within(self, regions: tuple[Region, ...]) -> BoolArray:
        """(N, 1) mask of regions."""
        return self.table.within(regions)[:, None]

    def pull_push(self, values: Float32Array, weight: Float32Array, levels: int = BESIDE) -> Float32Array:
        """(N, C) by pull-push from values (N, C) with weights (N, 1); 0 beyond the reach of `levels`."""
        return at_texels(self.table, _pull_push(weighted_map(self.table, values, weight), levels))

    def low(self, values: Float32Array, within: BoolArray, sigma: float) -> Float32Array:
        """(N, C) low-pass of values (N, C) among the texels `within` (N, 1)."""
        return low_pass(self.table, values, within.astype(np.float32), sigma)

    def _without_hair(self, tinted: Float32Array, region: BoolArray, skin_probability: Float32Array) -> Float32Array:
        """(N, 3) `tinted` with skin in place of expected hair, by `skin_probability` (N, 1)."""
        if not self.skin_weight.any():
            return tinted
        darker = (self.skin - self.low(tinted, region, PATTERN)).mean(1, keepdims=True)
        hair = skin_probability * np.clip((darker - LIGHT_AS_SKIN) / (DARK_AS_HAIR - LIGHT_AS_SKIN), 0.0, 1.0)
        return np.asarray(tinted + hair * (self.skin - tinted), np.float32)


def _pull_push(stacked: Float32Array, levels: int) -> Float32Array:
    """(R, R, C) pull-push of weighted values (R, R, C) stacked with their weights (R, R, 1); 0 beyond the reach of
    `levels`."""
    # Pull: weighted sums at ever coarser scales.
    pyramid = [stacked]
    while len(pyramid) <= levels and min(pyramid[-1].shape[:2]) > 1:
        pyramid.append(np.asarray(cv2.pyrDown(pyramid[-1]), np.float32))
    # Push: from coarse to fine, each scale replaces the coarser one as far as its weight is enough.
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

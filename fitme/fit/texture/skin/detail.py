"""Fine detail of skin that no image shows: a noise field with the statistics of people's skin, and what the person's
own skin has beside it.

A generator of 256 texels and the completion from neighbours are smooth: half of a face that one photo leaves out lacks
pores and mottling. For each octave the field fills up the variance to that of people's skin in the same part of the
face and of the same tone, and is as strong as in the skin that was observed. What is there already, such as mirrored
texels, is counted. Fields are mixed with observed texels by variance, so that contrast does not drop between them
(Heitz and Neyret, "High-Performance By-Example Noise using a Histogram-Preserving Blending Operator", HPG 2018,
equation 2).
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

import numpy as np

from fitme.arrays import Float32Array
from fitme.color import LUMINANCE
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.texel_blur import TINY, low_pass, map_low_pass
from fitme.fit.texture.unprojection import TexelTable
from fitme.reflectance.skin_detail import (
    REFERENCE_RESOLUTION,
    PartDetail,
    SkinDetail,
    octave_sigmas,
    quantile_levels,
)
from fitme.shape.regions import Region

SKIN_REGIONS = (Region.SKIN, Region.LIPS, Region.NECK, Region.EARS)
"""Regions that get detail."""
PART_WIDTH, PART_HEIGHT = 0.06, 0.05
"""Standard deviations of a part of the face along u and v, layout units."""
MIDDLE = 0.8
"""Weight of a part from which its texels are measured: farther out are folds and shadows."""
NECK_V = (0.69, 0.74)
"""Rows of the neck in the layout between which detail fades out."""
FAR_PART = 0.02
"""Weight of the cheeks' statistics far from all parts: temples, jaw, ears."""
LOCAL_SIGMA = 0.02
"""Standard deviation of the Gaussian over which variance is measured, as a share of the map's side."""
GAUSSIAN_MEAN = 3.562
"""Mean over geometric mean of the square of a normal variable."""
LEAST_POWER = 1e-3
"""Least power that is distinguished from none, over people's."""
WELL_OBSERVED = 0.8
"""Weight from which observed skin is measured."""
TYPICAL_TEXELS = 500.0
"""Observed texels, of maps of 512 a side, from which the person's own strength counts half."""
OWN_SHARE = 0.6
"""Share of the logarithm of observed skin's strength over that of people which holds for other skin: chins may have
stubble, cheeks make-up."""
OWN_LIMIT = 0.6
"""Largest logarithm of that strength: images may be blurred or noisy."""
LIPS = "lips"
"""Part of the face that is a region of its own."""
FALL = 1.0
"""Exponent by which amplitudes of skin in images fall with frequency within an octave."""
PEAK = 0.153
"""Frequency at which the difference of Gaussians of standard deviations s and 2 s passes most, times s."""
_SEED = 31
_CHANNELS = 3


@dataclass(frozen=True)
class Octaves:
    """Octaves of a map, or of the noise on it, at the table's resolution."""

    sigmas: tuple[float, ...]
    """Standard deviations, texels, of the Gaussians that bound them."""
    first: int
    """Index of the first one in `SkinDetail`."""

    @classmethod
    def of(cls, detail: SkinDetail, resolution: int) -> "Octaves":
        sigmas, first = octave_sigmas(detail.octaves, resolution)
        return cls(tuple(sigmas), first)

    @property
    def count(self) -> int:
        """Number of octaves."""
        return len(self.sigmas) - 1

    def values(self, measured: tuple[float, ...]) -> list[float]:
        """Logarithms per octave from the measured ones; finer octaves follow the line through the two finest."""
        step = measured[0] - measured[1]
        return [measured[k] if k >= 0 else measured[0] - k * step for k in range(self.first, self.first + self.count)]

    def split(self, values: Float32Array, weight: Float32Array) -> list[Float32Array]:
        """Octaves, the finest first, of a map (R, R) or (R, R, C) among the texels of positive weight (R, R)."""
        low = [map_low_pass(values, weight, sigma) for sigma in self.sigmas]
        return [finer - coarser for finer, coarser in pairwise(low)]


@dataclass(frozen=True, eq=False)
class _Noise:
    """Noise of O octaves."""

    fields: tuple[Float32Array, ...]
    """O of (R, R, 3) unit variance."""
    power: Float32Array
    """(O, O) variance in each octave (rows) of the first channel of each field (columns)."""


def add_detail(
    table: TexelTable,
    albedo: Float32Array,  # (N, 3) linear
    share: Float32Array,  # (N, 1) in [0, 1]
    skin: Float32Array,  # (N, 1) in [0, 1]
    detail: SkinDetail,
) -> Float32Array:
    """(N, 3) linear albedo with fine detail on skin where no image showed it.

    :param share: observed share of the albedo.
    :param skin: weight of observed skin: that share times the skin's probability.
    """
    octaves = Octaves.of(detail, table.resolution)
    inside = table.within(SKIN_REGIONS)[:, None].astype(np.float32)
    logs = np.log(albedo + OFFSET)
    light = (logs @ LUMINANCE)[:, None]
    parts = part_weights(table, detail)
    tone = low_pass(table, light, inside, LOCAL_SIGMA)
    present = octaves.split(table.to_map(light)[..., 0], table.to_map(inside)[..., 0])
    noise = _noise(table.resolution, octaves, detail.quantiles)
    unseen = inside * np.maximum(1.0 - share, TINY)
    missing = np.zeros((len(light), octaves.count), np.float32)
    for octave, band in enumerate(present):
        values = table.from_map(band[..., None])
        expected = _log_sigma(octaves, octave, detail, parts, tone)
        marginal = detail.quantiles[max(octaves.first + octave, 0)]
        own = _own_strength(table, values, expected, skin * inside * (parts.sum(1, keepdims=True) > 0.5), marginal)
        target = np.exp(2.0 * (expected + own))
        # The geometric mean: a hair or an edge is no reason to leave the skin beside it smooth.
        power = GAUSSIAN_MEAN * np.exp(
            low_pass(table, np.log(np.maximum(values**2, LEAST_POWER * target)), unseen, LOCAL_SIGMA)
        )
        missing[:, octave] = np.maximum(target - power, 0.0)[:, 0]

    # Each field has a share of its power in the octaves beside its own.
    gap = np.sqrt(np.clip(1.0 - share**2, 0.0, 1.0)) * inside * _unstretched(table)
    strength = gap * np.sqrt(np.maximum(missing @ np.linalg.inv(noise.power).T, 0.0))
    added = np.zeros_like(logs)
    for octave, field in enumerate(noise.fields):
        color = np.asarray(detail.color[max(octaves.first + octave, 0)], np.float32)
        added += strength[:, octave : octave + 1] * (table.from_map(field) @ color.T)
    return np.asarray(np.clip(np.exp(logs + added) - OFFSET, 0.0, 1.0), np.float32)


def part_weights(table: TexelTable, detail: SkinDetail) -> Float32Array:
    """(N, P) weights of the parts of `detail.parts`, in order; their sum is 1 near a part and smaller far from all."""
    across = np.abs((table.columns + 0.5) / table.resolution - 0.5)
    down = (table.rows + 0.5) / table.resolution
    weights = []
    for name in detail.parts:
        if name == LIPS:
            weights.append(np.where(table.region == Region.LIPS, 1.0, 0.0))
            continue
        near = sum(
            np.exp(-0.5 * (((across - u) / PART_WIDTH) ** 2 + ((down - v) / PART_HEIGHT) ** 2))
            for u, v in detail.places[name]
        )
        weights.append(np.where(table.within((Region.SKIN,)), near, 0.0))
    stacked = np.stack(weights, 1)
    return np.asarray(stacked / np.maximum(stacked.sum(1, keepdims=True), 1.0), np.float32)


def _unstretched(table: TexelTable) -> Float32Array:
    """(N, 1) in [0, 1], 0 where the layout stretches the neck: noise would be streaks there."""
    height = (table.rows + 0.5) / table.resolution
    fade = np.clip((NECK_V[1] - height) / (NECK_V[1] - NECK_V[0]), 0.0, 1.0)
    return np.where(table.region == Region.NECK, fade, 1.0).astype(np.float32)[:, None]


def _log_sigma(
    octaves: Octaves, octave: int, detail: SkinDetail, parts: Float32Array, tone: Float32Array
) -> Float32Array:
    """(N, 1) logarithm of the standard deviation of an octave of people's skin: by part and tone (N, 1)."""

    def of(part: PartDetail) -> Float32Array:
        slope = octaves.values(part.tone_slope)[octave]
        return np.asarray(octaves.values(part.log_sigma)[octave] + slope * (tone - detail.log_tone), np.float32)

    total = FAR_PART * of(detail.parts["cheeks"])
    for index, part in enumerate(detail.parts.values()):
        total = total + parts[:, index : index + 1] * of(part)
    return np.asarray(total / (parts.sum(1, keepdims=True) + FAR_PART), np.float32)


def _own_strength(
    table: TexelTable, band: Float32Array, expected: Float32Array, skin: Float32Array, quantiles: tuple[float, ...]
) -> float:
    """Logarithm of the strength of observed skin's detail (N, 1) over the expected one (N, 1); 0 without any.

    By medians, because edges, hairs and moles are among the observed texels.
    """
    seen = skin > WELL_OBSERVED
    count = np.count_nonzero(seen) * (REFERENCE_RESOLUTION / table.resolution) ** 2
    if not count:
        return 0.0
    ratio = np.median(np.abs(band[seen]) / np.exp(expected[seen])) / np.median(np.abs(quantiles))
    known = OWN_SHARE * count / (count + TYPICAL_TEXELS)
    return float(np.clip(known * np.log(max(float(ratio), TINY)), -OWN_LIMIT, OWN_LIMIT))


@lru_cache(maxsize=3)
def _noise(resolution: int, octaves: Octaves, quantiles: tuple[tuple[float, ...], ...]) -> _Noise:
    """Noise of each octave; the first channel has the marginals of skin's luminance."""
    white = np.random.default_rng(_SEED).standard_normal((resolution, resolution, _CHANNELS))
    spectrum = np.fft.fft2(white, axes=(0, 1))
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(resolution),) * 2, indexing="ij"))[..., None]
    fields = []
    for octave, sigma in enumerate(octaves.sigmas[:-1]):
        # The radial window of the steerable pyramid (Simoncelli and Freeman, ICIP 1995), with skin's fall within it.
        distance = np.log2(np.maximum(frequency, TINY) * sigma / PEAK)
        window = np.cos(0.5 * np.pi * np.clip(distance, -1.0, 1.0)) / np.maximum(frequency, TINY) ** FALL
        noise = np.fft.ifft2(spectrum * window, axes=(0, 1)).real
        noise = noise / noise.std((0, 1))
        # Openings of pores are darker than the skin between them is light: the marginal has a tail.
        marginal = quantiles[max(octaves.first + octave, 0)]
        drawn = np.quantile(noise[..., 0], quantile_levels(len(marginal)))
        shaped = np.interp(noise[..., 0], drawn, marginal)
        noise[..., 0] = (shaped - shaped.mean()) / shaped.std()
        fields.append(np.asarray(noise, np.float32))
    ones = np.ones((resolution, resolution), np.float32)
    power = [[float(band.var()) for band in octaves.split(field[..., 0], ones)] for field in fields]
    return _Noise(tuple(fields), np.asarray(power, np.float32).T)

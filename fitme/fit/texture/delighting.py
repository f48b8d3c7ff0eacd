"""What single keyframes say of the albedo once their light is taken out, and the sums that add up to a fused texture.

A texture in two bands is a ratio of sums over keyframes. A keyframe that rests is therefore kept in those sums exactly,
at no cost for as long as it rests, and can leave them again.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array, Float64Array, Int32Array
from fitme.fit.texture.unprojection import TexelTable

SMALLEST_WEIGHT = 1e-6
"""Sums of weights are kept above this when something is divided by them."""
SMALLEST_DETAIL_WEIGHT = 1e-30
"""The same of powers of weights."""


@dataclass(frozen=True)
class ViewAlbedo:
    """The texels that a keyframe shows, M of the table's N."""

    index: Int32Array
    """(M,) which they are."""
    albedo: npt.NDArray[np.float16]
    """(M, 3) linear."""
    weight: npt.NDArray[np.float16]
    """(M,) how well each is seen times the keyframe's sharpness; above 0."""

    def over(self, count: int) -> tuple[Float32Array, Float32Array]:
        """Albedo (N, 3) and weight (N,) over all `count` texels, 0 where the keyframe shows nothing."""
        albedo, weight = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
        albedo[self.index], weight[self.index] = self.albedo, self.weight
        return albedo, weight


@dataclass(frozen=True)
class BandSums:
    """Weighted sums over keyframes. Exact to add to and to take from: kept in double precision."""

    weight: Float64Array
    """(N,) sum of weights."""
    low: Float64Array
    """(N, 3) sum of low bands by weight."""
    detail_weight: Float64Array
    """(N,) sum of a power of the weights."""
    high: Float64Array
    """(N, 3) sum of high bands by that."""

    @classmethod
    def empty(cls, count: int) -> "BandSums":
        """The sums over no keyframe for N texels."""
        return cls(np.zeros(count), np.zeros((count, 3)), np.zeros(count), np.zeros((count, 3)))

    def copy(self) -> "BandSums":
        """Sums that can be changed by themselves."""
        return BandSums(self.weight.copy(), self.low.copy(), self.detail_weight.copy(), self.high.copy())

    def add(
        self, table: TexelTable, view: ViewAlbedo, detail_power: float, band_sigma: float, sign: float = 1.0
    ) -> None:
        """Let a keyframe join, or leave with a `sign` of -1.

        `detail_power` is that of its weight in the high band, `band_sigma` the standard deviation of the low-pass
        filter over the map's side.
        """
        albedo, weight = view.over(len(self.weight))
        low = _smooth(table, albedo, weight, band_sigma)[view.index]
        seen = weight[view.index]
        detailed = seen.astype(np.float64) ** detail_power
        self.weight[view.index] += sign * seen
        self.low[view.index] += sign * seen[:, None] * low
        self.detail_weight[view.index] += sign * detailed
        self.high[view.index] += sign * detailed[:, None] * (albedo[view.index] - low)

    def albedo(self) -> Float32Array:
        """(N, 3) low band averaged by weight, plus high band averaged by the power of it; 0 where nothing was seen."""
        low = self.low / np.maximum(self.weight, SMALLEST_WEIGHT)[:, None]
        high = self.high / np.maximum(self.detail_weight, SMALLEST_DETAIL_WEIGHT)[:, None]
        albedo: Float32Array = (low + high).astype(np.float32)
        return albedo


def _smooth(table: TexelTable, values: Float32Array, weight: Float32Array, sigma: float) -> Float32Array:
    """Low-pass (N, C) by normalised convolution over the map, so that unseen texels do not bleed in."""
    sigma_texels = sigma * table.resolution
    stacked = table.to_map(np.concatenate([values * weight[:, None], weight[:, None]], -1))
    blurred = table.from_map(np.asarray(cv2.GaussianBlur(stacked, (0, 0), sigma_texels), np.float32))
    smoothed: Float32Array = blurred[:, :-1] / np.maximum(blurred[:, -1:], SMALLEST_WEIGHT)
    return smoothed

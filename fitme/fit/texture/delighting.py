"""De-lighting of single keyframes, and the sums over keyframes whose ratio is a fused texture.

The colour of a texel is c = a s(l) + m(l): diffuse shading s and specular term m under the light l of its keyframe,
albedo a. The sums are additive: a marginalised keyframe stays in them exactly, at constant cost, and can be subtracted
again.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from fitme.arrays import Float32Array, Float64Array, IndexArray, Int32Array
from fitme.fit.lighting.key_light import CastLight
from fitme.fit.lighting.spherical_harmonics import LitSurface, lit_surface
from fitme.fit.texture.divided_light import SMALLEST_WEIGHT, delit_albedo, light_at, lit_share
from fitme.fit.texture.mouth_interior import BEHIND_LIPS
from fitme.fit.texture.unprojection import TexelObservation, TexelTable
from fitme.render.cpu.kernel import kernel

SMALLEST_DETAIL_WEIGHT = 1e-30
"""Lower bound of summed powers of weights in denominators."""


@dataclass(frozen=True)
class ViewAlbedo:
    """De-lit albedo of one keyframe at the M texels, of the table's N, that it shows."""

    index: Int32Array
    """(M,) texels."""
    albedo: npt.NDArray[np.float16]
    """(M, 3) linear."""
    weight: npt.NDArray[np.float16]
    """(M,) visibility weight times the keyframe's sharpness; above 0."""

    def over(self, count: int) -> tuple[Float32Array, Float32Array]:
        """Albedo (N, 3) and weight (N,) over all `count` texels, 0 at texels that the keyframe does not show."""
        albedo, weight = np.zeros((count, 3), np.float32), np.zeros(count, np.float32)
        albedo[self.index], weight[self.index] = self.albedo, self.weight
        return albedo, weight


@dataclass(frozen=True)
class BandSums:
    """Weighted sums over keyframes, in double precision so that adding and subtracting one leaves no error."""

    weight: Float64Array
    """(N,) sum of weights."""
    low: Float64Array
    """(N, 3) sum of low bands by weight."""
    detail_weight: Float64Array
    """(N,) sum of powers of the weights."""
    high: Float64Array
    """(N, 3) sum of high bands by these powers."""

    @classmethod
    def empty(cls, count: int) -> "BandSums":
        """Sums over no keyframe for N texels."""
        return cls(np.zeros(count), np.zeros((count, 3)), np.zeros(count), np.zeros((count, 3)))

    def copy(self) -> "BandSums":
        """Independent sums of equal values."""
        return BandSums(self.weight.copy(), self.low.copy(), self.detail_weight.copy(), self.high.copy())

    def add(
        self, table: TexelTable, view: ViewAlbedo, detail_power: float, band_sigma: float, sign: float = 1.0
    ) -> None:
        """Add a keyframe, or subtract it with a `sign` of -1.

        :param detail_power: exponent of the keyframe's weight in the high band.
        :param band_sigma: standard deviation of the Gaussian between the bands, as a share of the map's side.
        """
        self.add_bands(view, low_band(table, view, band_sigma), detail_power, sign)

    def add_bands(self, view: ViewAlbedo, low: Float32Array, detail_power: float, sign: float = 1.0) -> None:
        """Add a keyframe whose `low_band` (N, 3) is known; parameters as of `add`."""
        albedo, weight = view.over(len(self.weight))
        _add_bands(
            view.index, albedo, weight, low, detail_power, sign, self.weight, self.low, self.detail_weight, self.high
        )

    def albedo(self) -> Float32Array:
        """(N, 3) mean of low bands by weight plus mean of high bands by the weight's power; 0 at unobserved texels."""
        low = self.low / np.maximum(self.weight, SMALLEST_WEIGHT)[:, None]
        high = self.high / np.maximum(self.detail_weight, SMALLEST_DETAIL_WEIGHT)[:, None]
        albedo: Float32Array = (low + high).astype(np.float32)
        return albedo


def low_band(table: TexelTable, view: ViewAlbedo, band_sigma: float) -> Float32Array:
    """(N, 3) low band of a keyframe's albedo; `band_sigma` as of `BandSums.add`."""
    return _smooth(table, *view.over(len(table.rows)), band_sigma)


def view_weight(view: TexelObservation, sharpness: float) -> Float32Array:
    """(N,) weight of a view among others: its visibility weight times its sharpness."""
    return np.asarray(view.weight * np.float32(sharpness), np.float32)


def observed_surface(
    table: TexelTable,
    view: TexelObservation,
    specular: Float32Array,  # (N, 1)
    index: IndexArray,  # (M,)
    cast: CastLight | None = None,
) -> LitSurface:
    """Light transport at the texels `index` of a view; `specular` is the specular albedo.

    :param cast: the key light at the N texels; its column is left out if None.
    """
    occlusion = table.occlusion if view.occlusion is None else view.occlusion
    parts = view.normals[index], view.toward_viewer[index], specular[index], occlusion[index]
    surface = lit_surface(*parts)
    return surface if cast is None else surface.with_key_light(*parts, cast.subset(index))


def delight(
    table: TexelTable,
    view: TexelObservation,
    weight: Float32Array,  # (N,)
    specular: Float32Array,  # (N, 1)
    light: Float32Array,  # (9 or 10, 3)
    expected: Float32Array,  # (N, 3)
    cast: CastLight | None = None,
) -> ViewAlbedo:
    """De-lit albedo of a view under a light, near an `expected` albedo.

    :param cast: the key light at the N texels, if the light has one: its last row.
    """
    index = np.flatnonzero(weight > SMALLEST_WEIGHT)
    trusted = weight[index]
    if cast is None:
        occlusion = table.occlusion if view.occlusion is None else view.occlusion
        shading, glint = light_at(view.normals, view.toward_viewer, specular, occlusion, index, light)
    else:
        surface = observed_surface(table, view, specular, index, cast)
        shading, glint = surface.shading(light), surface.specular_term(light)
        # What a shadow hides is little more than noise and light from other skin: other views count there.
        trusted = trusted * lit_share(shading)
    albedo = delit_albedo(view.color[index], shading, glint, expected[index], table.within(BEHIND_LIPS)[index])
    return ViewAlbedo(index.astype(np.int32), albedo.astype(np.float16), trusted.astype(np.float16))


def _smooth(table: TexelTable, values: Float32Array, weight: Float32Array, sigma: float) -> Float32Array:
    """Low-pass (N, C) by normalised convolution over the map, so that unobserved texels do not bleed in."""
    sigma_texels = sigma * table.resolution
    stacked = table.to_map(np.concatenate([values * weight[:, None], weight[:, None]], -1))
    blurred = table.from_map(np.asarray(cv2.GaussianBlur(stacked, (0, 0), sigma_texels), np.float32))
    smoothed: Float32Array = blurred[:, :-1] / np.maximum(blurred[:, -1:], SMALLEST_WEIGHT)
    return smoothed


@kernel
def _add_bands(
    index: Int32Array,
    albedo: Float32Array,
    weight: Float32Array,
    low: Float32Array,
    detail_power: float,
    sign: float,
    weight_sum: Float64Array,
    low_sum: Float64Array,
    detail_weight_sum: Float64Array,
    high_sum: Float64Array,
) -> None:
    """Add the texels `index` of a view to `BandSums`: albedo (N, 3), weight (N,) and low band (N, 3)."""
    for texel in index:
        own = sign * float(weight[texel])
        detail = sign * float(weight[texel]) ** detail_power
        weight_sum[texel] += own
        detail_weight_sum[texel] += detail
        for channel in range(3):
            low_sum[texel, channel] += own * low[texel, channel]
            high_sum[texel, channel] += detail * (albedo[texel, channel] - low[texel, channel])

"""Skin tone of finished maps: individual typology angle (ITA) of cheeks and forehead, its six classes, and the shares
of the classes in a set of maps."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fitme.arrays import BoolArray, Float32Array, Int64Array
from fitme.shape.regions import Region
from fitme.skin.pigments import ITA_CLASSES, ita_of_albedo
from fitme.skin.texel_geometry import TexelGeometry

CLASS_NAMES = tuple(ITA_CLASSES)
"""Classes of skin tone from the palest to the darkest."""
_LOWER_BOUNDS_DEG = np.array([low for low, _ in ITA_CLASSES.values()])

SMALLEST_SHARE, LARGEST_SHARE = 0.12, 0.22
"""Bounds of each class's share of a balanced set."""
FULL_SHARE = 0.175
"""Share of a set at which a class is full: five full classes leave 12.5 % for the sixth."""
SMALLEST_BALANCED_COUNT = 50
"""Smallest set of maps that can keep to the bounds."""

_CHEEKS, _FOREHEAD = (50, 280), (151,)
"""MediaPipe's landmarks in the middle of the measured areas."""
_CHEEK_SIZE, _FOREHEAD_SIZE = (0.035, 0.028), (0.07, 0.02)
"""Half axes of the measured ellipses, layout units."""


def skin_tone_mask(geometry: TexelGeometry) -> BoolArray:
    """Mask (H, W) of the texels of cheeks and forehead where skin tone is measured."""
    mask = np.zeros(geometry.u.shape, bool)
    for landmarks, (width, height) in ((_CHEEKS, _CHEEK_SIZE), (_FOREHEAD, _FOREHEAD_SIZE)):
        u, v = geometry.landmark(*landmarks)
        u = 0.0 if landmarks is _FOREHEAD else u
        mask |= ((geometry.u - u) / width) ** 2 + ((geometry.v - v) / height) ** 2 < 1.0
    return np.asarray(mask & geometry.covered & geometry.is_region(Region.SKIN))


def skin_ita_deg(diffuse: Float32Array, geometry: TexelGeometry) -> float:
    """ITA in degrees of a head's linear sRGB diffuse albedo (H, W, 3): of the median colour of cheeks and forehead, so
    that freckles, moles and a fringe do not count."""
    median = np.median(diffuse[skin_tone_mask(geometry)], axis=0).astype(np.float32)
    return float(ita_of_albedo(median))


def ita_class_index(angle_deg: npt.NDArray[np.floating[Any]] | float) -> Int64Array:
    """Index into `CLASS_NAMES` (...) of ITAs in degrees (...); the outermost classes have no outer bound."""
    above = np.asarray(angle_deg)[..., None] < _LOWER_BOUNDS_DEG[:-1]
    return np.asarray(above.sum(-1), np.int64)


@dataclass(frozen=True)
class SkinToneCounts:
    """Number of maps of a set in each class of `CLASS_NAMES`."""

    counts: tuple[int, ...]

    @staticmethod
    def of(angles_deg: npt.NDArray[np.floating[Any]]) -> "SkinToneCounts":
        """Counts of the classes of ITAs in degrees (N,)."""
        counts = np.bincount(ita_class_index(angles_deg), minlength=len(CLASS_NAMES))
        return SkinToneCounts(tuple(int(count) for count in counts))

    @property
    def shares(self) -> tuple[float, ...]:
        """Share of each class in the set, summing to 1; zeros for an empty set."""
        total = max(sum(self.counts), 1)
        return tuple(count / total for count in self.counts)

    @property
    def balanced(self) -> bool:
        """Whether the share of every class is within the bounds."""
        return all(SMALLEST_SHARE <= share <= LARGEST_SHARE for share in self.shares)


def ita_class_limit(total: int) -> int:
    """Largest number of maps of one class while a set of `total` maps is being filled."""
    return int(np.ceil(FULL_SHARE * total)) if total < SMALLEST_BALANCED_COUNT else int(FULL_SHARE * total)

"""Statistics of the fine detail of people's skin: pores, grain and mottling, by octave and part of the face.

They are variances, covariances of colour channels and quantiles over many people. No texel of anybody is contained.
The file is JSON, written by `fitme train detail`.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import msgspec
import numpy as np

from fitme.arrays import Float64Array
from fitme.atomic_file import atomic_file
from fitme.errors import ModelFileError

SKIN_DETAIL_FILE = Path(__file__).parent / "weights" / "skin_detail.json"
"""Statistics of the package."""
REFERENCE_RESOLUTION = 512
"""Texels a side of the maps that were measured."""
FINEST_SIGMA = 0.42 / REFERENCE_RESOLUTION
"""Standard deviation of the Gaussian at the upper end of the finest octave, as a share of the map's side. On the face a
texel of 512 a side is 0.6 to 0.9 mm wide and high: the finest octave is about that from 0.4 to 0.8 cycles per mm."""
SMALLEST_SIGMA = 0.7
"""Least standard deviation, texels, of the wider Gaussian of an octave that maps hold."""
QUANTILE_RANGE = (0.005, 0.995)
"""First and last level of stored quantiles."""
VERSION = 1


@dataclass(frozen=True)
class PartDetail:
    """Detail of one part of the face; a value for each octave, the finest first."""

    log_sigma: tuple[float, ...]
    """Mean over people of the logarithm of the standard deviation of log luminance."""
    spread: tuple[float, ...]
    """Standard deviation of that logarithm between people."""
    tone_slope: tuple[float, ...]
    """Change of that logarithm with the logarithm of the luminance of the part, see `SkinDetail.log_tone`."""


@dataclass(frozen=True)
class SkinDetail:
    """Statistics of detail in O octaves of Gaussian differences, the k-th from `FINEST_SIGMA` 2^k to twice as wide."""

    version: int
    people: int
    """People that were measured."""
    log_tone: float
    """Mean logarithm of luminance, at which `PartDetail.log_sigma` holds."""
    places: dict[str, tuple[tuple[float, float], ...]]
    """(|u - 0.5|, v) of the middles of the parts that are patches of the face's skin, layout units."""
    parts: dict[str, PartDetail]
    """By name: those of `places`, and lips. All other skin is like the cheeks'."""
    color: tuple[tuple[tuple[float, ...], ...], ...]
    """(O, 3, 3) lower triangular factors of the covariance of log R, G, B over the variance of log luminance."""
    quantiles: tuple[tuple[float, ...], ...]
    """(O, Q) quantiles of log luminance over its standard deviation, at evenly spaced levels."""

    @property
    def octaves(self) -> int:
        """O."""
        return len(self.color)


@cache
def packaged_skin_detail() -> SkinDetail:
    """Statistics of the package. Raises ModelFileError if its file is missing or damaged."""
    return load_skin_detail(SKIN_DETAIL_FILE)


def load_skin_detail(path: Path) -> SkinDetail:
    """Statistics that `save_skin_detail` wrote. Raises ModelFileError if the file is missing or damaged."""
    try:
        detail = msgspec.json.decode(path.read_bytes(), type=SkinDetail)
    except (OSError, msgspec.DecodeError) as error:
        reason = f"{path} holds no statistics of skin ({error}): write it by `fitme train detail`"
        raise ModelFileError(reason) from error
    sizes = {len(values) for part in detail.parts.values() for values in vars(part).values()}
    if detail.version != VERSION or sizes != {detail.octaves} or len(detail.quantiles) != detail.octaves:
        raise ModelFileError(f"{path} holds statistics of skin of another version: write it by `fitme train detail`")
    return detail


def save_skin_detail(detail: SkinDetail, path: Path) -> None:
    """Write statistics atomically."""
    with atomic_file(path) as partial:
        partial.write_bytes(msgspec.json.format(msgspec.json.encode(detail), indent=1) + b"\n")


def octave_sigmas(octaves: int, resolution: int) -> tuple[list[float], int]:
    """Standard deviations, texels, of the Gaussians that bound the octaves which maps of a resolution hold, and
    the index of their first octave: negative where the maps hold finer ones than were measured."""
    first = -max((resolution // REFERENCE_RESOLUTION).bit_length() - 1, 0)
    while FINEST_SIGMA * 2.0 ** (first + 1) * resolution < SMALLEST_SIGMA and first < octaves - 1:
        first += 1
    return [FINEST_SIGMA * 2.0**k * resolution for k in range(first, octaves + 1)], first


def quantile_levels(count: int) -> Float64Array:
    """(Q,) levels of `SkinDetail.quantiles`: outliers beyond them are no texture."""
    return np.linspace(*QUANTILE_RANGE, count)

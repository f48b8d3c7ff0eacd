"""Strands, tufts and locks over the envelope's texels: kinds of lock of three widths, and the pattern of highlights."""

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

import numpy as np

from fitme.arrays import Float32Array
from fitme.hair.locks import Locks, LockShape, locks
from fitme.hair.texels import blurred
from fitme.ramp import linear_ramp

SHORT = (
    LockShape(length_m=0.010, width_m=0.0016, spread_rad=0.2, bend=0.1),
    LockShape(length_m=0.020, width_m=0.0042, spread_rad=0.22, bend=0.15),
    LockShape(length_m=0.036, width_m=0.011, spread_rad=0.22, bend=0.15),
)
"""Strands, tufts and locks of cropped hair."""
LONG = (
    LockShape(length_m=0.030, width_m=0.0018, spread_rad=0.07, bend=0.05),
    LockShape(length_m=0.060, width_m=0.0050, spread_rad=0.08, bend=0.08),
    LockShape(length_m=0.110, width_m=0.014, spread_rad=0.08, bend=0.10),
)
"""The same of hair that hangs down."""
CURLED = (
    LockShape(length_m=0.012, width_m=0.0017, spread_rad=0.7, bend=0.3, wave=1.5, wave_m=0.010),
    LockShape(length_m=0.018, width_m=0.0045, spread_rad=0.8, bend=0.4, wave=0.7, wave_m=0.014),
    LockShape(length_m=0.022, width_m=0.012, spread_rad=0.9, bend=0.3, wave=0.25, wave_m=0.022),
)
"""The same of curls."""
GAP_DEPTHS, GAP_TUFTS, GAP_LOG = (0.4, 1.2), 0.6, 0.8
"""Depths of the relief of locks, with a share of that of tufts, at which a gap between curls begins and from which it
is deep, and the logarithm by which it is darker there."""
SHADING_SHARES, SHADING_TEXELS = (0.9, 0.7, 0.3), 0.5
"""Amplitudes of strands, tufts and locks in the pattern of highlights, and standard deviation of the filter of their
edges."""


@dataclass(frozen=True)
class HairLocks:
    """Locks of three widths over the texels."""

    strands: Locks
    tufts: Locks
    locks: Locks

    def pattern(self, shares: tuple[float, float, float]) -> Float32Array:
        """(T, U) sum of the reliefs of strands, tufts and locks, each times its share."""
        parts = zip((self.strands, self.tufts, self.locks), shares, strict=True)
        return np.asarray(sum(share * part.relief for part, share in parts), np.float32)

    def gaps(self) -> Float32Array:
        """(T, U) logarithm by which the depth of gaps between locks and tufts is darker."""
        depth = -self.locks.relief - GAP_TUFTS * self.tufts.relief
        return np.asarray(GAP_LOG * linear_ramp(depth, GAP_DEPTHS), np.float32)


class HairKind(Enum):
    """Kinds of hair whose locks differ."""

    CROPPED = "cropped"
    HANGING = "hanging"
    CURLED = "curled"


_SHAPES = {HairKind.CROPPED: SHORT, HairKind.HANGING: LONG, HairKind.CURLED: CURLED}


@lru_cache(maxsize=len(HairKind))
def hair_locks(kind: HairKind) -> HairLocks:
    """Locks of a kind of hair; some 0.5 s the first time."""
    hanging = 1.0 if kind is HairKind.HANGING else 0.0
    return HairLocks(*(locks(shape, hanging) for shape in _SHAPES[kind]))


@lru_cache(maxsize=1)
def strand_pattern() -> Float32Array:
    """(T, U) zero-mean pattern of strands by which highlights and outlines are broken, standard deviation 1."""
    pattern = blurred(hair_locks(HairKind.CROPPED).pattern(SHADING_SHARES), SHADING_TEXELS)
    return np.asarray((pattern - pattern.mean()) / pattern.std(), np.float32)

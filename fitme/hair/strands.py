"""Strands, tufts and locks over the envelope's texels: kinds of lock of three widths, and the pattern of highlights."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from fitme.arrays import Float32Array
from fitme.hair.locks import Locks, LockShape, locks
from fitme.hair.texels import blurred

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
SHADING_SHARES, SHADING_TEXELS = (1.4, 0.7, 0.3), 0.5
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


@lru_cache(maxsize=2)
def hair_locks(hanging: bool) -> HairLocks:
    """Locks of hair that hangs down, or of cropped hair."""
    return HairLocks(*(locks(shape, float(hanging)) for shape in (LONG if hanging else SHORT)))


@lru_cache(maxsize=1)
def strand_pattern() -> Float32Array:
    """(T, U) zero-mean pattern of strands by which highlights and outlines are broken, standard deviation 1."""
    pattern = blurred(hair_locks(False).pattern(SHADING_SHARES), SHADING_TEXELS)
    return np.asarray((pattern - pattern.mean()) / pattern.std(), np.float32)

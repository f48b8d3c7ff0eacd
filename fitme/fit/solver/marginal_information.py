"""Marginal information of keyframes about the parameters that all keyframes share."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float64Array


@dataclass(frozen=True)
class MarginalInformation:
    """Gaussian over identity and log focal length in information form, from keyframes outside of a solve.

    It is what remains of the keyframes' normal equations once their poses and expressions are eliminated (Schur
    complement), so it serves a later solve as a prior.
    """

    precision: Float64Array
    """(K + 1, K + 1) information matrix; log focal length comes last. K counts identity coefficients and then the
    coefficients of observation errors that a person's keyframes share."""
    potential: Float64Array
    """(K + 1,) information vector: precision times mean."""

    def __add__(self, other: "MarginalInformation | None") -> "MarginalInformation":
        if other is None:
            return self
        count = max(len(self.potential), len(other.potential)) - 1
        a, b = self.zero_padded(count), other.zero_padded(count)
        return MarginalInformation(a.precision + b.precision, a.potential + b.potential)

    def zero_padded(self, identity_count: int) -> "MarginalInformation":
        """This information over `identity_count` coefficients at least: zero about those that it lacks."""
        place = len(self.potential) - 1
        lacking = [place] * max(0, identity_count - place)
        precision = np.insert(np.insert(self.precision, lacking, 0.0, 0), lacking, 0.0, 1)
        return MarginalInformation(precision, np.insert(self.potential, lacking, 0.0))

    def equal_share(self, count: int) -> "MarginalInformation":
        """One of `count` equal parts whose sum is this information."""
        return MarginalInformation(self.precision / count, self.potential / count)

    def gradient(self, shared: Float64Array) -> Float64Array:
        """(K + 1,) gradient of half the `cost` at identity and log focal length (K + 1,)."""
        slope: Float64Array = self.precision @ shared - self.potential
        return slope

    def cost(self, shared: Float64Array) -> float:
        """Squared Mahalanobis distance of identity and log focal length (K + 1,) from the mean, up to a constant."""
        return float(shared @ (self.precision @ shared - 2.0 * self.potential))


def sum_information(parts: Sequence[MarginalInformation | None]) -> MarginalInformation | None:
    """Sum of the parts that are not None; None if there are none."""
    present = [part for part in parts if part is not None]
    return sum(present[1:], present[0]) if present else None

"""What keyframes say of the parameters that all of them share, once their own are eliminated."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float64Array


@dataclass(frozen=True)
class MarginalInformation:
    """What keyframes outside of a solve say of identity and log focal length: a Gaussian in information form.

    Of keyframes with residuals r, it is what is left of their normal equations once pose and expression are eliminated.
    """

    precision: Float64Array
    """(K + 1, K + 1); log focal length comes last. K counts the errors that the person's frames share."""
    potential: Float64Array
    """(K + 1,): precision times the most likely values."""

    def __add__(self, other: "MarginalInformation | None") -> "MarginalInformation":
        if other is None:
            return self
        count = max(len(self.potential), len(other.potential)) - 1
        a, b = self.zero_padded(count), other.zero_padded(count)
        return MarginalInformation(a.precision + b.precision, a.potential + b.potential)

    def zero_padded(self, identity_count: int) -> "MarginalInformation":
        """The same, saying nothing of columns of identity that it lacks."""
        place = len(self.potential) - 1
        lacking = [place] * max(0, identity_count - place)
        precision = np.insert(np.insert(self.precision, lacking, 0.0, 0), lacking, 0.0, 1)
        return MarginalInformation(precision, np.insert(self.potential, lacking, 0.0))

    def shared_among(self, count: int) -> "MarginalInformation":
        """An equal share of the evidence for each of so many."""
        return MarginalInformation(self.precision / count, self.potential / count)

    def gradient(self, shared: Float64Array) -> Float64Array:
        """(K + 1,) of half the squared deviation at identity and log focal length (K + 1,)."""
        slope: Float64Array = self.precision @ shared - self.potential
        return slope

    def cost(self, shared: Float64Array) -> float:
        """Squared deviation up to a constant."""
        return float(shared @ (self.precision @ shared - 2.0 * self.potential))


def together(parts: Sequence[MarginalInformation | None]) -> MarginalInformation | None:
    """All that is said; None where nothing is."""
    said = [part for part in parts if part is not None]
    return sum(said[1:], said[0]) if said else None

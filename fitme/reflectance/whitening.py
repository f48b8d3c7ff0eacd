"""From the causes of made-up skins to latents z that are distributed as N(0, I): the generator learns maps from z, and
random z then give skins as likely as the data have them.

Every cause is replaced by the normal quantile of its rank, then the correlations of all are removed: a Gaussian copula.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

FloatArray = npt.NDArray[np.float32]

SMALLEST_VARIANCE = 1e-3
"""Least eigenvalue of the correlation that is divided by: causes that follow from others are not blown up."""


@dataclass(frozen=True, eq=False)
class CauseWhitening:
    """The map from causes (C,) to z (C,)."""

    sorted_causes: FloatArray
    """(N, C) every column ascending."""
    factor: FloatArray
    """(C, C) takes normal quantiles to z."""

    def latents(self, causes: FloatArray, seed: int) -> Tensor:
        """z (M, C) float32 of causes (M, C). Equal values, such as many beards of density nought, share a range of
        ranks: each gets a random one of it, so that z has no lumps."""
        count, size = self.sorted_causes.shape
        draw = np.random.default_rng(seed)
        quantiles = np.empty(causes.shape, np.float64)
        for k in range(size):
            column = self.sorted_causes[:, k]
            low, high = np.searchsorted(column, causes[:, k], "left"), np.searchsorted(column, causes[:, k], "right")
            rank = low + draw.random(len(causes)) * np.maximum(high - low, 1)
            quantiles[:, k] = ndtri(np.clip(rank, 0.25, count - 0.25) / count)
        return torch.from_numpy((quantiles @ self.factor.T).astype(np.float32))


def fit_whitening(causes: FloatArray, seed: int = 0) -> CauseWhitening:
    """The whitening of a data set's causes (N, C), N well above C."""
    size = causes.shape[1]
    unmixed = CauseWhitening(np.sort(causes, 0), np.eye(size, dtype=np.float32))
    quantiles = unmixed.latents(causes, seed).double().numpy()
    values, vectors = np.linalg.eigh(np.corrcoef(quantiles.T))
    # The symmetric root keeps every z close to the cause of its place.
    factor = (vectors / np.sqrt(np.maximum(values, SMALLEST_VARIANCE))) @ vectors.T
    return CauseWhitening(unmixed.sorted_causes, factor.astype(np.float32))

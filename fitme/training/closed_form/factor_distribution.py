"""Distribution of the generative factors of a data set, so that random z ~ N(0, I) give skins as frequent as in the
data.

The model is a Gaussian copula: every factor is a monotone function, by its quantiles, of one of as many correlated
normal variables. Point masses, such as the share of people without any beard, are kept exactly.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from fitme.arrays import Float32Array, Float64Array, Int64Array
from fitme.skin.skin_tone_classes import CLASS_NAMES, ita_class_index

SMALLEST_VARIANCE = 1e-6
"""Least eigenvalue of the correlation, and least variance by which a factor is divided."""


@dataclass(frozen=True, eq=False)
class FactorDistribution:
    """Gaussian copula of standardised factors."""

    mean: Float32Array
    """(C,) mean of the factors."""
    deviation: Float32Array
    """(C,) standard deviation of the factors."""
    factor: Tensor
    """(C, C) float32 matrix from z to correlated standard normal variables, one for each factor of the skin."""
    knots: Tensor
    """(C, Q) float32 quantiles of each standardised factor at equal steps of probability from 0 to 1."""

    def standardize(self, factors: Float32Array) -> Tensor:
        """Factors (N, C) with zero mean and unit variance, float32."""
        return torch.from_numpy(((factors - self.mean) / self.deviation).astype(np.float32))


def fit_factor_distribution(factors: Float32Array, knots: int, seed: int = 0) -> FactorDistribution:
    """Distribution of the factors (N, C) of a data set, with `knots` quantiles each."""
    mean = factors.mean(0)
    deviation = np.sqrt(np.maximum(factors.var(0), SMALLEST_VARIANCE)).astype(np.float32)
    normal = _normal_scores(factors, np.random.default_rng(seed))
    # The symmetric root of the correlation of normal scores, with eigenvalues kept positive and rows of length one.
    values, vectors = np.linalg.eigh(np.corrcoef(normal.T))
    factor = (vectors * np.sqrt(np.maximum(values, SMALLEST_VARIANCE))) @ vectors.T
    factor /= np.linalg.norm(factor, axis=1, keepdims=True)
    quantiles = np.quantile((factors - mean) / deviation, np.linspace(0.0, 1.0, knots), axis=0).T
    return FactorDistribution(
        mean, deviation, torch.from_numpy(factor.astype(np.float32)), torch.from_numpy(quantiles.astype(np.float32))
    )


def balanced_rows(ita_deg: Float32Array, seed: int) -> Int64Array:
    """Indices of maps with ITAs (N,), degrees: each at least once, maps of rarer classes of skin tone more often, so
    that all classes that occur have equal weights."""
    classes = ita_class_index(ita_deg)
    counts = np.bincount(classes, minlength=len(CLASS_NAMES))
    wanted = counts.max() / counts[classes]
    whole = np.floor(wanted)
    times = whole + (np.random.default_rng(seed).random(len(classes)) < wanted - whole)
    return np.repeat(np.arange(len(classes)), times.astype(np.int64))


def _normal_scores(factors: Float32Array, draw: np.random.Generator) -> Float64Array:
    """Normal quantiles (N, C) of the ranks within each column, equal values in random order."""
    count = len(factors)
    order = np.lexsort((np.asarray(draw.random(factors.shape)), factors), axis=0)
    ranks = np.empty(factors.shape)
    np.put_along_axis(ranks, order, np.arange(count)[:, None] + 0.5, 0)
    return np.asarray(ndtri(ranks / count))

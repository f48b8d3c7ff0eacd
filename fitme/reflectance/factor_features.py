"""Products of generative factors that a linear model of the maps needs beside the factors themselves.

Factors gate and scale each other: greyness has no effect without hair. Of all products of two *terms* (one, a factor,
its root and its gate) those are selected, a few at a time, that explain most of the residual of the maps' principal
components after a ridge regression on the terms selected before (orthogonal matching pursuit, Pati et al. 1993).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GATE_MARGIN = 1e-4
"""Difference from its lowest value, standard deviations, above which a factor counts as present."""
FEATURE_LIMIT = 6.0
"""Bound of features, standard deviations, so that rare heads stay in the range of the training data."""
SMALLEST_DEVIATION = 0.05
"""Standard deviation up to which a term or a product counts as constant."""
RIDGE_SHARE = 0.02
"""Ridge of the regression over the variance of a factor."""
CHOSEN_AT_ONCE = 16
"""Products selected between two regressions."""
SCREENED = 6000
"""Products that stay candidates after the first regression."""
BLOCK = 4000
"""Products that are evaluated at a time."""
LARGEST_CORRELATION = 0.7
"""Largest correlation of two products that are selected at a time."""
LEAST_ENERGY_SHARE = 0.05
"""Lower bound of the share of a product's energy that is orthogonal to the terms selected before."""


@dataclass(frozen=True, eq=False)
class FactorFeatures:
    """Standardised products of terms."""

    pairs: Tensor
    """(P, 2) int64 indices into the terms of `factor_terms`."""
    mean: Tensor
    """(P,) float32."""
    scale: Tensor
    """(P,) float32, reciprocal of the standard deviation."""

    def values(self, terms: Tensor) -> Tensor:
        """Features (N, P) of terms (N, T)."""
        products = terms[:, self.pairs[:, 0]] * terms[:, self.pairs[:, 1]]
        return ((products - self.mean) * self.scale).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)


def factor_terms(factors: Tensor, lowest: Tensor) -> Tensor:
    """Terms (N, 1 + 3 C) of standardised factors (N, C) with lowest values (C,): one, the factors, the roots of their
    differences from the lowest value, and 1 where the difference is positive."""
    above = (factors - lowest).clamp(min=0.0)
    gate = above > GATE_MARGIN
    # The slope of a root is infinite at zero, where the gate is closed.
    root = torch.where(gate, above.clamp(min=GATE_MARGIN).sqrt(), 0.0)
    return torch.cat([torch.ones_like(factors[:, :1]), factors, root, gate.to(factors.dtype)], 1)


@torch.no_grad()
def select_features(
    factors: Tensor,  # (N, C) standardised
    scores: Tensor,  # (N, K) of the maps' components, scaled by their importance
    count: int,
) -> FactorFeatures:
    """The `count` products that explain the scores best in addition to the factors; ValueError if there are fewer."""
    factor_count = factors.shape[1]
    terms = factor_terms(factors, factors.amin(0))
    useful = torch.nonzero(terms.std(0) > SMALLEST_DEVIATION).flatten()
    useful = torch.cat([torch.zeros(1, dtype=torch.long), useful])
    first, second = torch.triu_indices(len(useful), len(useful))
    pairs = torch.stack([useful[first], useful[second]], 1)
    known = (pairs[:, 0] == 0) & (pairs[:, 1] <= factor_count)
    candidates = _standardized(terms, pairs[~known])
    chosen, taken = factors, torch.zeros(0, dtype=torch.long)
    gains = _gains(candidates, terms, chosen, scores)
    candidates = _part(candidates, gains.topk(min(SCREENED, len(gains))).indices)
    if len(candidates.pairs) < count:
        raise ValueError(f"{factor_count} factors have {len(candidates.pairs)} products, {count} are wanted")
    # Greedily: each regression leaves the residual that the next products are to explain.
    while len(taken) < count:
        gains = _gains(candidates, terms, chosen, scores)
        gains[taken] = -1.0
        added = _uncorrelated(candidates, terms, gains, min(CHOSEN_AT_ONCE, count - len(taken)))
        taken = torch.cat([taken, added])
        chosen = torch.cat([chosen, _part(candidates, added).values(terms)], 1)
    return _part(candidates, taken)


def _standardized(terms: Tensor, pairs: Tensor) -> FactorFeatures:
    """Products with mean and scale, without those of negligible variance."""
    means, deviations = [], []
    for block in torch.split(pairs, BLOCK):
        products = terms[:, block[:, 0]] * terms[:, block[:, 1]]
        means.append(products.mean(0))
        deviations.append(products.std(0))
    mean, deviation = torch.cat(means), torch.cat(deviations)
    kept = deviation > SMALLEST_DEVIATION
    return FactorFeatures(pairs[kept], mean[kept], 1.0 / deviation[kept])


def _part(features: FactorFeatures, indices: Tensor) -> FactorFeatures:
    return FactorFeatures(features.pairs[indices], features.mean[indices], features.scale[indices])


def _gains(candidates: FactorFeatures, terms: Tensor, chosen: Tensor, scores: Tensor) -> Tensor:
    """(P,) energy of the scores' residual, after regression on `chosen` (N, F), that each candidate would explain."""
    inputs = torch.cat([torch.ones_like(chosen[:, :1]), chosen], 1).double()
    ridge = RIDGE_SHARE * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    ridge[0, 0] = 0.0
    slopes = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ scores.double())
    residual = (scores.double() - inputs @ slopes).float()
    directions = torch.linalg.qr(inputs).Q.float()
    gains = []
    for block in torch.split(torch.arange(len(candidates.pairs)), BLOCK):
        values = _part(candidates, block).values(terms)  # (N, p)
        energy = values.square().sum(0)
        new = (energy - (directions.T @ values).square().sum(0)).maximum(LEAST_ENERGY_SHARE * energy)
        gains.append((values.T @ residual).square().sum(1) / new)
    return torch.cat(gains)


def _uncorrelated(candidates: FactorFeatures, terms: Tensor, gains: Tensor, count: int) -> Tensor:
    """Indices of the `count` candidates of greatest gain with pairwise correlations up to `LARGEST_CORRELATION`."""
    order = gains.argsort(descending=True)[: BLOCK // 2]
    values = _part(candidates, order).values(terms)
    correlation = (values.T @ values / len(values)).abs()
    kept: list[int] = []
    for index in range(len(order)):
        if len(kept) == count:
            break
        if not kept or float(correlation[index, kept].max()) <= LARGEST_CORRELATION:
            kept.append(index)
    return order[torch.tensor(kept)]

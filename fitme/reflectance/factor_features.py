"""Products of generative factors that a linear model of the maps needs beside the factors themselves.

Hair has no greyness where there is no hair: factors gate and scale each other. Of all products of two *terms* (one, a
factor, its root and its gate) those are selected, a few at a time, that explain most of what the maps' principal
components keep after a ridge regression on the terms chosen before (orthogonal matching pursuit, Pati et al. 1993).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

GATE_MARGIN = 1e-4
"""How far above its lowest value a factor counts as present, standard deviations."""
FEATURE_LIMIT = 6.0
"""Features are clamped to so many standard deviations, so that a rare head does not leave the known range."""
SMALLEST_DEVIATION = 0.05
"""Standard deviation below which a term or a product is taken for constant."""
RIDGE_SHARE = 0.02
"""Ridge of the regression beside the variance of a factor."""
CHOSEN_AT_ONCE = 16
SCREENED = 6000
"""Products that stay candidates after the first look."""
BLOCK = 4000
"""Products that are looked at together."""
LARGEST_CORRELATION = 0.7
"""Between two products that are chosen at once."""
LEAST_ENERGY_SHARE = 0.05
"""Of a product's energy: what is taken to be new beside the terms chosen before, at least."""


@dataclass(frozen=True, eq=False)
class FactorFeatures:
    """Standardised products of terms."""

    pairs: Tensor
    """(P, 2) int64 indices into the terms of `factor_terms`."""
    mean: Tensor
    """(P,) float32."""
    scale: Tensor
    """(P,) float32, one over the standard deviation."""

    def values(self, terms: Tensor) -> Tensor:
        """(N, P) of terms (N, T)."""
        products = terms[:, self.pairs[:, 0]] * terms[:, self.pairs[:, 1]]
        return ((products - self.mean) * self.scale).clamp(-FEATURE_LIMIT, FEATURE_LIMIT)


def factor_terms(factors: Tensor, lowest: Tensor) -> Tensor:
    """Terms (N, 1 + 3 C) of standardised factors (N, C) whose lowest values are (C,): one, factors, roots of what they
    are above their lowest, and whether they are above it."""
    above = (factors - lowest).clamp(min=0.0)
    gate = above > GATE_MARGIN
    # A root has no finite slope at nought, where the gate is closed.
    root = torch.where(gate, above.clamp(min=GATE_MARGIN).sqrt(), 0.0)
    return torch.cat([torch.ones_like(factors[:, :1]), factors, root, gate.to(factors.dtype)], 1)


@torch.no_grad()
def select_features(
    factors: Tensor,  # (N, C) standardised
    scores: Tensor,  # (N, K) of the maps' components, scaled by their importance
    count: int,
) -> FactorFeatures:
    """The `count` products that explain the scores best beside the factors. ValueError where there are too few."""
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
    while len(taken) < count:
        gains = _gains(candidates, terms, chosen, scores)
        gains[taken] = -1.0
        added = _unlike(candidates, terms, gains, min(CHOSEN_AT_ONCE, count - len(taken)))
        taken = torch.cat([taken, added])
        chosen = torch.cat([chosen, _part(candidates, added).values(terms)], 1)
    return _part(candidates, taken)


def _standardized(terms: Tensor, pairs: Tensor) -> FactorFeatures:
    """Products with their mean and scale; those that hardly vary are left out."""
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
    """How much of the scores' energy each candidate (P,) would explain of what `chosen` (N, F) leaves."""
    inputs = torch.cat([torch.ones_like(chosen[:, :1]), chosen], 1).double()
    ridge = RIDGE_SHARE * len(inputs) * torch.eye(inputs.shape[1], dtype=torch.float64)
    ridge[0, 0] = 0.0
    slopes = torch.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ scores.double())
    left = (scores.double() - inputs @ slopes).float()
    directions = torch.linalg.qr(inputs).Q.float()
    gains = []
    for block in torch.split(torch.arange(len(candidates.pairs)), BLOCK):
        values = _part(candidates, block).values(terms)  # (N, p)
        energy = values.square().sum(0)
        new = (energy - (directions.T @ values).square().sum(0)).maximum(LEAST_ENERGY_SHARE * energy)
        gains.append((values.T @ left).square().sum(1) / new)
    return torch.cat(gains)


def _unlike(candidates: FactorFeatures, terms: Tensor, gains: Tensor, count: int) -> Tensor:
    """The `count` candidates of greatest gain that are not nearly the same."""
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

"""Mapping network: z to generative factors, factors to w.

Random z become factors by a fixed Gaussian copula. Most factors act additively on w, which one linear layer learns from
few skins; those that multiply (hair that is long *and* grey) need products of factors as further inputs; fully
connected layers add a nonlinear residual, blended into w by a last matrix.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from fitme.reflectance.factor_features import FactorFeatures, factor_terms
from fitme.reflectance.layers import EqualLinear, activate

MAPPING_RATE = 0.3
"""Learning rate of the mapping network over that of all other weights."""
QUANTILES = 129
"""Q: quantiles of every factor's distribution."""
MAPPING_SHARE = 0.1
"""Weight of the mapping network's nonlinear part before training."""


class MappingNetwork(nn.Module):
    """Network from z (B, Z) to w (B, D)."""

    factor: Tensor
    """(Z, Z) linear map from z to correlated normal variables, one for each factor."""
    knots: Tensor
    """(Z, Q) quantiles of each factor, standardised, at equal steps of probability."""
    pairs: Tensor
    """(P, 2) indices of the multiplied terms, as in `FactorFeatures`."""
    feature_mean: Tensor
    """(P,) mean of the products."""
    feature_scale: Tensor
    """(P,) reciprocal of the products' standard deviation."""

    def __init__(self, factors: int, features: int, latent_size: int, layers: int) -> None:
        super().__init__()
        inputs = factors + features
        sizes = [inputs] + [latent_size] * layers
        self.direct = EqualLinear(inputs, latent_size, rate=MAPPING_RATE)
        self.layers = nn.ModuleList(EqualLinear(a, b, rate=MAPPING_RATE) for a, b in pairwise(sizes))
        self.blend = EqualLinear(latent_size, latent_size, rate=MAPPING_RATE)
        with torch.no_grad():
            self.blend.weight.copy_(torch.eye(latent_size) * MAPPING_SHARE / self.blend.gain)
        margin = 0.5 / QUANTILES
        normal = torch.special.ndtri(torch.linspace(0.0, 1.0, QUANTILES).clamp(margin, 1.0 - margin))
        self.register_buffer("factor", torch.eye(factors))
        self.register_buffer("knots", normal.repeat(factors, 1))
        self.register_buffer("pairs", torch.zeros(features, 2))
        self.register_buffer("feature_mean", torch.zeros(features))
        self.register_buffer("feature_scale", torch.zeros(features))

    def forward(self, z: Tensor) -> Tensor:
        """w (B, D) of z (B, Z)."""
        return self.from_factors(self.factors(z))

    def factors(self, z: Tensor) -> Tensor:
        """Standardised factors (B, Z) of z (B, Z)."""
        last = self.knots.shape[1] - 1
        position = torch.special.ndtr(z @ self.factor.T) * last
        low = position.detach().floor().clamp(0, last - 1)
        below = self.knots.T.gather(0, low.long())  # (B, Z)
        above = self.knots.T.gather(0, low.long() + 1)
        return torch.lerp(below, above, position - low)

    def from_factors(self, factors: Tensor) -> Tensor:
        """w (B, D) of standardised factors (B, Z)."""
        x = torch.cat([factors, self.features(factors)], 1)
        w: Tensor = self.direct(x)
        for layer in self.layers:
            x = activate(layer(x))
        nonlinear: Tensor = self.blend(x)
        return w + nonlinear

    def features(self, factors: Tensor) -> Tensor:
        """Products (B, P) of standardised factors (B, Z)."""
        chosen = FactorFeatures(self.pairs.long(), self.feature_mean, self.feature_scale)
        return chosen.values(factor_terms(factors, self.knots[:, 0]))

    @torch.no_grad()
    def transform_latents(self, matrix: Tensor) -> None:
        """Multiply every w (D,) by `matrix` (D, D)."""
        for layer in (self.direct, self.blend):
            layer.weight.copy_(matrix @ layer.weight)
            layer.bias.copy_(matrix @ layer.bias)

    @torch.no_grad()
    def set_distribution(self, factor: Tensor, knots: Tensor) -> None:
        """Set the copula: correlations `factor` (Z, Z) and quantiles `knots` (Z, Q) of the factors."""
        self.factor.copy_(factor)
        self.knots.copy_(knots)

    @torch.no_grad()
    def set_features(self, features: FactorFeatures) -> None:
        """Set the products. Inputs beyond the number of `features` stay zero."""
        count = len(features.pairs)
        self.pairs[:count] = features.pairs.to(self.pairs)
        self.feature_mean[:count] = features.mean
        self.feature_scale[:count] = features.scale

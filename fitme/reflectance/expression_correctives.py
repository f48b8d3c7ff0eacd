"""What an expression changes in a face's albedo: folds that a smile makes, lips drawn thin, a raised brow's lines.

One texture for all expressions has a little of every fold. Correctives add to it what single expressions have of their
own, by nearness of the expression: pose-space deformation (Lewis, Cordner and Fong, SIGGRAPH 2000), of colours. Many
expressions change a face in few ways, so that their changes are mixed from fewer maps.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fitme.reflectance.maps import ReflectanceMaps

FINEST_M, REACH_SHARE = 0.0002, 0.3
"""Width of the blend between expressions, as root mean square displacement of the face: never finer than the first, and
beyond that this share of the way to the nearest expression, so that there is one for every expression."""
FAR_M = 0.002
"""Displacement at which what the nearest expression shows is hardly believed any more."""
UNSURE = 0.15
"""Belief at which an expression's own texture and the one for all weigh alike."""


@dataclass(frozen=True, eq=False)
class AlbedoCorrectives:
    """Albedos of M expressions, as what they add to one texture, mixed from K maps."""

    expressions: Tensor
    """(M, 52) float32 ARKit coefficients."""
    gram: Tensor
    """(52, 52) float32 m^2: how alike coefficients displace the face, so that d^T G d is the mean squared displacement
    between expressions that differ by d."""
    mixing: Tensor
    """(M, K) float32: how much of each map an expression adds."""
    deltas: Tensor
    """(K, R, R, 3) float16 linear albedo to add, in the model's UV layout."""

    def __post_init__(self) -> None:
        count, coefficients = self.expressions.shape
        if self.gram.shape != (coefficients, coefficients) or self.mixing.shape != (count, self.deltas.shape[0]):
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in vars(self).items())
            raise ValueError(f"correctives do not go together: {shapes}")

    def weights(self, expression: Tensor) -> Tensor:
        """(M,) in [0, 1] for an expression (52,). Their sum is 1 at an expression that is known, and 0 far from all."""
        away = self.expressions - expression
        squared = torch.einsum("mi,ij,mj->m", away, self.gram, away).clamp(min=0.0)
        nearest = squared.min()
        width = FINEST_M**2 + REACH_SHARE**2 * nearest
        share = torch.softmax(-0.5 * squared / width, 0)
        belief = torch.exp(-0.5 * nearest / FAR_M**2)
        weights: Tensor = share * belief * (1.0 + UNSURE) / (belief + UNSURE)
        return weights

    def albedo(self, diffuse: Tensor, expression: Tensor) -> Tensor:
        """A diffuse map (1, R, R, 3) as it is with an expression (52,)."""
        return self.blended(diffuse, self.weights(expression))

    def blended(self, diffuse: Tensor, weights: Tensor) -> Tensor:
        """A diffuse map (..., R, R, 3) with the changes by weights (M,) of the expressions."""
        changed = diffuse.clone()
        for share, delta in zip((weights @ self.mixing).tolist(), self.deltas, strict=True):
            changed.add_(delta, alpha=share)
        return changed.clamp_(0.0, 1.0)


def with_expression(
    maps: ReflectanceMaps, correctives: AlbedoCorrectives | None, expression: Tensor
) -> ReflectanceMaps:
    """Maps as they are with an expression (52,); the same without correctives."""
    if correctives is None:
        return maps
    return replace(maps, diffuse=correctives.albedo(maps.diffuse, expression))

"""What an expression changes in a face's albedo: folds that a smile makes, lips drawn thin, a raised brow's lines.

One texture for all expressions has a little of every fold. Correctives add to it what single expressions have of their
own, by nearness of the expression: pose-space deformation (Lewis, Cordner and Fong, SIGGRAPH 2000), of colours.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fitme.reflectance.maps import ReflectanceMaps

REACH_M = 0.0015
"""Root mean square displacement of the face at which an expression's corrective has lost 40 % of its weight."""
UNSURE = 0.3
"""Weight of the texture without correctives, of which every expression's own is 1."""


@dataclass(frozen=True, eq=False)
class AlbedoCorrectives:
    """Albedos of M expressions, as what they add to one texture."""

    expressions: Tensor
    """(M, 52) float32 ARKit coefficients."""
    gram: Tensor
    """(52, 52) float32 m^2: how alike coefficients displace the face, so that d^T G d is the mean squared displacement
    between expressions that differ by d."""
    deltas: Tensor
    """(M, R, R, 3) float16 linear albedo to add, in the model's UV layout."""

    def __post_init__(self) -> None:
        count, coefficients = self.expressions.shape
        if self.gram.shape != (coefficients, coefficients) or self.deltas.shape[0] != count:
            raise ValueError(
                f"correctives do not go together: expressions {tuple(self.expressions.shape)}, gram "
                f"{tuple(self.gram.shape)}, deltas {tuple(self.deltas.shape)}"
            )

    def weights(self, expression: Tensor) -> Tensor:
        """(M,) in [0, 1], their sum below 1, for an expression (52,): all near 0 far from every expression known."""
        away = self.expressions - expression
        squared = torch.einsum("mi,ij,mj->m", away, self.gram, away).clamp(min=0.0)
        nearness = torch.exp(-0.5 * squared / REACH_M**2)
        weights: Tensor = nearness / (nearness.sum() + UNSURE)
        return weights

    def albedo(self, diffuse: Tensor, expression: Tensor) -> Tensor:
        """A diffuse map (1, R, R, 3) as it is with an expression (52,)."""
        change = torch.tensordot(self.weights(expression), self.deltas.float(), 1)
        changed: Tensor = (diffuse + change).clamp(0.0, 1.0)
        return changed


def with_expression(
    maps: ReflectanceMaps, correctives: AlbedoCorrectives | None, expression: Tensor
) -> ReflectanceMaps:
    """Maps as they are with an expression (52,); the same without correctives."""
    if correctives is None:
        return maps
    return replace(maps, diffuse=correctives.albedo(maps.diffuse, expression))

"""Albedo correctives of expressions: folds of a smile, thinned lips, lines of a raised brow.

One texture for all expressions averages their folds. Correctives add the difference of single expressions, weighted by
distance of the expression: pose-space deformation (Lewis, Cordner and Fong, SIGGRAPH 2000) of colours. Differences are
of low rank: they are mixed from fewer maps than there are expressions. Lids that close unfold whatever the rest of the
face does: their differences follow the blinks alone.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.expressions import expression_index

FINEST_M, REACH_SHARE = 0.0002, 0.3
"""Width of the kernel, as root mean square displacement of the face: the first, plus in quadrature this share of the
distance to the nearest known expression, so that the kernel is never empty."""
FAR_M = 0.002
"""Displacement from the nearest known expression at which correctives fade out."""
HALF_FADE = 0.15
"""Fade at which the weight is about half of its largest value."""
BLINKS = tuple(expression_index(f"eyeBlink{side}") for side in ("Left", "Right"))
"""Expressions that close a lid, left and right."""
LID_OPEN, LID_CLOSED = 0.25, 0.7
"""Activations of a blink between which the lid's difference sets in."""


@dataclass(frozen=True, eq=False)
class AlbedoCorrectives:
    """Albedo differences of M expressions from one texture, of rank K."""

    expressions: Tensor
    """(M, 52) float32 ARKit coefficients."""
    gram: Tensor
    """(52, 52) float32 m^2: Gram matrix G of the coefficients' displacements: d^T G d is the mean squared displacement
    between expressions that differ by d."""
    mixing: Tensor
    """(M or M + 2, K) float32: coefficients of the maps for each expression, then for the left and the right closed
    lid."""
    deltas: Tensor
    """(K, R, R, 3) float16 linear albedo to add, in the model's UV layout."""

    def __post_init__(self) -> None:
        count, coefficients = self.expressions.shape
        if self.gram.shape != (coefficients, coefficients) or self.mixing.shape not in (
            (count, self.deltas.shape[0]),
            (count + len(BLINKS), self.deltas.shape[0]),
        ):
            shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in vars(self).items())
            raise ValueError(f"sizes of correctives do not match: {shapes}")

    def weights(self, expression: Tensor) -> Tensor:
        """(M or M + 2,) weights in [0, 1] at an expression (52,): of the known expressions, whose sum is 1 at one of
        them and 0 far from all, then of the closed lids."""
        difference = self.expressions - expression
        squared = torch.einsum("mi,ij,mj->m", difference, self.gram, difference).clamp(min=0.0)
        nearest = squared.min()
        width = FINEST_M**2 + REACH_SHARE**2 * nearest
        share = torch.softmax(-0.5 * squared / width, 0)
        fade = torch.exp(-0.5 * nearest / FAR_M**2)
        weights: Tensor = share * fade * (1.0 + HALF_FADE) / (fade + HALF_FADE)
        if len(self.mixing) == len(self.expressions):
            return weights
        closed = ((expression[list(BLINKS)] - LID_OPEN) / (LID_CLOSED - LID_OPEN)).clamp(0.0, 1.0)
        return torch.cat([weights, closed * closed * (3.0 - 2.0 * closed)])

    def albedo(self, diffuse: Tensor, expression: Tensor) -> Tensor:
        """Diffuse map (1, R, R, 3) with the correctives of an expression (52,) applied."""
        return self.blended(diffuse, self.weights(expression))

    def blended(self, diffuse: Tensor, weights: Tensor) -> Tensor:
        """Diffuse map (..., R, R, 3) plus the differences by `weights`, clamped to [0, 1]."""
        changed = diffuse.clone()
        for share, delta in zip((weights @ self.mixing).tolist(), self.deltas, strict=True):
            changed.add_(delta, alpha=share)
        return changed.clamp_(0.0, 1.0)


def with_expression(
    maps: ReflectanceMaps, correctives: AlbedoCorrectives | None, expression: Tensor
) -> ReflectanceMaps:
    """Maps with the correctives of an expression (52,) applied; `maps` itself without correctives."""
    if correctives is None:
        return maps
    return replace(maps, diffuse=correctives.albedo(maps.diffuse, expression))

"""The albedo that single keyframes show beside the fused one: correctives of the expressions that they have."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from fitme.fit.delit import DelitView
from fitme.fit.fusion import FusionSettings
from fitme.fit.unprojection import TexelTable
from fitme.reflectance.correctives import AlbedoCorrectives
from fitme.shape.morphable_model import MorphableModel
from fitme.shape.regions import Region

FloatArray = npt.NDArray[np.float32]

EXPRESSIVE = (Region.SKIN, Region.LIPS, Region.EYES, Region.MOUTH_INTERIOR, Region.TEETH)
"""What an expression changes; hair, ears and neck change with the view."""
MOST_EXPRESSIONS = 16
"""Correctives at most: those that differ most."""


@dataclass(frozen=True)
class ExpressionView:
    """What one picture shows of the albedo, and with which expression."""

    delit: DelitView
    expression: FloatArray
    """(52,)."""
    sharpness: float
    """Of the face in the picture."""


def expression_gram(model: MorphableModel) -> torch.Tensor:
    """(52, 52) float32 m^2: inner products of the expressions' displacements, mean over the face's vertices."""
    basis = model.expression_basis[:, model.face_vertices].double()  # (52, V, 3)
    flat = basis.reshape(len(basis), -1)
    return (flat @ flat.T / basis.shape[1]).float()


def albedo_correctives(
    table: TexelTable,
    fused: FloatArray,  # (N, 3) linear, of the table's texels
    views: Sequence[ExpressionView],
    gram: torch.Tensor,
    settings: FusionSettings,
) -> AlbedoCorrectives | None:
    """Of the pictures whose expressions differ most; None where there are fewer than two.

    A texel counts as far as a picture shows it well by itself.
    """
    if len(views) < 2:
        return None
    expressions = np.stack([view.expression for view in views])
    sharpest = max(view.sharpness for view in views)
    chosen = spread_expressions(expressions.astype(np.float64), gram.double().numpy(), MOST_EXPRESSIONS)
    expressive = np.isin(table.region, [int(region) for region in EXPRESSIVE])
    deltas = []
    for index in chosen:
        albedo, weight = views[index].delit.over(len(table.rows))
        trust = weight / (weight + settings.confident_weight * sharpest)
        delta = np.where(expressive, trust, 0.0)[:, None] * (albedo - fused)
        deltas.append(torch.from_numpy(table.to_filled_map(delta.astype(np.float32))).half())
    return AlbedoCorrectives(torch.from_numpy(expressions[chosen].astype(np.float32)), gram, torch.stack(deltas))


def spread_expressions(expressions: npt.NDArray[np.float64], gram: npt.NDArray[np.float64], count: int) -> list[int]:
    """At most `count` rows of expressions (V, 52): the one nearest to their mean, then each next the one farthest from
    all before, by a Gram matrix (52, 52)."""

    def squared(other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        away = expressions - other
        return np.asarray(np.einsum("vi,ij,vj->v", away, gram, away))

    chosen = [int(squared(expressions.mean(0)).argmin())]
    distance = squared(expressions[chosen[0]])
    while len(chosen) < min(count, len(expressions)):
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, squared(expressions[chosen[-1]]))
    return chosen

"""Change of skin by expressions that no image shows: the mean over people, times the person's own albedo."""

from dataclasses import dataclass

import cv2
import numpy as np

from fitme.arrays import Float32Array, Float64Array
from fitme.fit.texture.expression_distance import displacements
from fitme.fit.texture.skin.mask import OFFSET
from fitme.fit.texture.unprojection import TexelTable
from fitme.reflectance.expression_prior import ExpressionPrior
from fitme.shape.expressions import EXPRESSION_COUNT, expression_index
from fitme.shape.regions import Region

SEEN_SHARE = 0.5
"""Distance to the nearest known expression, over that from the neutral face, up to which an expression of the prior is
left out."""
SEEN_BOUND_M = 0.001
"""Distance to the nearest known expression up to which one of `UNCHANGED` is left out, metres."""
UNCHANGED = (("jawOpen", 0.6), ("mouthPucker", 0.8), ("mouthFunnel", 0.8))
"""Expressions with activations that do not fold skin as a smile does: the prior's changes end between these and it."""


@dataclass(frozen=True)
class UnseenExpressions:
    """Expressions that frames do not show."""

    expressions: Float32Array
    """(P + A, 52) those of the prior, then others without a change, which bound its reach."""
    changes: Float32Array
    """(P, r, r, 3) logarithms."""


def unseen_expressions(prior: ExpressionPrior, known: Float64Array, gram: Float64Array) -> UnseenExpressions:
    """What of a prior holds beside known expressions (M, 52).

    :param gram: (52, 52) m^2, see `fitme.fit.texture.expression_distance`.
    """
    expressions = prior.expressions.numpy()
    strength = displacements(expressions.astype(np.float64), np.zeros(expressions.shape[1]), gram)
    nearest = np.array([displacements(known, one.astype(np.float64), gram).min() for one in expressions])
    used = nearest > SEEN_SHARE * strength
    bounds = [
        bound for bound in _bounds() if displacements(known, bound.astype(np.float64), gram).min() > SEEN_BOUND_M
    ]  # fmt: skip
    kept = [*expressions[used], *(bounds if used.any() else [])]
    return UnseenExpressions(np.array(kept, np.float32).reshape(-1, expressions.shape[1]), prior.changes.numpy()[used])


def _bounds() -> Float32Array:
    """(A, 52) expressions whose skin is about that of the neutral face."""
    rows = np.zeros((len(UNCHANGED), EXPRESSION_COUNT), np.float32)
    for row, (name, activation) in zip(rows, UNCHANGED, strict=True):
        row[expression_index(name)] = activation
    return rows


def change_of_albedo(table: TexelTable, maps: Float32Array, change: Float32Array) -> Float32Array:
    """(N, 3) difference of linear albedos (N, 3) by a logarithmic change (r, r, 3)."""
    side = (table.resolution,) * 2
    at_texels = table.from_map(np.asarray(cv2.resize(change, side, interpolation=cv2.INTER_CUBIC), np.float32))
    inside = table.within((Region.SKIN, Region.LIPS))[:, None]
    return np.where(inside, (maps + OFFSET) * np.expm1(at_texels), 0.0).astype(np.float32)

"""Distance of expressions: root mean square displacement of the face between them."""

import numpy as np
import torch

from fitme.arrays import Float64Array
from fitme.sampling import farthest_points
from fitme.shape.morphable_model import MorphableModel


def expression_gram(model: MorphableModel) -> torch.Tensor:
    """(52, 52) float32 m^2: inner products of the expressions' displacements, mean over the face's vertices."""
    basis = model.expression_basis[:, model.face_vertices].double()  # (52, V, 3)
    flat = basis.reshape(len(basis), -1)
    return (flat @ flat.T / basis.shape[1]).float()


def displacements(expressions: Float64Array, other: Float64Array, gram: Float64Array) -> Float64Array:
    """(V,) root mean square displacement of the face, metres, between each of expressions (V, 52) and another (52,), by
    a Gram matrix (52, 52)."""
    away = expressions - other
    squared = ((away @ gram) * away).sum(-1)
    return np.asarray(np.sqrt(np.maximum(squared, 0.0)))


def expression_axes(gram: Float64Array) -> Float64Array:
    """(52, 52) metres: expressions (V, 52) times this are points whose distances are the displacements of the face, by
    a Gram matrix (52, 52)."""
    squared, directions = np.linalg.eigh(gram)
    return np.asarray(directions * np.sqrt(np.maximum(squared, 0.0)))


def farthest_expressions(expressions: Float64Array, gram: Float64Array, count: int) -> list[int]:
    """At most `count` rows of expressions (V, 52): the one nearest to their mean, then each next the one farthest from
    all before, by a Gram matrix (52, 52)."""
    first = int(displacements(expressions, expressions.mean(0), gram).argmin())
    return farthest_points(lambda index: displacements(expressions, expressions[index], gram), first, count)

"""Extraction of albedo correctives: differences of single frames' albedo from the fused one, by expression."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.expression_distance import farthest_expressions
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.unprojection import TexelTable
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.shape.regions import Region

EXPRESSIVE = (Region.SKIN, Region.LIPS, Region.EYES, Region.MOUTH_INTERIOR, Region.TEETH)
"""Regions that an expression changes; differences in hair, ears and neck come from the view."""
MOST_EXPRESSIONS = 72
"""Largest number of expressions, chosen by farthest-point sampling."""
MOST_MAPS = 24
"""Largest rank of their differences."""
GRAM_STRIDE = 4
"""Every so many texels enter the Gram matrix of the differences."""


@dataclass(frozen=True)
class ExpressionView:
    """De-lit albedo of one frame, and its expression."""

    view_albedo: ViewAlbedo
    expression: Float32Array
    """(52,)."""
    sharpness: float
    """Sharpness of the face in the image."""


def albedo_correctives(
    table: TexelTable,
    maps: Float32Array,  # (N, 3) linear
    baked: Float32Array,  # (N, 3) linear
    views: Sequence[ExpressionView],
    gram: torch.Tensor,
    settings: FusionSettings,
) -> AlbedoCorrectives | None:
    """Correctives of the frames whose expressions differ most; None without frames.

    :param maps: diffuse albedo at the table's texels, to which the correctives are added.
    :param baked: diffuse albedo of all keyframes, the fallback where a frame itself has little weight.
    :param gram: (52, 52) m^2, see `fitme.fit.texture.expression_distance`.
    """
    if not views:
        return None
    expressions = np.stack([view.expression for view in views])
    sharpest = max(view.sharpness for view in views)
    chosen = farthest_expressions(expressions.astype(np.float64), gram.double().numpy(), MOST_EXPRESSIONS)
    expressive = table.within(EXPRESSIVE)
    changes = np.empty((len(chosen), np.count_nonzero(expressive), 3), np.float32)
    for change, index in zip(changes, chosen, strict=True):
        albedo, weight = views[index].view_albedo.over(len(table.rows))
        confidence = weight / (weight + settings.confident_weight * sharpest)
        change[:] = (baked + confidence[:, None] * (albedo - baked) - maps)[expressive]
    mixing = principal_mixing(changes, MOST_MAPS)
    deltas = []
    for mixed in np.tensordot(mixing.T, changes, 1):  # (E, 3)
        delta = np.zeros_like(maps)
        delta[expressive] = mixed
        deltas.append(torch.from_numpy(table.to_filled_map(delta)).half())
    known = torch.from_numpy(expressions[chosen].astype(np.float32))
    return AlbedoCorrectives(known, gram, torch.from_numpy(mixing), torch.stack(deltas))


def principal_mixing(changes: Float32Array, count: int) -> Float32Array:
    """(M, K) orthonormal columns U, K <= `count`, such that U U^T loses least of changes (M, N, 3): the eigenvectors of
    the largest eigenvalues of their Gram matrix (Eckart and Young, 1936)."""
    few = changes[:, ::GRAM_STRIDE].reshape(len(changes), -1)
    _, directions = np.linalg.eigh((few @ few.T).astype(np.float64))
    return np.ascontiguousarray(directions[:, ::-1][:, :count], np.float32)

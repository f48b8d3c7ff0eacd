"""Extraction of albedo correctives: differences of single frames' albedo from the fused one, by expression."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fitme.arrays import Float32Array
from fitme.fit.texture.delighting import ViewAlbedo
from fitme.fit.texture.expression_distance import farthest_expressions
from fitme.fit.texture.settings import FusionSettings
from fitme.fit.texture.teeth import TeethView
from fitme.fit.texture.texel_blur import TINY
from fitme.fit.texture.unprojection import TexelTable
from fitme.fit.texture.unseen_expressions import change_of_albedo, unseen_expressions
from fitme.reflectance.expression_correctives import BLINKS, AlbedoCorrectives
from fitme.reflectance.expression_prior import ExpressionPrior
from fitme.shape.regions import Region

EXPRESSIVE = (Region.SKIN, Region.LIPS, Region.EYES, Region.MOUTH_INTERIOR)
"""Regions that an expression changes; differences in hair, ears and neck come from the view. Teeth have one tone."""
MOST_EXPRESSIONS = 72
"""Largest number of expressions, chosen by farthest-point sampling."""
MOST_MAPS = 24
"""Largest rank of their differences."""
GRAM_STRIDE = 4
"""Every so many texels enter the Gram matrix of the differences."""
CLOSED_FROM = 0.7
"""Blink from which a frame shows a closed lid."""


@dataclass(frozen=True)
class ClosedLids:
    """Lids as they are when they are closed and no frame shows it."""

    albedo: Float32Array
    """(N, 3) linear, of the table's texels."""
    share: Float32Array
    """(N, 1) in [0, 1] share of the lids in the texels."""


@dataclass(frozen=True)
class ExpressionView:
    """De-lit albedo of one frame, and its expression."""

    view_albedo: ViewAlbedo
    expression: Float32Array
    """(52,)."""
    sharpness: float
    """Sharpness of the face in the image."""
    teeth: TeethView | None = None
    """Teeth that the frame shows; None where its mouth is closed."""


def albedo_correctives(
    table: TexelTable,
    maps: Float32Array,  # (N, 3) linear
    baked: Float32Array,  # (N, 3) linear
    views: Sequence[ExpressionView],
    gram: torch.Tensor,
    settings: FusionSettings,
    lids: ClosedLids | None = None,
    prior: ExpressionPrior | None = None,
) -> AlbedoCorrectives | None:
    """Correctives of the frames whose expressions differ most; None without frames.

    :param maps: diffuse albedo at the table's texels, to which the correctives are added.
    :param baked: diffuse albedo of all keyframes, the fallback where a frame itself has little weight.
    :param gram: (52, 52) m^2, see `fitme.fit.texture.expression_distance`.
    :param lids: closed lids, which follow the blinks alone; without them, lids are as the frames show them.
    :param prior: what expressions change in people's skin, for those that no frame comes near.
    """
    if not views:
        return None
    expressions = np.stack([view.expression for view in views])
    sharpest = max(view.sharpness for view in views)
    chosen = farthest_expressions(expressions.astype(np.float64), gram.double().numpy(), MOST_EXPRESSIONS)
    expressive = table.within(EXPRESSIVE)
    others = np.ones(len(table.rows), np.float32) if lids is None else 1.0 - lids.share[:, 0]
    shares, fallback, unchanged = (values[expressive] for values in (others[:, None], baked, maps))
    changes = np.empty((len(chosen), len(shares), 3), np.float32)
    for change, index in zip(changes, chosen, strict=True):
        albedo, weight = (values[expressive] for values in views[index].view_albedo.over(len(table.rows)))
        confidence = (weight / (weight + settings.confident_weight * sharpest))[:, None]
        change[:] = shares * (fallback + confidence * (albedo - fallback) - unchanged)
    mixing = principal_mixing(changes, MOST_MAPS)
    rank = mixing.shape[1]
    deltas = []
    for mixed in np.tensordot(mixing.T, changes, 1):  # (E, 3)
        delta = np.zeros_like(maps)
        delta[expressive] = mixed
        deltas.append(torch.from_numpy(table.to_filled_map(delta)).half())
    known = expressions[chosen].astype(np.float32)
    if prior is not None:
        unseen = unseen_expressions(prior, known.astype(np.float64), gram.double().numpy())
        known = np.concatenate([known, unseen.expressions])
        of_prior = [others[:, None] * change_of_albedo(table, maps, change) for change in unseen.changes]
        mixing = np.pad(mixing, ((0, len(unseen.expressions)), (0, len(of_prior))))
        mixing[len(chosen) :, rank:][: len(of_prior)] = np.eye(len(of_prior), dtype=np.float32)
        deltas += [torch.from_numpy(table.to_filled_map(change)).half() for change in of_prior]
    if lids is not None:
        # Two maps more, each of which one lid alone drives.
        mixing = np.pad(mixing, ((0, len(BLINKS)), (0, len(BLINKS))))
        mixing[-len(BLINKS) :, -len(BLINKS) :] = np.eye(len(BLINKS), dtype=np.float32)
        of_lids = _lid_changes(table, maps, views, lids, settings.confident_weight * sharpest)
        deltas += [torch.from_numpy(table.to_filled_map(change)).half() for change in of_lids]
    return AlbedoCorrectives(torch.from_numpy(known), gram, torch.from_numpy(mixing), torch.stack(deltas))


def _lid_changes(
    table: TexelTable, maps: Float32Array, views: Sequence[ExpressionView], lids: ClosedLids, confident: float
) -> list[Float32Array]:
    """Differences (N, 3) of the closed left and right lid from `maps` (N, 3): as frames show them, or plain."""
    changes = []
    left = table.columns >= table.resolution // 2
    for blink, side in zip(BLINKS, (left, ~left), strict=True):
        total, weight = np.zeros_like(maps), np.zeros(len(maps), np.float32)
        for view in views:
            if view.expression[blink] > CLOSED_FROM:
                albedo, seen = view.view_albedo.over(len(maps))
                total += seen[:, None] * albedo
                weight += seen
        shown = total / np.maximum(weight, TINY)[:, None]
        closed = lids.albedo + (weight / (weight + confident))[:, None] * (shown - lids.albedo)
        changes.append(np.asarray(lids.share * side[:, None] * (closed - maps), np.float32))
    return changes


def principal_mixing(changes: Float32Array, count: int) -> Float32Array:
    """(M, K) orthonormal columns U, K <= `count`, such that U U^T loses least of changes (M, N, 3): the eigenvectors of
    the largest eigenvalues of their Gram matrix (Eckart and Young, 1936)."""
    few = changes[:, ::GRAM_STRIDE].reshape(len(changes), -1)
    _, directions = np.linalg.eigh((few @ few.T).astype(np.float64))
    return np.ascontiguousarray(directions[:, ::-1][:, :count], np.float32)

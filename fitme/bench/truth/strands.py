"""Hair of the benchmark's subjects: strands of styles that no fit uses, laid on a subject's scalp.

The styles are CharMorph's for its Vitruvian head (CC0), one file of guide strands each. A style is scaled until its
roots span the subject's scalp, every root is moved onto the skin, guides are multiplied with small offsets to a head of
hair, and points that would lie inside of the body are lifted out of it.
"""

import os
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

from fitme.arrays import Float64Array
from fitme.errors import InputError

STRANDS_VARIABLE = "FITME_STRANDS"
"""Environment variable that names the folder of the styles."""
DEFAULT_STRANDS = Path("../shared/data/assets/strands")
STYLES = ("Back1", "Bob", "Combover_zoro_d", "Eve", "SceneHair_1_O4saken", "SlickedBack")
"""Names of the files."""
POINTS = 12
"""Points of a strand, at equal distances along it."""
STRANDS = 24_000
"""Strands of a head, at least: some hundred thousand grow on one, thinner than these."""
RADIUS_M = 0.00022
"""Radius of a strand."""
SPREAD_M, TIP_SPREAD_M = 0.0035, 0.005
"""Standard deviations of a copy's offset from its guide at the root, and of the further one at the tip."""
CLEARANCE_M = 0.0015
"""Distance from the skin that all points keep."""
REACH_M = 0.03
"""Depth inside of the body up to which points are lifted out of it."""


def strands_file(style: str) -> Path:
    """Path of a style's file."""
    return Path(os.environ.get(STRANDS_VARIABLE, DEFAULT_STRANDS)) / f"{style}.npz"


def load_guides(style: str) -> Float64Array:
    """(N, `POINTS`, 3) guide strands of a style, root first, in the axes of the model's frame: metres, +Y up, the face
    along +Z.

    :raises InputError: if there is no such file.
    """
    path = strands_file(style)
    if not path.is_file():
        raise InputError(f"{path}: there are no strands; name the folder of the styles in {STRANDS_VARIABLE}")
    with np.load(path) as file:
        counts, points = file["cnt"].astype(np.int64), file["data"].astype(np.float64)
    points = points[:, [0, 2, 1]] * (1.0, 1.0, -1.0)
    ends = np.cumsum(counts)
    return np.stack([_resampled(points[end - count : end]) for count, end in zip(counts, ends, strict=True)])


def grown_strands(
    guides: Float64Array, scalp: Float64Array, skin: Float64Array, normals: Float64Array, seed: int
) -> Float64Array:
    """(M, `POINTS`, 3) strands on a head, metres, its frame.

    :param guides: (N, `POINTS`, 3) by `load_guides`.
    :param scalp: (S, 3) vertices of the scalp.
    :param skin, normals: (V, 3) vertices of head and shoulders, and their outward unit normals.
    """
    g = np.random.default_rng(seed)
    # 1. Span the scalp: the style's own head is another one.
    roots = guides[:, 0]
    low, high = np.quantile(roots, (0.01, 0.99), axis=0)
    to_low, to_high = np.quantile(scalp, (0.01, 0.99), axis=0)
    guides = (guides - (low + high) / 2.0) * ((to_high - to_low) / (high - low)).mean() + (to_low + to_high) / 2.0
    # 2. Roots on the skin; each strand moves along with its root.
    tree = cKDTree(skin)
    nearest = tree.query(guides[:, 0])[1]
    guides = guides + (skin[nearest] - guides[:, 0])[:, None]
    # 3. Copies beside the guides, further apart towards their tips.
    copies = np.repeat(guides, max(-(-STRANDS // len(guides)), 1), 0)
    along = np.linspace(0.0, 1.0, POINTS)[None, :, None]
    copies = copies + SPREAD_M * g.standard_normal((len(copies), 1, 3))
    copies = copies + TIP_SPREAD_M * along * g.standard_normal((len(copies), 1, 3))
    return _outside(copies, tree, skin, normals)


def _resampled(points: Float64Array) -> Float64Array:
    """(`POINTS`, 3) points at equal distances along a polyline (K, 3)."""
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
    places = np.linspace(0.0, length[-1], POINTS)
    return np.stack([np.interp(places, length, points[:, axis]) for axis in range(3)], 1)


def _outside(strands: Float64Array, tree: cKDTree, skin: Float64Array, normals: Float64Array) -> Float64Array:
    """Strands (M, K, 3) whose points inside of the body lie on its skin (V, 3), of normals (V, 3)."""
    points = strands.reshape(-1, 3)
    nearest = np.asarray(tree.query(points)[1], np.int64)
    height = ((points - skin[nearest]) * normals[nearest]).sum(1)
    lift = np.where((height < CLEARANCE_M) & (height > -REACH_M), CLEARANCE_M - height, 0.0)
    return np.asarray((points + lift[:, None] * normals[nearest]).reshape(strands.shape))


def write_curves(strands: Float64Array, path: Path) -> None:
    """Write strands (M, K, 3) as control points of Mitsuba's `bsplinecurve`: a line each, a blank line between strands.

    A B-spline does not reach its first control point: the root is repeated, so that it begins in the skin.
    """
    rooted = np.concatenate([strands[:, :1], strands], 1)
    rows = np.concatenate([rooted, np.full((*rooted.shape[:2], 1), RADIUS_M)], -1)
    lines = [[" ".join(f"{value:.5f}" for value in row) for row in strand] for strand in rows.tolist()]
    path.write_text("\n\n".join("\n".join(strand) for strand in lines) + "\n", "ascii")

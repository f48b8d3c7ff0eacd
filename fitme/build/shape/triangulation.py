"""Mirror-symmetric triangulation of the source's quads."""

import numpy as np

from fitme.arrays import Float64Array, Int64Array


def triangulate(template: Float64Array, quads: Int64Array, mirror: Int64Array) -> tuple[Int64Array, Int64Array]:
    """Triangles (2 Q, 3) of quads (Q, 4), and the quad (2 Q,) of each.

    Each quad of the left half is cut along its shorter diagonal and its mirror image along the mirrored one.
    """
    triangles = np.zeros((2 * len(quads), 3), np.int64)
    number = {tuple(sorted(quad)): index for index, quad in enumerate(quads.tolist())}
    for index, quad in enumerate(quads):
        if template[quad, 0].mean() < 0.0:
            continue
        other = number[tuple(sorted(mirror[quad].tolist()))]
        diagonals = np.linalg.norm(template[quad[[0, 1]]] - template[quad[[2, 3]]], axis=1)
        corners = quad if diagonals[0] <= diagonals[1] else np.roll(quad, -1)
        pair = np.stack([corners[[0, 1, 2]], corners[[0, 2, 3]]])
        triangles[2 * index : 2 * index + 2] = pair
        if other != index:
            triangles[2 * other : 2 * other + 2] = mirror[pair][:, ::-1]
    return triangles, np.repeat(np.arange(len(quads)), 2)

"""Pieces that move as one body: bound by the affine map that best fits some of the model's vertices.

The least-squares map from points `P` (N, 3) of the template to the same points `V` (N, 3) of a person's head is linear
in `V`: four anchors `pinv([P 1]) V` place every point of the piece. So teeth keep their shapes while the row follows
the arch and the jaw, and an eye turns with its ball.
"""

from dataclasses import dataclass

import numpy as np

from fitme.arrays import Float64Array, Int64Array


@dataclass(frozen=True, eq=False)
class AffineFrame:
    """Four anchors of a piece."""

    vertices: Int64Array
    """(N,) vertices of the model to which the map is fitted."""
    weights: Float64Array
    """(4, N) weights of the anchors."""

    def placed(self, points: Float64Array, head: Float64Array) -> Float64Array:
        """Points (M, 3) of the template on a head (V, 3)."""
        return np.asarray(homogeneous(points) @ (self.weights @ head[self.vertices]))


def affine_frame(template: Float64Array, vertices: Int64Array) -> AffineFrame:
    """Frame of the given vertices of a template (V, 3)."""
    return AffineFrame(vertices, np.asarray(np.linalg.pinv(homogeneous(template[vertices])), np.float64))


def homogeneous(points: Float64Array) -> Float64Array:
    """Points (M, 3) with a fourth coordinate of one."""
    return np.concatenate([points, np.ones((len(points), 1))], 1)

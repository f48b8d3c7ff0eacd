"""Rows of the normal equations of a pose and an expression, compiled: they are filled twice for every camera frame."""

from fitme.arrays import Float32Array, Float64Array, IndexArray
from fitme.render.cpu.kernel import relaxed_kernel


@relaxed_kernel
def fill_rows(
    view: Float64Array,
    rotated: Float64Array,
    rotation: Float64Array,
    basis: Float32Array,
    pairs: IndexArray,
    scale: Float64Array,
    focal_px: float,
    minimal_depth_m: float,
    rows: Float32Array,
) -> None:
    """Derivatives of pixels by a pose's increment and an expression, scaled.

    :param view: (P, 3) points, metres; `rotated` (P, 3) before the translation.
    :param rotation: (3, 3) model to view.
    :param basis: (P, 3, E) displacement of each point by each expression, model space.
    :param pairs: (Q, 2) points whose offsets from each other are further rows.
    :param scale: (P + Q,) factor of each row.
    :param minimal_depth_m: lower bound of depths.
    :param rows: (P + Q, 2, 6 + E), written: rotation vector (left-multiplied, view axes), translation, expression.
    """
    points, count = len(view), basis.shape[2]
    for p in range(points):
        # Of the pinhole projection: pixels by view-space points.
        depth = max(-view[p, 2], minimal_depth_m)
        slope = focal_px / depth
        for axis in range(2):
            across = slope if axis == 0 else -slope
            inward = across * view[p, axis] / depth
            right, up = (across, 0.0) if axis == 0 else (0.0, across)
            row = rows[p, axis]
            # d exp(w) p / d w = -[p]x
            x, y, z = rotated[p, 0], rotated[p, 1], rotated[p, 2]
            row[0] = inward * y - up * z
            row[1] = right * z - inward * x
            row[2] = up * x - right * y
            row[3], row[4], row[5] = right, up, inward
            by_x = right * rotation[0, 0] + up * rotation[1, 0] + inward * rotation[2, 0]
            by_y = right * rotation[0, 1] + up * rotation[1, 1] + inward * rotation[2, 1]
            by_z = right * rotation[0, 2] + up * rotation[1, 2] + inward * rotation[2, 2]
            for e in range(count):
                row[6 + e] = by_x * basis[p, 0, e] + by_y * basis[p, 1, e] + by_z * basis[p, 2, e]
    for q in range(len(pairs)):
        rows[points + q] = rows[pairs[q, 0]] - rows[pairs[q, 1]]
    for k in range(len(scale)):
        for axis in range(2):
            for column in range(6 + count):
                rows[k, axis, column] *= scale[k]

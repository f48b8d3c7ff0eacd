"""Depth of the nearest surface of a mesh at the pixels of a camera, without the rest of a raster."""

import numpy as np
from torch import Tensor

from fitme.arrays import Float32Array, Int32Array
from fitme.geometry import Camera
from fitme.render.cpu.kernel import relaxed_kernel

NEAR_M = 0.05
"""Triangles with a corner nearer to the camera than this are left out."""
_EDGE = np.float32(1e-4)
"""Barycentric coordinate below 0 that still counts as inside, so that rounding leaves no gaps."""


def depth_image(view_vertices: Tensor, triangles: Tensor, camera: Camera) -> Float32Array:
    """(H, W) distance along the optical axis of the nearest surface in metres, infinite where there is none.

    :param view_vertices: (V, 3) in view space, metres, on the CPU.
    :param triangles: (F, 3) counter-clockwise from outside; back faces are not drawn, since a closed mesh has a front
        face before each.
    """
    view = view_vertices.detach().float()
    pixels = camera.project(view).contiguous().numpy()
    depth = np.ascontiguousarray(-view[:, 2].numpy())
    nearness = np.zeros((camera.height, camera.width), np.float32)
    _draw_nearness(pixels, depth, triangles.int().contiguous().numpy(), nearness)
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / nearness, np.float32)


@relaxed_kernel
def _draw_nearness(pixels: Float32Array, depth: Float32Array, triangles: Int32Array, nearness: Float32Array) -> None:
    """Z-buffer the reciprocal of depth, which is linear in the image.

    :param pixels: (V, 2) column and row, centres of pixels at halves; depth: (V,) metres.
    :param nearness: (H, W) per metre, to raise in place.
    """
    one, zero, half = np.float32(1.0), np.float32(0.0), np.float32(0.5)
    for face in range(triangles.shape[0]):
        i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        if min(depth[i], depth[j], depth[k]) < NEAR_M:
            continue
        x0, y0, z0 = pixels[i, 0] - half, pixels[i, 1] - half, one / depth[i]
        ax, ay, az = pixels[j, 0] - half - x0, pixels[j, 1] - half - y0, one / depth[j] - z0
        bx, by, bz = pixels[k, 0] - half - x0, pixels[k, 1] - half - y0, one / depth[k] - z0
        area = ax * by - ay * bx
        if area >= zero:  # A back face, as rows grow downwards.
            continue
        # Barycentric coordinates of the second and third corner are linear in column and row.
        ux, uy = by / area, -bx / area
        vx, vy = -ay / area, ax / area
        zx, zy = ux * az + vx * bz, uy * az + vy * bz
        first_column = max(int(np.ceil(x0 + min(zero, ax, bx))), 0)
        last_column = min(int(np.floor(x0 + max(zero, ax, bx))), nearness.shape[1] - 1)
        first_row = max(int(np.ceil(y0 + min(zero, ay, by))), 0)
        last_row = min(int(np.floor(y0 + max(zero, ay, by))), nearness.shape[0] - 1)
        for row in range(first_row, last_row + 1):
            down = np.float32(row) - y0
            for column in range(first_column, last_column + 1):
                right = np.float32(column) - x0
                u, v = ux * right + uy * down, vx * right + vy * down
                if u < -_EDGE or v < -_EDGE or u + v > one + _EDGE:
                    continue
                nearness[row, column] = max(nearness[row, column], z0 + zx * right + zy * down)
